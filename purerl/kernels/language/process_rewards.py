"""Outcome and process reward models: their labels, their loss, and rewards of steps.

An outcome model scores finished answers, a process model every prefix. The exact process model is the value of the
prefix: the chance that the policy gets it right from there.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def outcome_labels(outcome: jax.Array, mask: jax.Array) -> jax.Array:
    """Labels of prefixes from the outcome of the one answer they belong to: ``label_t = R(y)``, unbiased but noisy.

    Args:
        outcome: ``[B]`` float, in [0, 1].
        mask: ``[T, B]`` bool.

    Returns:
        ``[T, B]``, 0 outside the mask.
    """
    chex.assert_equal_shape((outcome, mask[0]))
    return jnp.where(mask, outcome, 0)


def tree_labels(tokens: jax.Array, mask: jax.Array, outcome: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Labels of prefixes from a tree of answers to one prompt: the mean outcome of those that begin the same way.

    ``label_ti = sum_j w_j R_j 1[y_j begins with y_i,<=t] / sum_j w_j 1[y_j begins with y_i,<=t]``. It is the Monte
    Carlo label where several answers continue a prefix. Compares all pairs, ``T B^2`` of them.

    Args:
        tokens: ``[T, B]`` int.
        mask: ``[T, B]`` bool, True from the first token to the last of each answer, without holes.
        outcome: ``[B]`` float, in [0, 1].
        weight: ``[B]``, greater than 0; all 1 by default. With the answers' probabilities, for all answers there are,
            labels are the exact values of prefixes.

    Returns:
        ``[T, B]``, value of the prefix that ends with this token; 0 outside the mask.

    Source: Wang et al. 2024, over a tree in place of fresh completions.
    """
    chex.assert_equal_shape((tokens, mask))
    chex.assert_equal_shape((outcome, tokens[0]))
    weight = jnp.ones_like(outcome) if weight is None else weight
    equal = (tokens[:, :, None] == tokens[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    shared = jnp.cumprod(equal.astype(outcome.dtype), axis=0)  # [T, B, B] whether both begin with y_<=t
    return jnp.where(mask, shared @ (weight * outcome) / jnp.where(mask, shared @ weight, 1), 0)


def hard_labels(label: jax.Array, threshold: Scalar = 0.0) -> jax.Array:
    """Hard labels of prefixes: ``1[label > threshold]``; at 0, whether any completion succeeded.

    Args:
        label: ``[...]`` float, share of completions that succeeded.
        threshold: in [0, 1).

    Returns:
        ``[...]`` of 0 and 1, in the dtype of ``label``.

    Source: Wang et al. 2024.
    """
    return (label > threshold).astype(label.dtype)


def label_loss(logit: jax.Array, label: jax.Array) -> jax.Array:
    """Loss of an outcome or process reward model, cross-entropy: ``-q log p - (1 - q) log(1 - p)``.

    With ``p = sigmoid(logit)``, as ``softplus(logit) - q logit``. It is least at the mean label. So noisy labels of the
    right mean, given enough of them, lead to the exact process model.

    Args:
        logit: ``[...]``.
        label: ``[...]``, q in [0, 1]; soft labels are fine.

    Returns:
        ``[...]``.

    Source: Cobbe et al. 2021; Lightman et al. 2023.
    """
    chex.assert_equal_shape((logit, label))
    return jax.nn.softplus(logit) - label * logit


def difference_rewards(score: jax.Array, initial_score: jax.Array, mask: jax.Array) -> jax.Array:
    """Rewards of steps by a process model: ``r_t = PRM(y_<=t) - PRM(y_<t)``.

    They telescope to ``PRM(y) - PRM(prompt)``: potential shaping of the final score, undiscounted. What is optimal
    stays so, and the reward to go has the process model as its baseline.

    Args:
        score: ``[T, B]``, of the prefix that ends with this token; outside the mask anything.
        initial_score: ``[B]``, of the prompt alone.
        mask: ``[T, B]`` bool, True from the first token to the last of each answer, without holes.

    Returns:
        ``[T, B]``, 0 outside the mask.

    Source: Ng, Harada & Russell 1999, for why nothing else changes.
    """
    chex.assert_equal_shape((score, mask))
    chex.assert_equal_shape((initial_score, score[0]))
    score = jnp.where(mask, score, 0)
    return jnp.where(mask, score - jnp.concatenate([initial_score[None], score[:-1]]), 0)
