"""What a KL penalty does: every estimator, as loss and in the reward, of tokens and sequences, on and off policy.

Exact, over all texts of three tokens up to length three: a mean over samples is a sum with the law held fixed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import categorical
from purerl.kernels.language import kl, sequences
from purerl.kernels.returns import gae
from purerl.language import enumeration
from tests.support import tiny_language as tiny
from tests.support.tiny_language import SEQUENCES, sequence_of, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
EXACT = {"rtol": 0, "atol": 1e-12}
MASK = SEQUENCES.mask


def close(x, y):
    np.testing.assert_allclose(x, y, **EXACT)


def mean_gradient(loss, sampler, at):
    """Mean gradient at a policy of a loss ``[..., Y]`` over samples of a sampler, summed over tokens if it has them."""

    def mean(logits):
        value = loss(logits)
        return enumeration.sample_mean(SEQUENCES, sampler, jnp.sum(value, axis=0) if value.ndim == 2 else value)

    return jax.jit(jax.grad(mean))(at)


def reverse_gradient(s):
    """grad KL(pi ; ref) over sequences."""
    return jax.jit(jax.grad(lambda logits: tiny.divergence(logits, s.ref)))(s.policy)


def forward_gradient(s):
    """grad KL(ref ; pi) over sequences."""
    return jax.jit(jax.grad(lambda logits: tiny.divergence(s.ref, logits)))(s.policy)


def frozen_prefix_gradient(s, sampler, divergence):
    """Gradient of the next token's divergence, averaged over the sampler's prefixes, whose law is held fixed."""
    chance = enumeration.prefix_probs(SEQUENCES, sampler)
    return jax.jit(jax.grad(lambda logits: chance @ divergence(logits, s.ref)))(s.policy)


# --- as numbers -------------------------------------------------------------------------------------------


@pytest.mark.covers("k1", "k2", "k3")
def test_k1_and_k3_have_mean_kl_and_k2_has_not():
    """Of sequences and summed over tokens alike; k2 and k3 are never negative, and k3 is not always less noisy."""
    s = setting()
    divergence = tiny.divergence(s.policy, s.ref)
    sequence, tokens = sequence_of(s.policy) - sequence_of(s.ref), tokens_of(s.policy) - tokens_of(s.ref)
    for estimator in (kl.k1, kl.k3):
        close(tiny.expectation(s.policy, estimator(sequence)), divergence)
        close(tiny.expectation(s.policy, jnp.sum(estimator(tokens), axis=0)), divergence)
    assert abs(tiny.expectation(s.policy, kl.k2(sequence)) - divergence) > 0.01
    assert jnp.all(kl.k3(sequence) >= 0) and jnp.all(kl.k2(sequence) >= 0) and jnp.any(kl.k1(sequence) < 0)


@pytest.mark.covers("k1", "k3")
def test_k3_varies_less_than_k1_near_the_reference_and_more_far_from_it():
    """Two answers: .297 against 8.32 where ref is far, and r - 1 varies with k1 in opposite directions."""

    def moments(policy, ref):
        ratio = np.log(np.asarray(policy) / np.asarray(ref))
        k1, k3 = np.asarray(kl.k1(ratio)), np.asarray(kl.k3(ratio))
        variances = [np.dot(policy, x**2) - np.dot(policy, x) ** 2 for x in (k1, k3)]
        return *variances, np.dot(policy, np.expm1(-ratio) * k1) - np.dot(policy, np.expm1(-ratio)) * np.dot(policy, k1)

    var_k1, var_k3, covariance = moments([0.98, 0.02], [0.5, 0.5])
    np.testing.assert_allclose([var_k1, var_k3], [0.297, 8.32], rtol=2e-3)
    assert covariance < 0
    var_k1, var_k3, _ = moments([0.52, 0.48], [0.5, 0.5])
    assert var_k3 < 0.01 * var_k1


@pytest.mark.covers("v32-kl")
def test_importance_weights_make_estimates_on_old_text_unbiased():
    """Sequence weights give KL; token weights the divergence at the old policy's prefixes; without them neither."""
    s = setting()
    sequence, weight = sequence_of(s.policy) - sequence_of(s.ref), sequence_of(s.policy) - sequence_of(s.old)
    tokens, token_weight = tokens_of(s.policy) - tokens_of(s.ref), tokens_of(s.policy) - tokens_of(s.old)
    divergence = tiny.divergence(s.policy, s.ref)
    at_old = enumeration.prefix_probs(SEQUENCES, s.old) @ categorical.kl(s.policy, s.ref)
    for estimator in (kl.k1, kl.k3):
        weighted = kl.importance_weighted(estimator(sequence), weight)
        close(tiny.expectation(s.old, weighted), divergence)
        weighted = jnp.where(MASK, kl.importance_weighted(estimator(tokens), token_weight), 0)
        close(tiny.expectation(s.old, jnp.sum(weighted, axis=0)), at_old)
        assert abs(tiny.expectation(s.old, estimator(sequence)) - divergence) > 0.01
    assert abs(at_old - divergence) > 0.01


# --- as losses, on policy ---------------------------------------------------------------------------------


@pytest.mark.covers("k1", "k2", "k3", "kl-loss")
def test_gradients_of_sequence_losses():
    """k1 has none, k2 has that of KL(pi ; ref) and k3 that of KL(ref ; pi): what their table says."""
    s = setting()

    def gradient(estimator):
        return mean_gradient(lambda logits: estimator(sequence_of(logits) - sequence_of(s.ref)), s.policy, s.policy)

    close(gradient(kl.k1), 0)
    close(gradient(kl.k2), reverse_gradient(s))
    close(gradient(kl.k3), forward_gradient(s))
    assert np.max(np.abs(forward_gradient(s) - reverse_gradient(s))) > 0.01


@pytest.mark.covers("k1", "k2", "k3", "kl-loss")
def test_gradients_of_token_losses_hold_the_prefixes_frozen():
    """k1 has none, k2 and k3 those of the next token's divergences, which is off grad KL of sequences."""
    s = setting()

    def gradient(estimator):
        return mean_gradient(lambda logits: estimator(tokens_of(logits) - tokens_of(s.ref)), s.policy, s.policy)

    close(gradient(kl.k1), 0)
    close(gradient(kl.k2), frozen_prefix_gradient(s, s.policy, kl.reverse))
    close(gradient(kl.k3), frozen_prefix_gradient(s, s.policy, kl.forward))
    assert np.max(np.abs(gradient(kl.k2) - reverse_gradient(s))) > 0.03


@pytest.mark.covers("k2", "kl-loss")
def test_gradient_of_the_mean_of_k2_is_not_the_mean_of_its_gradient():
    """Differentiating the law as well, E_pi[k2] descends something else than KL."""
    s = setting()

    def mean(logits):
        return tiny.expectation(logits, kl.k2(sequence_of(logits) - sequence_of(s.ref)))

    assert np.max(np.abs(jax.grad(mean)(s.policy) - reverse_gradient(s))) > 0.01


@pytest.mark.covers("k1", "k2", "k3", "kl-loss")
def test_coefficient_on_the_score():
    """Of one sample: log(pi/ref) for k2 as loss and k1 in the reward, 1 - ref/pi for k3 as loss, 1 for k1 as loss."""
    log_prob, ref = jnp.array([-0.3, -2.0, -1.0]), jnp.array([-1.0, -0.5, -1.0])

    def coefficient(estimator):
        return jax.grad(lambda x: jnp.sum(estimator(x - ref)))(log_prob)

    close(coefficient(kl.k1), 1)
    close(coefficient(kl.k2), log_prob - ref)
    close(coefficient(kl.k3), 1 - jnp.exp(ref - log_prob))
    close(-kl.reward(log_prob - ref, 1.0), log_prob - ref)


@pytest.mark.covers("k1", "kl-loss")
def test_unbiased_loss_has_the_value_and_the_gradient_of_the_sequence_kl():
    """Of every sequence its value is k1, summed; the mean gradient is exact where token losses are off."""
    s = setting()

    def loss(logits):
        tokens = tokens_of(logits)
        return kl.loss(tokens, tokens - tokens_of(s.ref), MASK)

    close(jnp.sum(loss(s.policy), axis=0), sequence_of(s.policy) - sequence_of(s.ref))
    close(mean_gradient(loss, s.policy, s.policy), reverse_gradient(s))


@pytest.mark.covers("k1")
def test_unbiased_loss_reads_nothing_outside_the_mask():
    """NaN log-probabilities of padding give neither NaN values nor gradients."""
    s = setting()
    tokens, ref = jnp.where(MASK, tokens_of(s.policy), jnp.nan), tokens_of(s.ref)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(kl.loss(x, x - ref, MASK))))(tokens)
    assert jnp.isfinite(value) and jnp.all(jnp.isfinite(gradient)) and jnp.all(gradient[~MASK] == 0)


# --- as losses, off policy --------------------------------------------------------------------------------


@pytest.mark.covers("v32-kl", "k1", "k2", "k3")
def test_gradients_of_importance_weighted_sequence_losses_on_old_text():
    """Ratio times k1 or k3, the ratio differentiated, has grad KL(pi ; ref); times k2 it has grad E_pi[k2]."""
    s = setting()

    def gradient(estimator, stop=lambda x: x):
        def loss(logits):
            log_prob = sequence_of(logits)
            weight = stop(log_prob - sequence_of(s.old))
            return kl.importance_weighted(estimator(log_prob - sequence_of(s.ref)), weight)

        return mean_gradient(loss, s.old, s.policy)

    def mean_k2(logits):
        return tiny.expectation(logits, kl.k2(sequence_of(logits) - sequence_of(s.ref)))

    close(gradient(kl.k1), reverse_gradient(s))
    close(gradient(kl.k3), reverse_gradient(s))
    close(gradient(kl.k2), jax.grad(mean_k2)(s.policy))
    # With the ratio's gradient stopped the estimators fall back to what they do on policy.
    close(gradient(kl.k3, jax.lax.stop_gradient), forward_gradient(s))
    close(gradient(kl.k2, jax.lax.stop_gradient), reverse_gradient(s))


@pytest.mark.covers("v32-kl")
def test_gradient_of_importance_weighted_token_losses_keeps_the_old_prefixes():
    """V3.2's ratio times k3 of each token: grad of the next token's KL at prefixes of the old policy, frozen."""
    s = setting()

    def loss(logits):
        tokens = tokens_of(logits)
        return kl.importance_weighted(kl.k3(tokens - tokens_of(s.ref)), tokens - tokens_of(s.old)) * MASK

    close(mean_gradient(loss, s.old, s.policy), frozen_prefix_gradient(s, s.old, kl.reverse))


# --- in the reward ----------------------------------------------------------------------------------------


@pytest.mark.covers("kl-loss", "rlhf-ppo", "k1")
def test_kl_in_the_reward_with_rewards_to_go_is_the_gradient_of_the_sequence_kl():
    """Score times reward-to-go, undiscounted GAE without a critic, is grad of E[R] - beta KL; a sequence's return is
    R - beta log(pi/ref)."""
    s, beta = setting(), 0.3
    log_ratio = tokens_of(s.policy) - tokens_of(s.ref)
    reward = jnp.where(MASK, kl.reward(log_ratio, beta), 0) + sequences.at_last(s.reward, MASK)
    close(jnp.sum(reward, axis=0), s.reward - beta * (sequence_of(s.policy) - sequence_of(s.ref)))

    def objective(logits):
        return tiny.expectation(logits, s.reward) - beta * tiny.divergence(logits, s.ref)

    nothing = jnp.zeros(MASK.shape)
    advantage = gae(reward, nothing, nothing, sequences.is_last(MASK), jnp.zeros(MASK.shape, bool), 1.0, 1.0)
    close(advantage, sequences.to_go(reward, MASK))
    ascent = mean_gradient(lambda logits: tokens_of(logits) * advantage, s.policy, s.policy)
    close(ascent, jax.grad(objective)(s.policy))


@pytest.mark.covers("kl-loss")
def test_kl_in_the_reward_carries_no_gradient_of_its_own():
    """It is a reward: differentiated, it would be k1 as a loss."""
    close(jax.grad(lambda x: jnp.sum(kl.reward(x, 0.5)))(jnp.ones(3)), 0)


# --- the whole vocabulary, the controller and the optimum -------------------------------------------------


@pytest.mark.covers("opd")
def test_whole_vocabulary_divergences():
    """Against sums over the vocabulary, in either direction; 0 at the reference."""
    s = setting()
    p, q = np.exp(jax.nn.log_softmax(s.policy)), np.exp(jax.nn.log_softmax(s.ref))
    close(kl.reverse(s.policy, s.ref), np.sum(p * np.log(p / q), axis=1))
    close(kl.forward(s.policy, s.ref), np.sum(q * np.log(q / p), axis=1))
    close(kl.reverse(s.policy, s.policy), 0)


@pytest.mark.covers("opd")
def test_reverse_kl_seeks_a_mode_and_forward_kl_covers_both():
    """A bell of one parameter fitted to two modes: reverse settles on one of them, forward on their mean."""
    place = np.arange(21.0)
    target = jnp.asarray(np.logaddexp(-((place - 5) ** 2) / 2, -((place - 15) ** 2) / 2))
    bells = jnp.asarray(-((place - np.arange(0, 20.5, 0.5)[:, None]) ** 2) / 2)  # [means, places]
    means = np.arange(0, 20.5, 0.5)
    assert means[np.argmin(kl.reverse(bells, target))] in (5.0, 15.0)
    assert means[np.argmin(kl.forward(bells, target))] == 10.0


@pytest.mark.covers("rlhf-ppo")
def test_adaptive_coefficient_follows_the_clipped_error():
    """Unchanged on target, at most 2 % either way for the usual gain, proportional in between; it stays positive."""
    measured = jnp.array([0.0, 0.9, 1.0, 1.1, 9.0]) * 6.0
    close(kl.adapt_coefficient(jnp.full(5, 2.0), measured, 6.0), 2 * np.array([0.98, 0.99, 1, 1.01, 1.02]))
    assert jnp.all(kl.adapt_coefficient(jnp.full(5, 2.0), measured, 6.0, gain=4.9) > 0)


@pytest.mark.covers("kl-opt")
def test_objective_is_the_optimal_value_less_the_kl_to_the_optimum():
    """E[R] - beta KL(pi ; ref) = beta log Z - beta KL(pi ; pi*) for every pi, so pi* is best and worth beta log Z."""
    s, beta = setting(), 0.4
    ref = sequence_of(s.ref)
    best = kl.optimum(ref, s.reward, beta)
    value = kl.optimal_value(ref, s.reward, beta)
    close(jnp.sum(jnp.exp(best)), 1)
    close(value, beta * np.log(np.sum(np.exp(ref + s.reward / beta))))
    for log_prob in (sequence_of(s.policy), sequence_of(s.old), ref, best):
        law = jnp.exp(log_prob)
        objective = law @ s.reward - beta * law @ (log_prob - ref)
        close(objective, value - beta * law @ (log_prob - best))
    # Its reward, read back from the policy.
    close(beta * (best - ref) + value, s.reward)


@pytest.mark.covers("kl-opt")
def test_reward_and_divergence_of_the_optimum_fall_as_beta_grows():
    """The frontier from the best answer to the reference: neither ever rises, and the value stays in between."""
    s = setting()
    ref = sequence_of(s.ref)
    betas = jnp.logspace(-2, 3, 24)
    best = jax.jit(jax.vmap(kl.optimum, (None, None, 0)))(ref, s.reward, betas)
    reward = jnp.exp(best) @ s.reward
    divergence = jnp.sum(jnp.exp(best) * (best - ref), axis=1)
    assert jnp.all(jnp.diff(reward) < 1e-12) and jnp.all(jnp.diff(divergence) < 1e-12)
    np.testing.assert_allclose(reward[0], jnp.max(s.reward), atol=1e-3)
    np.testing.assert_allclose(divergence[-1], 0, atol=1e-5)
    value = jax.jit(jax.vmap(kl.optimal_value, (None, None, 0)))(ref, s.reward, betas)
    assert jnp.all((value > jnp.exp(ref) @ s.reward) & (value < jnp.max(s.reward)))


def test_rejects_shapes_that_would_broadcast():
    """[T, B] against [T, 1] is an error."""
    wide, narrow, mask = jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones((3, 2), bool)
    for call in (
        lambda: kl.importance_weighted(wide, narrow),
        lambda: kl.loss(wide, narrow, mask),
        lambda: kl.loss(wide, wide, mask[:, :1]),
    ):
        with pytest.raises(AssertionError):
            call()
