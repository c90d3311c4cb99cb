import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import importance
from purerl.kernels.language import aggregation, kl, sequences, surrogates
from purerl.kernels.surrogates import ppo_clip
from purerl.language import enumeration
from tests.support import tiny_language as tiny
from tests.support.tiny_language import SEQUENCES, cosine, sequence_of, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
MASK = jnp.asarray(SEQUENCES.mask)
LENGTH = np.sum(SEQUENCES.mask, axis=0)


def ascent(objective, sampler, at):
    """Mean gradient of an objective ``[..., Y]`` over texts of a sampler, summed over tokens if it has them."""

    def mean(logits):
        value = objective(logits)
        return enumeration.sample_mean(SEQUENCES, sampler, jnp.sum(value * MASK, axis=0) if value.ndim == 2 else value)

    return jax.jit(jax.grad(mean))(at)


def per_token(reward):
    return jnp.broadcast_to(reward, MASK.shape)


# --- clipping tokens --------------------------------------------------------------------------------------


@pytest.mark.covers("clip-higher", "ppo-clip")
def test_equal_widths_are_ppo_clip_and_a_wider_top_only_frees_good_tokens_there():
    """Over ratios and signs: values and gradients of PPO's; at .28 only A > 0 with a ratio in (1.2, 1.28] changes."""
    rng = np.random.default_rng(0)
    log_ratio, advantage = jnp.asarray(rng.normal(0, 0.5, 200)), jnp.asarray(rng.normal(size=200))

    def both(function):
        return jax.jit(jax.vmap(jax.value_and_grad(function)))(log_ratio, advantage)

    usual = both(lambda x, a: ppo_clip(x, a, 0.2))
    for ours, theirs in zip(both(lambda x, a: surrogates.clip_higher(x, a, 0.2, 0.2)), usual, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    _, gradient = both(lambda x, a: surrogates.clip_higher(x, a, 0.2, 0.28))
    ratio = np.exp(log_ratio)
    freed = (advantage > 0) & (ratio > 1.2) & (ratio <= 1.28)
    np.testing.assert_array_equal(~np.isclose(gradient, usual[1]), freed)
    np.testing.assert_allclose(gradient[freed], (ratio * advantage)[freed])
    assert np.sum(freed) > 3


@pytest.mark.covers("clip-higher")
def test_dual_clip_bounds_what_a_bad_token_can_do():
    """A < 0: at least c A and without gradient beyond the ratio c; A > 0 is as without the bound."""
    log_ratio = jnp.log(jnp.array([0.5, 1.0, 2.0, 2.9, 3.1, 50.0]))

    def objective(x, advantage, dual_clip):
        return surrogates.clip_higher(x, jnp.full(6, advantage), 0.2, 0.28, dual_clip)

    np.testing.assert_allclose(objective(log_ratio, -2.0, 3.0), [-1.6, -2, -4, -5.8, -6, -6], rtol=1e-12)
    slope = jax.grad(lambda x: jnp.sum(objective(x, -2.0, 3.0)))(log_ratio)
    np.testing.assert_allclose(slope, [0, -2, -4, -5.8, 0, 0], rtol=1e-12)
    np.testing.assert_array_equal(objective(log_ratio, 2.0, 3.0), objective(log_ratio, 2.0, jnp.inf))


@pytest.mark.covers("clip-higher")
def test_ratios_that_overflow_have_finite_values_and_gradients():
    """Log-ratios of 89 and of 1e4 in single precision: 0 gradient where clipped, 0 for advantage 0, nothing is NaN."""
    log_ratio = jnp.array([-1e4, -89.0, 89.0, 1e4], jnp.float32)
    for advantage in (-1.0, 0.0, 1.0):
        each = jnp.full(4, advantage, jnp.float32)
        value, slope = jax.vmap(jax.value_and_grad(lambda x, a: surrogates.clip_higher(x, a, 0.2, 0.28)))(
            log_ratio, each
        )
        assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope))
        assert value.dtype == jnp.float32
        if advantage >= 0:
            np.testing.assert_array_equal(slope[2:], 0)
            np.testing.assert_allclose(value[2:], 1.28 * advantage, rtol=1e-6)


# --- at the old policy ------------------------------------------------------------------------------------


@pytest.mark.covers("clip-higher", "cispo", "kimi-md", "grpo", "tok-vs-seq")
def test_at_the_old_policy_surrogates_have_the_policy_gradient():
    """Over all texts, summed over tokens: clip, CISPO and minus mirror descent; a constant baseline changes nothing."""
    s = setting()
    truth = tiny.exact_gradient(s.policy, s.reward)
    old = tokens_of(s.policy)

    def clip(logits):
        return surrogates.clip_higher(tokens_of(logits) - old, per_token(s.reward), 0.2, 0.28)

    def cispo(logits):
        log_prob = tokens_of(logits)
        return surrogates.cispo(log_prob, log_prob - old, per_token(s.reward), 0.28)

    def descent(logits, baseline=0.37, tau=0.8):
        log_ratio = sequence_of(logits) - sequence_of(s.policy)
        return -surrogates.mirror_descent(log_ratio, s.reward, jnp.full_like(s.reward, baseline), tau)

    for objective in (clip, cispo, descent):
        np.testing.assert_allclose(ascent(objective, s.policy, s.policy), truth, atol=1e-14)


@pytest.mark.covers("gspo", "grpo")
def test_at_the_old_policy_gspo_is_grpo_with_the_mean_over_each_sequence():
    """Sequence by sequence: value A and gradient A / length times the score, which is GRPO's with 1 / length."""
    s = setting()

    def gspo(logits):
        return surrogates.gspo(tokens_of(logits) - tokens_of(s.policy), MASK, s.reward, 3e-4, 4e-4)

    def grpo(logits):
        elements = surrogates.clip_higher(tokens_of(logits) - tokens_of(s.policy), per_token(s.reward), 0.2, 0.28)
        return sequences.average(elements, MASK)

    scores = jax.jacobian(sequence_of)(s.policy)
    expected = (s.reward / LENGTH)[:, None, None] * scores
    for objective in (gspo, grpo):
        np.testing.assert_allclose(objective(s.policy), s.reward, rtol=1e-14)
        np.testing.assert_allclose(jax.jit(jax.jacobian(objective))(s.policy), expected, atol=1e-14)


# --- whole sequences --------------------------------------------------------------------------------------


@pytest.mark.covers("gspo")
def test_gspo_ratio_is_the_geometric_mean_and_clips_a_sequence_as_a_whole():
    """Against the root of the product; beyond the range no token has a gradient, within it all have, also outliers."""
    rho = np.array([[1.5, 1.05, 0.2], [0.8, 1.1, 0.3], [1.0, 9.0, 0.4]])
    mask = jnp.asarray(np.arange(3)[:, None] < np.array([3, 2, 3]))
    roots = [np.prod(rho[:n, i]) ** (1 / n) for i, n in enumerate((3, 2, 3))]
    assert roots[0] < 1.1 and roots[2] < 0.9

    def total(log_ratio, advantage):
        return jnp.sum(surrogates.gspo(log_ratio, mask, jnp.full(3, advantage), 0.1, 0.1))

    np.testing.assert_allclose(
        surrogates.gspo(jnp.log(rho), mask, jnp.ones(3), 1.0, 10.0), roots, rtol=1e-12
    )  # no clip: the ratio itself
    gradient = jax.jit(jax.grad(total))
    slope = gradient(jnp.log(rho), 1.0)
    np.testing.assert_allclose(slope[:, 0], roots[0] / 3)
    np.testing.assert_allclose(slope[:2, 1], roots[1] / 2)
    assert slope[2, 1] == 0  # padding
    assert np.all(gradient(jnp.log(rho), -1.0)[:, 2] == 0)  # below the range: a bad sequence, already gone


@pytest.mark.covers("gspo")
def test_gspo_of_tokens_has_the_value_and_the_gradient_of_gspo_and_tells_tokens_apart():
    """With equal advantages, averaged over each sequence; with others each token's score has its own."""
    s = setting()
    old, width = tokens_of(s.old), 0.3

    def of_sequences(logits):
        return surrogates.gspo(tokens_of(logits) - old, MASK, s.reward, width, width)

    def of_tokens(logits, advantage):
        log_prob = tokens_of(logits)
        return surrogates.gspo_token(log_prob, log_prob - old, MASK, advantage, width, width)

    def averaged(logits):
        return sequences.average(of_tokens(logits, per_token(s.reward)), MASK)

    np.testing.assert_allclose(averaged(s.policy), of_sequences(s.policy), atol=1e-14)
    gradients = [jax.jit(jax.jacobian(f))(s.policy) for f in (averaged, of_sequences)]
    np.testing.assert_allclose(*gradients, atol=1e-14)
    assert np.any(gradients[0]) and np.any(np.all(gradients[0] == 0, axis=(1, 2)))  # some clipped, some not
    advantage = per_token(s.reward) * jnp.array([1.0, -1.0, 2.0])[:, None]
    log_prob = tokens_of(s.policy)
    slope = jax.grad(lambda x: jnp.sum(surrogates.gspo_token(x, log_prob - old, MASK, advantage, 0.9, 1e6)))(log_prob)
    ratio = jnp.exp(sequences.average(log_prob - old, MASK))
    np.testing.assert_allclose(slope, jnp.where(MASK, ratio * advantage, 0), atol=1e-14)


@pytest.mark.covers("gspo", "is")
def test_the_root_of_a_sequence_ratio_is_no_importance_weight():
    """On text of an old policy the product of ratios gives E_pi[R] exactly, its length's root something else."""
    s = setting()
    log_ratio = tokens_of(s.policy) - tokens_of(s.old)
    truth = tiny.expectation(s.policy, s.reward)
    exact = tiny.expectation(s.old, importance.trajectory_ratio(log_ratio, MASK) * s.reward)
    rooted = tiny.expectation(s.old, surrogates.gspo(log_ratio, MASK, s.reward, 1.0, 1e9))
    np.testing.assert_allclose(exact, truth, rtol=1e-12)
    assert abs(rooted - truth) > 0.01


@pytest.mark.covers("gspo", "grpo-agg")
def test_under_a_token_mean_gspo_would_count_long_sequences_more():
    """Its elements repeated for every token and averaged over tokens differ from their mean over sequences."""
    s = setting()
    each = surrogates.gspo(tokens_of(s.policy) - tokens_of(s.old), MASK, s.reward, 0.1, 0.1)
    by_sequence = aggregation.value(aggregation.batch_mean(each, MASK))
    np.testing.assert_allclose(by_sequence, jnp.mean(each), rtol=1e-13)
    assert abs(by_sequence - aggregation.value(aggregation.token_mean(per_token(each), MASK))) > 0.01


# --- clipping the weight ----------------------------------------------------------------------------------


@pytest.mark.covers("cispo", "ppo-clip")
def test_cispo_leaves_every_token_its_gradient():
    """Coefficient min(rho, 1 + high) A on the score at all ratios, where PPO's is rho A or 0."""
    log_ratio = jnp.log(jnp.array([0.1, 0.7, 1.0, 1.3, 8.0]))
    for advantage in (-2.0, 1.5):
        each = jnp.full(5, advantage)
        slope = jax.grad(lambda x, a=each: jnp.sum(surrogates.cispo(x, jax.lax.stop_gradient(x), a, 0.28)))(log_ratio)
        np.testing.assert_allclose(slope, jnp.minimum(jnp.exp(log_ratio), 1.28) * advantage, rtol=1e-12)
        ppo = jax.grad(lambda x, a=each: jnp.sum(ppo_clip(x, a, 0.28)))(log_ratio)
        np.testing.assert_array_equal(ppo == 0, [advantage < 0, advantage < 0, 0, advantage > 0, advantage > 0])


@pytest.mark.covers("cispo")
def test_cispo_without_the_stopped_gradient_would_add_a_term():
    """The ratio's own gradient does not reach the weight, whether or not the log-ratio carries one."""
    log_prob = jnp.array([-1.0, -0.5])
    gradients = [
        jax.grad(lambda x, f=stop: jnp.sum(surrogates.cispo(x, f(x) - jnp.log(0.3), jnp.ones(2), 9.0)))(log_prob)
        for stop in (lambda x: x, jax.lax.stop_gradient)
    ]
    np.testing.assert_array_equal(*gradients)
    assert np.isfinite(surrogates.cispo(jnp.float32(-1), jnp.float32(1e4), jnp.float32(0), 1.0))


# --- mirror descent ---------------------------------------------------------------------------------------


@pytest.mark.covers("kimi-md")
def test_mirror_descent_has_residual_0_at_its_optimum_for_every_text():
    """At old exp(R / tau) / Z, text by text, so under any sampler; its gradient is 0 there and nowhere near."""
    s, tau = setting(), 0.6
    old = sequence_of(s.old)
    baseline = jnp.full_like(s.reward, kl.optimal_value(old, s.reward, tau))
    best = enumeration.logits_of(SEQUENCES, kl.optimum(old, s.reward, tau))

    def loss(logits):
        return surrogates.mirror_descent(sequence_of(logits) - old, s.reward, baseline, tau)

    np.testing.assert_allclose(loss(best), 0, atol=1e-24)
    for sampler in (s.old, s.policy):
        np.testing.assert_allclose(ascent(loss, sampler, best), 0, atol=1e-12)
        assert np.max(np.abs(ascent(loss, sampler, s.policy))) > 0.01


@pytest.mark.covers("kimi-md")
def test_partition_function_of_a_group_tends_to_the_mean_reward():
    """log mean exp(R / tau) against NumPy; tau log Z lies between mean and maximum and falls to the mean."""
    reward = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)))
    np.testing.assert_allclose(surrogates.log_partition(reward, 0.5), np.log(np.mean(np.exp(reward / 0.5), axis=-1)))
    values = [tau * surrogates.log_partition(reward, tau) for tau in (1e-3, 0.1, 1.0, 1e6)]
    assert np.all(np.diff(values, axis=0) < 0)
    np.testing.assert_allclose(values[0], np.max(reward, axis=-1), atol=0.01)
    np.testing.assert_allclose(values[-1], np.mean(reward, axis=-1), atol=1e-5)


# --- tokens against sequences -----------------------------------------------------------------------------


def token_objective(logits, s):
    """``E_old[sum_t rho_t R]``, each ratio by itself, as PPO and GRPO use them."""
    elements = surrogates.clip_higher(tokens_of(logits) - tokens_of(s.old), per_token(s.reward), 1.0, 1e9)
    return enumeration.sample_mean(SEQUENCES, s.old, sequences.total(elements, MASK))


def sequence_objective(logits, s):
    """``E_old[(prod_t rho_t) R] = E_pi[R]``."""
    ratio = importance.trajectory_ratio(tokens_of(logits) - tokens_of(s.old), MASK)
    return enumeration.sample_mean(SEQUENCES, s.old, ratio * s.reward)


@pytest.mark.covers("tok-vs-seq")
def test_token_and_sequence_objectives_agree_in_gradient_to_first_order_and_not_in_value():
    """A step h from old: equal gradients at h = 0, then a difference that grows like h; values differ at once."""
    s = setting()
    difference = []
    for h in (0.0, 1e-3, 1e-2):
        at = s.old + h * (s.policy - s.old)
        token, sequence = (jax.jit(jax.grad(f))(at, s) for f in (token_objective, sequence_objective))
        difference.append(np.max(np.abs(token - sequence)))
    assert difference[0] < 1e-14
    np.testing.assert_allclose(difference[2] / difference[1], 10, rtol=0.1)
    assert abs(token_objective(s.old, s) - sequence_objective(s.old, s)) > 0.1
    far = [jax.grad(f)(s.policy, s) for f in (token_objective, sequence_objective)]
    assert cosine(*far) < 0.999


@pytest.mark.covers("tok-vs-seq", "is")
def test_product_of_ratios_is_one_plus_their_sum_up_to_second_order():
    """prod (1 + d_t) - 1 - sum d_t falls like h squared."""
    d = np.random.default_rng(0).normal(size=(6, 4))
    error = [importance.trajectory_ratio(jnp.log1p(h * d)) - 1 - jnp.sum(h * d, axis=0) for h in (1e-3, 1e-4)]
    np.testing.assert_allclose(error[0] / error[1], 100, rtol=0.05)


@pytest.mark.covers("tok-vs-seq", "is")
def test_variance_of_a_sequence_ratio_grows_like_a_product_while_token_ratios_do_not():
    """Var = prod (1 + chi2_t) - 1 over independent tokens, by enumeration; chi2 = .01 over 1000 tokens is 2.1e4."""
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    chi2 = np.sum(new**2 / old) - 1
    texts = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1)
    law = np.prod(old[texts], axis=0)
    ratio = importance.trajectory_ratio(jnp.log(new / old)[texts])
    np.testing.assert_allclose(law @ ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(law @ ratio**2 - 1, (1 + chi2) ** 4 - 1, rtol=1e-12)
    np.testing.assert_allclose(1.01**1000 - 1, 2.1e4, rtol=0.01)


def test_rejects_shapes_that_would_broadcast():
    """A sequence's advantage where a token's is meant, or the other way round."""
    tokens, mask, one = jnp.ones((3, 2)), jnp.ones((3, 2), bool), jnp.ones(2)
    for call in (
        lambda: surrogates.clip_higher(tokens, one, 0.2, 0.2),
        lambda: surrogates.gspo(tokens, mask, tokens, 0.2, 0.2),
        lambda: surrogates.gspo_token(tokens, tokens, mask, one, 0.2, 0.2),
        lambda: surrogates.cispo(tokens, tokens, one, 0.2),
        lambda: surrogates.mirror_descent(one, one, jnp.ones(()), 1.0),
        lambda: surrogates.log_partition(jnp.ones(3, int), 1.0),
    ):
        with pytest.raises(AssertionError):
            call()
