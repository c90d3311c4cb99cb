import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from purerl.kernels import surrogates
from purerl.kernels.distributions import categorical

EPSILON = 0.2


@pytest.mark.covers("pg")
def test_policy_gradient_is_the_score_times_the_advantage(x64):
    """Against rlax on logits, and its gradient against (1[a] - pi) A; none flows into the advantage."""
    rng = np.random.default_rng(0)
    logits, advantage = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=6))
    action = jnp.asarray(rng.integers(3, size=6))

    def objective(logits, advantage):
        return jnp.mean(surrogates.policy_gradient(categorical.log_prob(logits, action), advantage))

    expected = -rlax.policy_gradient_loss(logits, action, advantage, jnp.ones(6))
    np.testing.assert_allclose(objective(logits, advantage), expected, rtol=1e-12)
    by_logits, by_advantage = jax.grad(objective, argnums=(0, 1))(logits, advantage)
    score = (np.eye(3)[action] - jax.nn.softmax(logits)) * advantage[:, None] / 6
    np.testing.assert_allclose(by_logits, score, rtol=1e-10, atol=1e-15)
    np.testing.assert_array_equal(by_advantage, 0.0)


@pytest.mark.covers("ppo-clip")
def test_ppo_clip_agrees_with_rlax(x64):
    """Mean of our elements against rlax's loss, over ratios on both sides of the range."""
    rng = np.random.default_rng(0)
    log_ratio, advantage = jnp.asarray(rng.normal(size=50)), jnp.asarray(rng.normal(size=50))
    expected = -rlax.clipped_surrogate_pg_loss(jnp.exp(log_ratio), advantage, EPSILON)
    actual = jnp.mean(surrogates.ppo_clip(log_ratio, advantage, EPSILON))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.covers("ppo-clip")
def test_ppo_clip_gradient_in_all_quadrants(x64):
    """The derivative by the ratio is A, and 0 exactly where A > 0, rho > 1 + eps or A < 0, rho < 1 - eps."""
    ratio = jnp.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0] * 2)
    advantage = jnp.array([1.5] * 7 + [-2.0] * 7)
    slope = jax.grad(lambda r: jnp.sum(surrogates.ppo_clip(jnp.log(r), advantage, EPSILON)))(ratio)
    flat = ((advantage > 0) & (ratio > 1.2)) | ((advantage < 0) & (ratio < 0.8))
    np.testing.assert_allclose(slope, jnp.where(flat, 0.0, advantage), rtol=1e-12)
    assert np.sum(flat) == 4
    np.testing.assert_array_equal(surrogates.ppo_clip(jnp.log(ratio), jnp.zeros(14), EPSILON), 0.0)


@pytest.mark.covers("ppo-clip", "ppo-kl", "surrogate")
def test_at_the_old_policy_all_surrogates_have_the_policy_gradient(x64):
    """At ratio 1 clip, penalty and score function have one gradient by the logits, and clip's value is A."""
    rng = np.random.default_rng(1)
    old, advantage = jnp.asarray(rng.normal(size=(8, 4))), jnp.asarray(rng.normal(size=8))
    action = jnp.asarray(rng.integers(4, size=8))
    old_log_prob = categorical.log_prob(old, action)

    def log_ratio(logits):
        return categorical.log_prob(logits, action) - old_log_prob

    def penalised(logits):
        return surrogates.ppo_kl(log_ratio(logits), advantage, categorical.kl(old, logits), 3.0)

    objectives = (
        lambda logits: surrogates.policy_gradient(categorical.log_prob(logits, action), advantage),
        lambda logits: surrogates.ppo_clip(log_ratio(logits), advantage, EPSILON),
        penalised,
    )
    first, *others = (jax.grad(lambda logits, f=f: jnp.sum(f(logits)))(old) for f in objectives)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(objectives[1](old), advantage)


@pytest.mark.covers("ppo-kl")
def test_ppo_kl_subtracts_the_penalty():
    """rho A - beta KL, at hand-picked numbers; beta = 0 leaves the plain surrogate."""
    log_ratio, advantage, kl = jnp.log(jnp.array([2.0, 0.5])), jnp.array([1.0, -4.0]), jnp.array([0.1, 0.2])
    np.testing.assert_allclose(surrogates.ppo_kl(log_ratio, advantage, kl, 10.0), [1.0, -4.0], rtol=1e-6)
    np.testing.assert_allclose(surrogates.ppo_kl(log_ratio, advantage, kl, 0.0), [2.0, -2.0], rtol=1e-6)


@pytest.mark.covers("ppo-kl")
def test_kl_coefficient_has_three_branches_and_strict_boundaries(x64):
    """Below target/1.5 halve, above 1.5 target double, and keep in between and exactly on both boundaries."""
    target = 0.03
    low, high = target / 1.5, 1.5 * target
    kl = jnp.array([0.0, np.nextafter(low, 0), low, target, high, np.nextafter(high, 1), 9.0])
    adapted = surrogates.adapt_kl_coefficient(jnp.full(7, 8.0), kl, target)
    np.testing.assert_array_equal(adapted, [4, 4, 8, 8, 8, 16, 16])


def test_value_losses(x64):
    """Half the squared error; clipped: the larger of two losses, flat once progress passes the clip."""
    value, old, target = jnp.array([1.0, 1.5, 0.5, 1.5]), jnp.ones(4), jnp.array([3.0, 3.0, 3.0, 0.0])
    np.testing.assert_allclose(surrogates.value_loss(value, target), [2.0, 1.125, 3.125, 1.125])
    np.testing.assert_allclose(jax.grad(lambda v: jnp.sum(surrogates.value_loss(v, target)))(value), value - target)

    def loss(v):
        return surrogates.clipped_value_loss(v, old, target, 0.2)

    clipped_values = np.clip(value, 0.8, 1.2)
    expected = np.maximum((value - target) ** 2, (clipped_values - target) ** 2) / 2
    np.testing.assert_allclose(loss(value), expected)
    # Moved towards the target by more than the clip: no gradient. Moved away from it: full gradient.
    np.testing.assert_allclose(jax.grad(lambda v: jnp.sum(loss(v)))(value), [-2.0, 0.0, -2.5, 1.5])


@pytest.mark.covers("k3")
def test_approximate_kl_is_accurate_and_never_negative():
    """float32 against float64 at log-ratios down to 1e-20, where the naive form goes negative; mean = KL."""
    log_ratio = np.concatenate([[0.0], np.logspace(-20, 1, 4000), -np.logspace(-20, 2, 4000)]).astype(np.float32)
    estimate = np.asarray(surrogates.approximate_kl(log_ratio))
    assert estimate.min() == 0.0
    wide = log_ratio.astype(np.float64)
    few_roundings = 4 * np.finfo(np.float32).eps * (np.abs(np.expm1(wide)) + np.abs(wide))
    assert np.all(np.abs(estimate - (np.expm1(wide) - wide)) <= few_roundings)
    assert np.min(np.exp(log_ratio) - 1 - log_ratio) < 0
    old, new = jnp.array([0.3, -0.5, 0.1]), jnp.array([0.0, 0.4, -0.2])
    log_ratios = jax.nn.log_softmax(new) - jax.nn.log_softmax(old)
    expected = np.sum(jax.nn.softmax(old) * surrogates.approximate_kl(log_ratios))
    np.testing.assert_allclose(expected, categorical.kl(old, new), rtol=1e-5)


@pytest.mark.covers("ppo-clip")
def test_clipped_marks_ratios_outside_the_range():
    """1 outside [1 - eps, 1 + eps] on either side, whatever the advantage; the dtype of the input."""
    ratio = jnp.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0])
    marks = surrogates.clipped(jnp.log(ratio), EPSILON)
    np.testing.assert_array_equal(marks, [1, 1, 0, 0, 0, 1, 1])
    assert marks.dtype == ratio.dtype


def test_explained_variance():
    """1 for perfect, 0 for constant predictions, negative for worse; finite, and 0, on constant targets."""
    target = jnp.array([1.0, 2.0, 4.0, 7.0])
    np.testing.assert_allclose(surrogates.explained_variance(target, target), 1.0)
    np.testing.assert_allclose(surrogates.explained_variance(target + 5.0, target), 1.0)
    np.testing.assert_allclose(surrogates.explained_variance(jnp.full(4, 3.0), target), 0.0, atol=1e-6)
    np.testing.assert_allclose(surrogates.explained_variance(-target, target), -3.0, rtol=1e-6)
    assert surrogates.explained_variance(jnp.arange(1000.0), jnp.full(1000, 0.1)) == 0.0


def test_rejects_shapes_that_would_broadcast():
    """[B] against [B, 1] is an error everywhere, not a [B, B] table."""
    row, column = jnp.ones(3), jnp.ones((3, 1))
    for call in (
        lambda: surrogates.policy_gradient(row, column),
        lambda: surrogates.ppo_clip(row, column, EPSILON),
        lambda: surrogates.ppo_kl(row, row, column, 1.0),
        lambda: surrogates.value_loss(row, column),
        lambda: surrogates.clipped_value_loss(row, column, row, EPSILON),
        lambda: surrogates.explained_variance(row, column),
    ):
        with pytest.raises(AssertionError):
            call()


EXTREME = np.array([-1e4, -89, -30, 0, 30, 31, 89, 1e4], np.float32)


@pytest.mark.covers("ppo-clip", "ppo-kl")
@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_values_and_gradients_are_finite_at_ratios_beyond_every_number(sign):
    """Log ratios of +-89 and +-1e4, whose ratios are 0 or no float32: clip and penalty have finite values and slopes.

    Where the clip removes the incentive the slope is 0, and so it is without an advantage; where it does not, the slope
    has the advantage's sign and never decreases with the ratio.
    """
    advantage = jnp.full(EXTREME.shape, sign, jnp.float32)

    def clip(log_ratio):
        return surrogates.ppo_clip(log_ratio, advantage, EPSILON)

    def penalty(log_ratio):
        return surrogates.ppo_kl(log_ratio, advantage, jnp.zeros_like(log_ratio), 1.0)

    for objective in (clip, penalty):
        value, slope = objective(EXTREME), np.asarray(jax.grad(lambda x, f=objective: jnp.sum(f(x)))(EXTREME))
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        assert np.all(slope * sign >= 0) and np.all(np.diff(np.abs(slope)[EXTREME * sign < 0]) >= 0)
        # The length of a gradient is a sum of squares.
        assert np.isfinite(np.sum(np.square(slope)))
    at = {x: i for i, x in enumerate(EXTREME.tolist())}
    value, slope = clip(EXTREME), jax.grad(lambda x: jnp.sum(clip(x)))(EXTREME)
    flat = {1.0: [30, 31, 89, 1e4], -1.0: [-1e4, -89, -30], 0.0: at}[sign]
    np.testing.assert_array_equal(slope[jnp.asarray([at[x] for x in flat])], 0)
    np.testing.assert_allclose(value[at[89.0]], {1.0: 1 + EPSILON, 0.0: 0.0, -1.0: -surrogates.ratio(89.0)}[sign])
    np.testing.assert_allclose(value[at[-89.0]], {1.0: np.exp(-89.0), 0.0: 0.0, -1.0: -(1 - EPSILON)}[sign], atol=1e-38)


@pytest.mark.parametrize("garbage", [np.inf, -np.inf, np.nan])
def test_masked_advantages_leave_no_trace(garbage):
    """Advantages that are masked before and results that are masked after: values and gradients of the others alone,
    whatever was masked, at every ratio."""
    mask = np.arange(len(EXTREME)) % 2 == 0
    advantage = jnp.where(mask, 0.5, garbage)

    def total(log_ratio, objective):
        return jnp.sum(jnp.where(mask, objective(log_ratio, jnp.where(mask, advantage, 0)), 0))

    def alone(log_ratio, objective):
        return jnp.sum(objective(log_ratio[mask], jnp.full(mask.sum(), 0.5)))

    for objective in (
        lambda log_ratio, advantage: surrogates.ppo_clip(log_ratio, advantage, EPSILON),
        lambda log_ratio, advantage: surrogates.ppo_kl(log_ratio, advantage, jnp.zeros_like(log_ratio), 1.0),
        surrogates.policy_gradient,
    ):
        found, expected = (jax.value_and_grad(f)(jnp.asarray(EXTREME), objective) for f in (total, alone))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_array_equal(found[1], expected[1])


def test_ratio_is_the_exponential_and_goes_on_as_its_tangent():
    """Exactly exp up to e^30; above, the line that touches it there, so that its slope is one of a ratio, too."""
    below = jnp.linspace(-90, 30, 50)
    np.testing.assert_array_equal(surrogates.ratio(below), jnp.exp(below))
    np.testing.assert_allclose(jax.vmap(jax.grad(surrogates.ratio))(below), jnp.exp(below), rtol=1e-6)
    for x in (31.0, 89.0, 1e4):
        np.testing.assert_allclose(surrogates.ratio(x), np.exp(30) * (x - 29), rtol=1e-5)
        np.testing.assert_allclose(jax.grad(surrogates.ratio)(x), np.exp(30), rtol=1e-5)


def test_measures_of_the_change_are_finite():
    """The estimate of the divergence at the same extremes: finite, at least 0, expm1(d) - d where that is a number."""
    found = np.asarray(surrogates.approximate_kl(jnp.asarray(EXTREME)))
    assert np.isfinite(found).all() and np.all(np.diff(found[4:]) > 0)
    np.testing.assert_allclose(found[:5], np.expm1(EXTREME[:5].astype(float)) - EXTREME[:5], rtol=1e-6)
    np.testing.assert_array_equal(surrogates.clipped(EXTREME, EPSILON), [1, 1, 1, 0, 1, 1, 1, 1])
