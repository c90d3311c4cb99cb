import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import moments

merge, update, normalize = (jax.jit(f) for f in (moments.merge, moments.update, moments.normalize))
from_batch = jax.jit(moments.from_batch, static_argnums=1)


def exact(compensated):
    """The number that a compensated pair stands for, in float64."""
    return np.asarray(compensated.high, np.float64) + np.asarray(compensated.low, np.float64)


def test_moments_of_batches_match_numpy():
    """Mean and variance of one batch, over two leading axes and with a mask, against NumPy in float64."""
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(6, 5, 4)).astype(np.float32)
    m = from_batch(jnp.asarray(x), 2)
    wide = x.astype(np.float64).reshape(30, 4)
    assert exact(m.count) == 30
    np.testing.assert_allclose(moments.mean(m), wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.variance(m), wide.var(0), rtol=1e-6)

    mask = np.random.default_rng(1).uniform(size=(6, 5)) < 0.5
    dirty = np.where(mask[..., None], x, np.nan)
    masked = from_batch(jnp.asarray(dirty), 2, jnp.asarray(mask))
    assert exact(masked.count) == mask.sum()
    np.testing.assert_allclose(moments.mean(masked), x[mask].mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance(masked), x[mask].var(0), rtol=1e-5)


def test_merged_moments_are_those_of_the_pooled_samples(x64):
    """Any split of the samples, merged in any order and grouping, gives the moments of all of them."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    a, b, c = (from_batch(jnp.asarray(part)) for part in np.split(x, [7, 30]))
    for merged in (
        merge(merge(a, b), c),
        merge(a, merge(b, c)),
        merge(merge(c, a), b),
        update(update(merge(a, b), jnp.asarray(x[30])), jnp.asarray(x[31:])),
    ):
        assert exact(merged.count) == 50
        np.testing.assert_allclose(moments.mean(merged), x.mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(moments.variance(merged), x.var(0), rtol=1e-12)


def test_empty_moments_are_neutral():
    """Merging nothing, or an all-masked batch, changes no number; two empties merge to an empty one."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)
    m = from_batch(x)
    empty = moments.init((2,))
    for merged in (
        merge(m, empty),
        merge(empty, m),
        update(m, jnp.full((3, 2), jnp.nan), jnp.zeros(3, bool)),
    ):
        np.testing.assert_array_equal(exact(merged.count), 8)
        np.testing.assert_allclose(exact(merged.mean), exact(m.mean), rtol=1e-7)
        np.testing.assert_array_equal(exact(merged.deviations), exact(m.deviations))
    nothing = merge(empty, empty)
    assert exact(nothing.count) == 0 and np.all(moments.mean(nothing) == 0)


def test_float32_follows_float64_past_a_billion_samples():
    """2^30 samples, then 20 000 batches of 64 from a shifted distribution: count exact, the rest as in float64.

    Each batch moves the mean by 2e-8 of its size, below half a unit in the last place of float32: a plain
    float32 mean would stand still, while the true one moves by 0.05.
    """
    rng = np.random.default_rng(0)
    first = rng.normal(100.0, 5.0, size=(1024, 2)).astype(np.float32)
    batches = rng.normal(140.0, 3.0, size=(40, 64, 2)).astype(np.float32)

    @jax.jit
    def run(first, batches):
        m = from_batch(first)
        m = jax.lax.fori_loop(0, 20, lambda _, m: merge(m, m), m)  # each doubles the samples
        return jax.lax.fori_loop(0, 20_000, lambda i, m: update(m, batches[i % 40]), m)

    m = run(jnp.asarray(first), jnp.asarray(batches))
    n, k = 1024 * 2**20, 64 * 20_000
    first, batches = first.astype(np.float64), batches.astype(np.float64).reshape(-1, 2)
    mean = (n * first.mean(0) + k * batches.mean(0)) / (n + k)
    square = (n * np.mean(first**2, 0) + k * np.mean(batches**2, 0)) / (n + k)
    increment = np.float32(40 * 64 / n)
    assert np.float32(100) + increment == np.float32(100) and increment * 20_000 > 0.04
    assert m.mean.high.dtype == jnp.float32
    assert exact(m.count) == n + k > 1e9
    np.testing.assert_allclose(exact(m.mean), mean, rtol=1e-9)
    np.testing.assert_allclose(moments.variance(m), square - mean**2, rtol=1e-5)


def test_count_goes_on_past_the_end_of_float32():
    """2^24 samples and then one at a time: a float32 counter would stand still."""
    m = from_batch(jnp.ones((1,)))
    m = jax.lax.fori_loop(0, 24, lambda _, m: merge(m, m), m)
    m = jax.lax.fori_loop(0, 1001, lambda _, m: update(m, jnp.ones(())), m)
    assert exact(m.count) == 2**24 + 1001


def test_variance_survives_a_large_offset():
    """float32 samples around 1e5 with deviation 1e-1, in 200 batches: no cancellation."""
    x = (1e5 + 0.1 * np.random.default_rng(0).normal(size=(200, 32))).astype(np.float32)
    m = jax.jit(lambda x: jax.lax.scan(lambda m, row: (update(m, row), None), moments.init(()), x)[0])(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(exact(m.mean), wide.mean(), rtol=1e-9)
    np.testing.assert_allclose(moments.variance(m), wide.var(), rtol=1e-4)


def test_normalize():
    """Mean 0 and deviation 1 on the samples; clipped; constants give 0, no moments the identity."""
    x = jnp.asarray(np.random.default_rng(0).normal(5.0, 3.0, size=(500, 2)), jnp.float32)
    m = from_batch(x)
    y = np.asarray(normalize(m, x))
    np.testing.assert_allclose([y.mean(0), y.std(0)], [[0, 0], [1, 1]], atol=1e-5)
    np.testing.assert_array_equal(normalize(m, jnp.array([1e9, -1e9]), clip=4.0), [4.0, -4.0])
    constant = jnp.full((100, 2), 0.1)
    np.testing.assert_allclose(normalize(from_batch(constant), constant), 0.0, atol=1e-9)
    far = jnp.array([1e3, -7.0])
    np.testing.assert_array_equal(normalize(moments.init((2,)), far), far)
    np.testing.assert_allclose(moments.std(m, 0.0), np.std(np.asarray(x, np.float64), 0), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_not_finite_change_no_bit(bad):
    """A NaN, an infinity or what cannot be squared: the moments are those of the other samples, exactly."""
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    dirty = np.insert(x, [0, 7, 40], np.float32(1), axis=0)
    dirty[[0, 8, 42], [1, 0, 2]] = bad
    mask = np.isin(np.arange(43), [0, 8, 42], invert=True)
    m = moments.init((3,))
    clean = update(m, jnp.asarray(dirty), jnp.asarray(mask))
    for a, b in zip(jax.tree.leaves(update(m, jnp.asarray(dirty))), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)
    assert exact(clean.count) == 40
    np.testing.assert_allclose(moments.mean(clean), x.astype(np.float64).mean(0), rtol=1e-5, atol=1e-7)
    one = normalize(clean, jnp.asarray(dirty))
    np.testing.assert_array_equal(np.isfinite(one).all(1), mask | (~np.isnan(bad)))


@pytest.mark.parametrize("value", [0.0, 0.3, -1e5])
def test_a_feature_that_never_moved_is_centred_and_not_scaled(value):
    """It is 0 exactly, and a small move later stays small; the feature beside it is normalised as ever."""
    x = np.stack([np.full(100, value), np.random.default_rng(0).normal(size=100)], axis=1).astype(np.float32)
    m = update(update(moments.init((2,)), jnp.asarray(x[:64])), jnp.asarray(x[64:]))
    np.testing.assert_array_equal(normalize(m, jnp.asarray(x))[:, 0], 0)
    moved = x + np.float32([0.001 * max(abs(value), 1), 0])
    np.testing.assert_allclose(normalize(m, jnp.asarray(moved))[:, 0], np.clip(moved - x, -10, 10)[:, 0], rtol=1e-3)
    np.testing.assert_allclose(
        normalize(m, jnp.asarray(x))[:, 1], (x[:, 1] - x[:, 1].mean()) / x[:, 1].std(), atol=1e-5
    )


def test_scale_divides_by_the_deviation_but_never_by_far_less_than_the_mean():
    """By the deviation where there is one; equal returns give at most ten; their size does not matter."""
    x = jnp.asarray(np.random.default_rng(0).normal(5.0, 3.0, size=500), jnp.float32)
    np.testing.assert_array_equal(moments.scale(from_batch(x), x), x / moments.std(from_batch(x)))
    for size in (1e-3, 1.0, 1e6):
        equal = jnp.full(100, size)
        np.testing.assert_allclose(moments.scale(from_batch(equal), equal), 10, rtol=1e-5)
        np.testing.assert_allclose(moments.scale(from_batch(-equal), equal), 10, rtol=1e-5)
    np.testing.assert_array_equal(moments.scale(from_batch(jnp.zeros(9)), jnp.zeros(3)), 0)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.bool_])
def test_integers_and_booleans_become_float32(dtype):
    """Pixels, counts and flags: float32 moments and float32 observations, with the right mean."""
    x = jnp.arange(6).reshape(3, 2).astype(dtype)
    m = update(moments.init((2,)), x)
    assert m.mean.high.dtype == normalize(m, x).dtype == jnp.float32
    np.testing.assert_allclose(moments.mean(m), np.asarray(x, np.float64).mean(0), rtol=1e-6)


def test_dtypes_and_structure_are_kept(x64):
    """float64 stays float64, float32 takes float64 batches without widening: an update can be scanned."""
    for dtype in (jnp.float32, jnp.float64):
        m = moments.init((2,), dtype)
        new = update(m, jnp.ones((3, 2), jnp.float64))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), m) == jax.tree.map(lambda x: (x.shape, x.dtype), new)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(new))


def test_rejects_bad_shapes():
    """A mask that is not [N...], or moments of other samples, are errors."""
    with pytest.raises(AssertionError):
        from_batch(jnp.ones((4, 2)), 1, jnp.ones((4, 2), bool))
    with pytest.raises(AssertionError):
        merge(moments.init((2,)), moments.init((3,)))
