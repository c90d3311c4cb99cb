"""On-policy distillation: a teacher scores what the student wrote, token by token.

The loss is the reverse KL of sequences, ``E_pi[sum_t log(pi_t / teacher_t)]``. The sampled log-ratio is a *reward*: as
a loss its mean gradient is 0. Per token and without rewards to go, as most trainers have it, the gradient holds
prefixes fixed: the student learns to continue like the teacher, and not to avoid prefixes that the teacher dislikes.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.language import kl, sequences
from purerl.types import Scalar


def token_advantage(log_ratio: jax.Array) -> jax.Array:
    """Advantage of a token in distillation, prefixes held fixed: ``-sg(log(pi_t / teacher_t))``.

    The usual form, a discount of 0: its policy gradient is that of the KL of the next token.

    Args:
        log_ratio: ``[T, ...]``, ``log pi - log teacher``.

    Returns:
        ``[T, ...]``.

    Source: Thinking Machines 2025.
    """
    return kl.reward(log_ratio, 1.0)


def advantage_to_go(log_ratio: jax.Array, mask: jax.Array) -> jax.Array:
    """Advantage of a token in distillation, all that follows included: ``-sg(sum_{k >= t} log(pi_k / teacher_k))``.

    Its policy gradient is exactly that of the reverse KL of sequences, with more variance.

    Args:
        log_ratio: ``[T, ...]``, ``log pi - log teacher``.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[T, ...]``, 0 outside the mask.

    Source: Gu et al. 2024.
    """
    return sequences.to_go(kl.reward(log_ratio, 1.0), mask)


def full_vocabulary_loss(
    logits: jax.Array, teacher_logits: jax.Array, log_prob: jax.Array, mask: jax.Array
) -> jax.Array:
    """Distillation loss over the whole vocabulary, exact for sequences: the next token is summed, not sampled.

    ``KL_t + (log pi_t - sg(log pi_t)) sg(sum_{k > t} KL_k)`` with ``KL_t = KL(pi(. | y_<t) ; teacher(. | y_<t))``. The
    first term alone is the usual form with prefixes held fixed (:func:`~purerl.kernels.language.kl.reverse`).

    Args:
        logits: ``[T, B, V]`` of the student.
        teacher_logits: ``[T, B, V]``; constants.
        log_prob: ``[T, B]``, log pi of the tokens that were drawn.
        mask: ``[T, B]`` bool.

    Returns:
        ``[T, B]``, 0 outside the mask; sum it over the tokens.

    Source: Gu et al. 2024, whose single-step part is summed in the same way.
    """
    chex.assert_equal_shape((log_prob, mask))
    chex.assert_equal_shape((logits, teacher_logits))
    divergence, log_prob = jnp.where(mask, kl.reverse(logits, teacher_logits), 0), jnp.where(mask, log_prob, 0)
    later = jax.lax.stop_gradient(sequences.to_go(divergence, mask) - divergence)
    return divergence + (log_prob - jax.lax.stop_gradient(log_prob)) * later


def kdrl(objective: jax.Array, log_ratio: jax.Array, distil: jax.Array, beta: Scalar) -> jax.Array:
    """KDRL, reinforcement and distillation in one objective: ``J_t - beta 1[distil] k2_t``.

    Its gradient is that of J minus ``beta log(pi / teacher)`` times the score. The k2 estimate is the one whose
    gradient is the reverse KL's. Anneal beta by :func:`purerl.kernels.exploration.linear_decay`.

    Args:
        objective: ``[...]``, elements of a surrogate.
        log_ratio: ``[...]``, ``log pi - log teacher``.
        distil: ``[...]`` bool, where to learn from the teacher: everywhere, or only in answers of low reward.
        beta: at least 0.

    Returns:
        ``[...]``, to maximise.

    Source: Xu et al. 2025.
    """
    chex.assert_equal_shape((objective, log_ratio, distil))
    return objective - beta * jnp.where(distil, kl.k2(log_ratio), 0)
