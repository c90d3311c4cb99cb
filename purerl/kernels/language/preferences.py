"""Preferences between answers: what makes one win, the losses of reward models, and of policies as reward models.

An answer's reward is a number; only differences between answers to the same prompt mean anything.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def bradley_terry(reward: jax.Array, other: jax.Array) -> jax.Array:
    """Bradley-Terry probability that an answer is preferred to another: ``1 / (1 + exp(R' - R))``.

    Args:
        reward: ``[...]``, R.
        other: ``[...]``, R'.

    Returns:
        ``[...]``, 1/2 for equal rewards.

    Source: Bradley & Terry 1952.
    """
    chex.assert_equal_shape((reward, other))
    return jax.nn.sigmoid(reward - other)


def pair_loss(chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """Loss of a reward model on a comparison: ``-log sigmoid(R_w - R_l)``, the Bradley-Terry likelihood.

    Args:
        chosen: ``[...]``, reward of the answer that was preferred.
        rejected: ``[...]``, that of the other.

    Returns:
        ``[...]``, log 2 where the rewards are equal.

    Source: Christiano et al. 2017, (1).
    """
    chex.assert_equal_shape((chosen, rejected))
    return -jax.nn.log_sigmoid(chosen - rejected)


def k_wise_loss(reward: jax.Array) -> jax.Array:
    """Loss of a reward model on a ranking, by its pairs: ``-1/C(K,2) sum_{i<j} log sigmoid(R_i - R_j)``.

    All pairs of one prompt are one element, or each answer would be trained on K - 1 times over.

    Args:
        reward: ``[..., K]``, of the answers from best to worst; K at least 2.

    Returns:
        ``[...]``; :func:`pair_loss` for K = 2.

    Source: Ouyang et al. 2022, (1).
    """
    better, worse = jnp.triu_indices(reward.shape[-1], k=1)
    return jnp.mean(pair_loss(reward[..., better], reward[..., worse]), axis=-1)


def plackett_luce_loss(reward: jax.Array) -> jax.Array:
    """Loss of a reward model on a ranking, as choices of the best of what is left (Plackett-Luce).

    ``-sum_i log(exp(R_i) / sum_{j>=i} exp(R_j))``

    Args:
        reward: ``[..., K]``, of the answers from best to worst.

    Returns:
        ``[...]``, minus the log-probability of the ranking; :func:`pair_loss` for K = 2.

    Source: Plackett 1975; Rafailov et al. 2023, appendix A.3.
    """
    left = jax.lax.cumlogsumexp(reward, axis=reward.ndim - 1, reverse=True)
    return jnp.sum(left - reward, axis=-1)


def implicit_reward(log_ratio: jax.Array, beta: Scalar) -> jax.Array:
    """Reward that a policy is optimal for, up to a constant of the prompt: ``beta log(pi / ref)``.

    Args:
        log_ratio: ``[...]``, ``log pi - log ref`` of whole answers, the sum over their tokens.
        beta: greater than 0.

    Returns:
        ``[...]``.

    Source: Rafailov et al. 2023, (5).
    """
    return beta * log_ratio


def dpo_loss(chosen: jax.Array, rejected: jax.Array, beta: Scalar) -> jax.Array:
    """DPO, direct preference optimisation: ``-log sigmoid(beta (log pi_w/ref_w - log pi_l/ref_l))``.

    :func:`pair_loss` of :func:`implicit_reward`. It only pushes the difference: both answers can become less likely.

    Args:
        chosen: ``[...]``, ``log pi - log ref`` of the preferred answer.
        rejected: ``[...]``, of the other.
        beta: greater than 0, that of the KL penalty whose optimum is sought.

    Returns:
        ``[...]``, log 2 at the reference.

    Source: Rafailov et al. 2023, (7).
    """
    return pair_loss(implicit_reward(chosen, beta), implicit_reward(rejected, beta))


def plackett_luce_dpo_loss(log_ratio: jax.Array, beta: Scalar) -> jax.Array:
    """DPO on rankings: :func:`plackett_luce_loss` of :func:`implicit_reward`.

    ``-sum_i log(exp(beta h_i) / sum_{j>=i} exp(beta h_j))`` with ``h = log(pi / ref)``

    Args:
        log_ratio: ``[..., K]``, ``log pi - log ref`` of the answers from best to worst.
        beta: greater than 0.

    Returns:
        ``[...]``; :func:`dpo_loss` for K = 2.

    Source: Rafailov et al. 2023, appendix A.3.
    """
    return plackett_luce_loss(implicit_reward(log_ratio, beta))


def ipo_loss(chosen: jax.Array, rejected: jax.Array, beta: Scalar) -> jax.Array:
    """IPO, DPO's squared variant: ``(log pi_w/ref_w - log pi_l/ref_l - 1 / (2 beta))^2``.

    Where an answer always wins, DPO's margin grows without end and forgets the reference; this one stops.

    Args:
        chosen: ``[...]``, ``log pi - log ref`` of the preferred answer.
        rejected: ``[...]``, of the other.
        beta: greater than 0.

    Returns:
        ``[...]``, at least 0.

    Source: Azar et al. 2023, (17).
    """
    chex.assert_equal_shape((chosen, rejected))
    return jnp.square(chosen - rejected - 1 / (2 * beta))
