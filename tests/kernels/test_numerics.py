import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl.kernels import numerics


@pytest.mark.parametrize("axis", [None, 0, (0, 1), -1])
def test_masked_statistics_match_numpy(axis, x64):
    """Mean and variance against NumPy's masked arrays, for all kinds of axis, with NaN outside the mask."""
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 5)), rng.uniform(size=(4, 5)) < 0.6
    mask[0, :], mask[:, 0] = True, True
    dirty = jnp.asarray(np.where(mask, x, np.nan))
    reference = np.ma.array(x, mask=~mask)
    np.testing.assert_allclose(numerics.masked_mean(dirty, mask, axis), reference.mean(axis), rtol=1e-12)
    np.testing.assert_allclose(numerics.masked_variance(dirty, mask, axis), reference.var(axis), rtol=1e-12)


def test_masks_may_be_empty_numeric_or_narrower():
    """An empty mask gives 0, a 0/1 float mask is a mask, and a mask broadcasts over trailing rows."""
    x = jnp.array([[1.0, 2.0], [5.0, 8.0]])
    nothing = jnp.zeros((2, 2), bool)
    assert numerics.masked_mean(x, nothing) == 0.0 and numerics.masked_variance(x, nothing) == 0.0
    np.testing.assert_array_equal(numerics.standardize(x, nothing), 0.0)
    np.testing.assert_allclose(numerics.masked_mean(x, jnp.array([[1.0], [0.0]])), 1.5)
    np.testing.assert_allclose(numerics.masked_mean(x > 1.5, None), 0.75)


@pytest.mark.parametrize("value", [0.1, -3.7, 1e6, 0.0])
def test_equal_entries_have_no_spread(value):
    """A thousand equal float32 entries, or one: the variance and the standardised values are exactly 0."""
    x = jnp.full(1000, value)
    assert numerics.masked_variance(x, None) == 0.0
    np.testing.assert_array_equal(numerics.standardize(x), 0.0)
    np.testing.assert_array_equal(numerics.standardize(jnp.array([value])), 0.0)


def test_variance_survives_a_large_offset():
    """float32 numbers near 1e6 with a deviation of 1: no cancellation."""
    x = np.random.default_rng(0).normal(size=2000).astype(np.float32) + np.float32(1e6)
    np.testing.assert_allclose(numerics.masked_variance(jnp.asarray(x), None), np.var(x.astype(np.float64)), rtol=1e-5)


def test_standardize_has_mean_0_and_deviation_1():
    """Statistics inside the mask, 0 outside, invariant to shift and scale of the input."""
    rng = np.random.default_rng(0)
    x, mask = jnp.asarray(rng.normal(size=200), jnp.float32), jnp.asarray(rng.uniform(size=200) < 0.5)
    y = np.asarray(numerics.standardize(x, mask))
    np.testing.assert_allclose([y[mask].mean(), y[mask].std()], [0.0, 1.0], atol=1e-6)
    np.testing.assert_array_equal(y[~np.asarray(mask)], 0.0)
    np.testing.assert_allclose(numerics.standardize(100.0 * x + 7.0, mask), y, atol=1e-4)


def test_gradients_are_finite_at_the_edges():
    """Zero variance, empty masks, zero denominators, zero norms and log 0: every gradient is a number."""
    constant, nothing = jnp.full(4, 0.3), jnp.zeros(4, bool)
    weight = jnp.arange(4.0)
    for function in (
        lambda x: jnp.sum(weight * numerics.standardize(x)),
        lambda x: jnp.sum(weight * numerics.standardize(x, nothing)),
        lambda x: numerics.masked_variance(x, nothing),
        lambda x: numerics.global_norm({"a": x - 0.3, "b": 0.0 * x}),
        lambda x: jnp.sum(numerics.safe_divide(x, x - 0.3)),
        lambda x: jnp.sum(numerics.safe_log(x - 0.3)),
    ):
        value, gradient = jax.jit(jax.value_and_grad(function))(constant)
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_standardize_has_the_derivative_of_its_formula(x64):
    """Autodiff through the shift by an entry against central differences."""
    x = jnp.array([0.3, -1.0, 2.0, 0.7])
    weight = jnp.array([1.0, 3.0, -2.0, 0.5])

    @jax.jit
    def f(x):
        return jnp.sum(weight * numerics.standardize(x, jnp.array([1, 1, 1, 0])))

    step = 1e-6 * jnp.eye(4)
    differences = [(f(x + h) - f(x - h)) / 2e-6 for h in step]
    np.testing.assert_allclose(jax.grad(f)(x), differences, rtol=1e-6, atol=1e-8)


def test_safe_log_and_safe_divide():
    """The plain functions where those are defined; the smallest normal float, or the default, where not."""
    x = jnp.array([1.0, 0.5, 1e-30])
    np.testing.assert_allclose(numerics.safe_log(x), np.log(x), rtol=1e-6)
    np.testing.assert_allclose(numerics.safe_log(jnp.zeros(())), np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    np.testing.assert_array_equal(
        numerics.safe_divide(jnp.array([1.0, 3.0, 0.0]), jnp.array([2.0, 0.0, 0.0]), default=-1.0),
        [0.5, -1, -1],
    )


def test_global_norm_agrees_with_optax():
    """Over a tree of two shapes, against optax; the empty tree has norm 0."""
    tree = {"a": jnp.arange(3.0), "b": (jnp.full((2, 2), -2.0),)}
    np.testing.assert_allclose(numerics.global_norm(tree), optax.tree.norm(tree), rtol=1e-6)
    assert numerics.global_norm({}) == 0.0


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8])
def test_counters_saturate(dtype):
    """``min(count + number, largest)``, exactly, up to the last of its type: a counter never wraps to the negative."""
    most = int(jnp.iinfo(dtype).max)
    counts = np.array([0, 1, most - 4, most - 3, most - 1, most])
    found = numerics.count_up(jnp.asarray(counts, dtype), 3)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.minimum(counts + 3, most))


def test_safe_multiply():
    """The product with its gradients; exactly 0 where the coefficient is, whatever the other is."""
    a, x = jnp.array([0.0, 2.0, 0.0, 0.0]), jnp.array([3.0, 4.0, jnp.nan, jnp.inf])
    np.testing.assert_array_equal(numerics.safe_multiply(a, x), [0, 8, 0, 0])
    gradient = jax.grad(lambda a: jnp.sum(numerics.safe_multiply(a, x)))(a)
    np.testing.assert_array_equal(gradient, [3, 4, 0, 0])
