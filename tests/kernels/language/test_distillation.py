import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import categorical
from purerl.kernels.exploration import linear_decay
from purerl.kernels.language import distillation, kl, sequences
from purerl.kernels.surrogates import policy_gradient
from purerl.language import enumeration
from tests.support import tiny_language as tiny
from tests.support.tiny_language import SEQUENCES, sequence_of, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
EXACT = {"rtol": 0, "atol": 1e-12}
MASK = jnp.asarray(SEQUENCES.mask)


def mean_gradient(loss, s):
    """Mean gradient over the policy's own texts of a loss ``[T, Y]``, summed over tokens."""

    def mean(logits):
        return enumeration.sample_mean(SEQUENCES, s.policy, sequences.total(loss(logits), MASK))

    return jax.jit(jax.grad(mean))(s.policy)


def reverse_gradient(s):
    return jax.jit(jax.grad(lambda logits: tiny.divergence(logits, s.ref)))(s.policy)


def frozen_prefix_gradient(s):
    chance = enumeration.prefix_probs(SEQUENCES, s.policy)
    return jax.jit(jax.grad(lambda logits: chance @ categorical.kl(logits, s.ref)))(s.policy)


@pytest.mark.covers("opd", "k1")
def test_sampled_distillation_with_and_without_rewards_to_go():
    """Descending by the score: to go it is grad KL of sequences, per token that at frozen prefixes, a gap of more than
    .03; the sampled log-ratio as a loss does nothing at all."""
    s = setting()
    log_ratio = tokens_of(s.policy) - tokens_of(s.ref)

    def descent(advantage):
        return mean_gradient(lambda logits: -policy_gradient(tokens_of(logits), advantage), s)

    per_token = descent(distillation.token_advantage(log_ratio))
    np.testing.assert_allclose(descent(distillation.advantage_to_go(log_ratio, MASK)), reverse_gradient(s), **EXACT)
    np.testing.assert_allclose(per_token, frozen_prefix_gradient(s), **EXACT)
    assert np.max(np.abs(per_token - reverse_gradient(s))) > 0.03
    as_loss = mean_gradient(lambda logits: tokens_of(logits) - tokens_of(s.ref), s)
    np.testing.assert_allclose(as_loss, 0, **EXACT)


@pytest.mark.covers("opd")
def test_full_vocabulary_distillation_is_exact_for_sequences_and_less_noisy():
    """Value and gradient of the KL of sequences; its first term alone is the form at frozen prefixes; of texts' values
    the variance is below that of the sampled log-ratios."""
    s = setting()

    def loss(logits):
        rows = SEQUENCES.prefix
        return distillation.full_vocabulary_loss(logits[rows], s.ref[rows], tokens_of(logits), MASK)

    value = jnp.sum(loss(s.policy), axis=0)
    divergence = tiny.divergence(s.policy, s.ref)
    np.testing.assert_allclose(tiny.expectation(s.policy, value), divergence, **EXACT)
    np.testing.assert_allclose(mean_gradient(loss, s), reverse_gradient(s), **EXACT)
    first = mean_gradient(lambda logits: kl.reverse(logits[SEQUENCES.prefix], s.ref[SEQUENCES.prefix]), s)
    np.testing.assert_allclose(first, frozen_prefix_gradient(s), **EXACT)

    def by_scores(log_prob):
        return jnp.sum(distillation.full_vocabulary_loss(logits, teacher, log_prob, MASK))

    logits, teacher = s.policy[SEQUENCES.prefix], s.ref[SEQUENCES.prefix]
    each = np.where(MASK, kl.reverse(logits, teacher), 0)
    later = np.where(
        MASK, each[::-1].cumsum(axis=0)[::-1] - each, 0
    )  # a token's own divergence is no consequence of it
    np.testing.assert_allclose(jax.grad(by_scores)(tokens_of(s.policy)), later, **EXACT)

    def variance(x):
        return tiny.expectation(s.policy, jnp.square(x - divergence))

    assert variance(value) < 0.5 * variance(sequence_of(s.policy) - sequence_of(s.ref))


@pytest.mark.covers("opd")
def test_distillation_reads_nothing_outside_the_mask():
    """NaN of padding reaches neither value nor gradient."""
    s = setting()
    poisoned = jnp.where(MASK, tokens_of(s.policy), jnp.nan)
    logits = jnp.where(MASK[..., None], s.policy[SEQUENCES.prefix], 0.0)
    assert np.all(np.isfinite(distillation.advantage_to_go(poisoned, MASK)))
    gradient = jax.grad(
        lambda x: jnp.sum(distillation.full_vocabulary_loss(logits, logits + jnp.arange(3.0), x, MASK))
    )(poisoned)
    assert np.all(np.isfinite(gradient))


@pytest.mark.covers("kdrl", "k2")
def test_kdrl_adds_the_reverse_kl_gradient_where_it_distils():
    """Gradient of J minus beta log(pi/teacher) times the score, token by token; nothing of the teacher elsewhere."""
    s, beta = setting(), 0.3
    log_ratio = tokens_of(s.policy) - tokens_of(s.ref)
    distil = jnp.broadcast_to(s.reward < 0, MASK.shape)

    def objective(log_prob):
        elements = policy_gradient(log_prob, jnp.broadcast_to(s.reward, MASK.shape))
        return jnp.sum(distillation.kdrl(elements, log_prob - tokens_of(s.ref), distil, beta))

    expected = s.reward - beta * jnp.where(distil, log_ratio, 0)
    np.testing.assert_allclose(jax.grad(objective)(tokens_of(s.policy)), expected, **EXACT)
    assert np.any(distil) and not np.all(distil)
    with pytest.raises(AssertionError):
        distillation.kdrl(log_ratio, log_ratio, distil[:1], beta)


@pytest.mark.covers("kdrl")
def test_the_weight_of_the_teacher_is_annealed_between_its_ends():
    """Linear from the first value to the last, and constant after."""
    beta = linear_decay(5e-3, 1e-3, jnp.array([0, 50, 100, 1000]), 100)
    np.testing.assert_allclose(beta, [5e-3, 3e-3, 1e-3, 1e-3], rtol=1e-12)
