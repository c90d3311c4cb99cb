import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import importance
from tests.oracles import importance as oracle

GAMMA = 0.8


def trajectories(seed=0, T=5, N=6):
    rng = np.random.default_rng(seed)
    mask = np.arange(T)[:, None] < rng.integers(1, T + 1, size=N)
    return rng.normal(size=(T, N)), np.exp(rng.normal(size=(T, N))), mask


@jax.jit
def all_three(reward, ratio, gamma, mask=None):
    estimators = (importance.ordinary, importance.weighted, importance.per_decision)
    return tuple(f(reward, ratio, gamma, mask) for f in estimators)


@pytest.mark.covers("is")
@pytest.mark.parametrize("masked", [False, True])
def test_matches_loops_over_trajectories(masked, x64):
    """Ordinary, weighted and per-decision estimates against explicit products and sums in float64."""
    reward, ratio, mask = trajectories()
    mask = mask if masked else np.ones_like(mask)
    expected = oracle.estimates(reward, ratio, GAMMA, mask)
    actual = all_three(reward, ratio, GAMMA, jnp.asarray(mask) if masked else None)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12)


@pytest.mark.covers("is")
def test_ratio_one_is_the_plain_return(x64):
    """On policy all three are the discounted return of each trajectory."""
    reward, ratio, _ = trajectories()
    expected = np.sum(GAMMA ** np.arange(5)[:, None] * reward, axis=0)
    for estimate in all_three(reward, np.ones_like(ratio), GAMMA):
        np.testing.assert_allclose(estimate, expected, rtol=1e-12)


@pytest.mark.covers("is")
def test_unbiased_by_enumeration(x64):
    """Over all 3^4 action sequences, ordinary and per-decision estimates average to the target's value."""
    rng = np.random.default_rng(1)
    target, behaviour = rng.dirichlet(np.ones(3), size=4), rng.dirichlet(np.ones(3), size=4)  # [T, A]
    action = np.indices((3,) * 4).reshape(4, -1)
    step = np.arange(4)[:, None]
    pi, mu = target[step, action], behaviour[step, action]
    reward = rng.normal(size=(4, 3))[step, action]
    probability = np.prod(mu, axis=0)
    value = np.sum(np.prod(pi, axis=0) * np.sum(GAMMA**step * reward, axis=0))
    ordinary, _, per_decision = all_three(reward, pi / mu, GAMMA)
    np.testing.assert_allclose(np.sum(probability * ordinary), value, rtol=1e-11)
    np.testing.assert_allclose(np.sum(probability * per_decision), value, rtol=1e-11)


@pytest.mark.covers("is")
def test_variance_is_that_of_the_theorem(x64):
    """One step: the ordinary estimator's variance is E_p[f^2 p/q] - (E_p f)^2, by enumeration."""
    p, q, f = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6]), np.array([1.0, -2.0, 3.0])
    estimate = np.asarray(importance.ordinary(jnp.asarray(f)[None], jnp.asarray(p / q)[None], GAMMA))
    variance = np.sum(q * estimate**2) - np.sum(q * estimate) ** 2
    np.testing.assert_allclose(variance, np.sum(p * f**2 * p / q) - np.sum(p * f) ** 2, rtol=1e-12)


@pytest.mark.covers("is")
def test_weighted_stays_in_the_range_of_the_returns(x64):
    """Weighted importance sampling: scaling all ratios changes nothing, and its mean is a mean of returns."""
    reward, ratio, _ = trajectories()
    first, second = (np.asarray(all_three(reward, c * ratio, GAMMA)[1]) for c in (1.0, 7.0))
    np.testing.assert_allclose(first, second, rtol=1e-11)
    total = np.sum(GAMMA ** np.arange(5)[:, None] * reward, axis=0)
    assert total.min() <= first.mean() <= total.max()
    np.testing.assert_array_equal(all_three(reward, np.zeros((5, 6)), GAMMA)[1], 0.0)


def test_what_follows_the_end_is_ignored():
    """NaN rewards and ratios after a trajectory's end change neither the estimates nor their gradients."""
    reward, ratio, mask = (jnp.asarray(x) for x in trajectories())
    dirty_reward, dirty_ratio = jnp.where(mask, reward, jnp.nan), jnp.where(mask, ratio, jnp.nan)
    for clean, dirty in zip(
        all_three(reward, ratio, GAMMA, mask), all_three(dirty_reward, dirty_ratio, GAMMA, mask), strict=True
    ):
        np.testing.assert_array_equal(clean, dirty)
    by_ratio = jax.jit(jax.grad(lambda r: jnp.sum(importance.per_decision(dirty_reward, r, GAMMA, mask))))
    gradient = by_ratio(dirty_ratio)
    assert np.all(np.isfinite(gradient))


@pytest.mark.covers("is")
def test_trajectory_ratio_is_a_product():
    """exp of the masked sum of log-ratios against the product of ratios; an empty trajectory has ratio 1."""
    _, ratio, mask = trajectories()
    log_ratio = jnp.asarray(np.where(mask, np.log(ratio), np.nan), jnp.float32)
    expected = np.prod(np.where(mask, ratio, 1.0), axis=0)
    np.testing.assert_allclose(importance.trajectory_ratio(log_ratio, jnp.asarray(mask)), expected, rtol=1e-5)
    np.testing.assert_array_equal(importance.trajectory_ratio(log_ratio, jnp.zeros(mask.shape, bool)), 1.0)
    np.testing.assert_allclose(
        importance.trajectory_ratio(jnp.log(jnp.asarray(ratio))), np.prod(ratio, axis=0), rtol=1e-5
    )


@pytest.mark.covers("is")
def test_effective_sample_size():
    """Equal weights count fully, one weight counts once, zeros not at all; the scale cannot overflow."""
    np.testing.assert_allclose(importance.effective_sample_size(jnp.full(7, 1e30)), 7.0, rtol=1e-6)
    np.testing.assert_allclose(importance.effective_sample_size(jnp.array([0.0, 1e-30, 0.0])), 1.0)
    np.testing.assert_allclose(importance.effective_sample_size(jnp.array([1.0, 2.0, 3.0])), 36 / 14, rtol=1e-6)
    assert importance.effective_sample_size(jnp.zeros(3)) == 0.0


def test_rejects_bad_shapes():
    """Rewards must be [T, N], and all arrays of one shape."""
    with pytest.raises(AssertionError):
        importance.ordinary(jnp.ones(3), jnp.ones(3), GAMMA)
    with pytest.raises(AssertionError):
        importance.weighted(jnp.ones((3, 2)), jnp.ones((3, 1)), GAMMA)
    with pytest.raises(AssertionError):
        importance.trajectory_ratio(jnp.ones((3, 2)), jnp.ones((3,), bool))


@pytest.mark.covers("is")
def test_weights_beyond_every_number_leave_a_weighted_mean():
    """Ratios of 1e3 or 1e-3 at each of 40 steps, products that no float32 holds: the weighted mean that float64 finds,
    inside the range of the returns, and its gradients."""
    rng = np.random.default_rng(0)
    ratio = 10.0 ** np.stack([np.full(40, 3.0), rng.permutation(np.repeat([3.0, -3.0], [39, 1])), np.full(40, -3.0)], 1)
    reward = rng.normal(size=ratio.shape)

    def estimate(reward, ratio):
        return jnp.mean(importance.weighted(reward, ratio, GAMMA))

    given = reward.astype(np.float32), ratio.astype(np.float32)
    value, slopes = jax.value_and_grad(estimate, argnums=(0, 1))(*given)
    weight, total = np.prod(ratio, axis=0), GAMMA ** np.arange(40) @ reward
    np.testing.assert_allclose(value, np.average(total, weights=weight), rtol=1e-4)
    share = weight / weight.sum()
    np.testing.assert_allclose(slopes[0], GAMMA ** np.arange(40)[:, None] * share, atol=1e-6)
    np.testing.assert_allclose(slopes[1], share * (total - share @ total) / ratio, rtol=1e-3, atol=1e-6)


@pytest.mark.covers("is")
@pytest.mark.parametrize("garbage", [np.inf, -np.inf, np.nan])
def test_gradients_do_not_see_what_is_masked(garbage):
    """Rewards and ratios after a trajectory's end may be anything: values and gradients are those of zeros there."""
    reward, ratio, mask = trajectories()
    clean = np.where(mask, reward, 0).astype(np.float32), np.where(mask, ratio, 0).astype(np.float32)
    dirty = tuple(np.where(mask, x, garbage) for x in clean)

    @jax.jit
    def slopes(reward, ratio):
        def total(reward, ratio):
            estimates = all_three(reward, ratio, GAMMA, jnp.asarray(mask))
            return sum(jnp.sum(x) for x in estimates) + jnp.sum(importance.trajectory_ratio(ratio, jnp.asarray(mask)))

        return jax.value_and_grad(total, argnums=(0, 1))(reward, ratio)

    for found, expected in zip(jax.tree.leaves(slopes(*dirty)), jax.tree.leaves(slopes(*clean)), strict=True):
        np.testing.assert_array_equal(found, expected)
