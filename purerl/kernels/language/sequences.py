"""Sequences of tokens ``[T, ...]`` and their masks: where they end, sums, means, sums to go, and what is at the end."""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.numerics import masked_mean


def until_stop(is_stop: jax.Array) -> jax.Array:
    """Mask of a completion: its tokens up to the first stop token, which counts, being an action like any other.

    ``m_t = 1[no stop token before t]``

    Args:
        is_stop: ``[T, ...]`` bool, whether a token ends the completion.

    Returns:
        ``[T, ...]`` bool.
    """
    chex.assert_type(is_stop, bool)
    stops = jnp.cumsum(is_stop, axis=0, dtype=jnp.int32)
    return stops - is_stop == 0


def length(mask: jax.Array) -> jax.Array:
    """Number of tokens that count: ``sum_t m_t``, ``[T, ...] -> [...]`` int32."""
    return jnp.sum(mask, axis=0, dtype=jnp.int32)


def total(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Sum over a sequence: ``sum_t m_t x_t``; of token log-probabilities it is that of the sequence.

    Args:
        x: ``[T, ...]`` float; outside the mask anything, also NaN.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape((x, mask))
    return jnp.sum(jnp.where(mask, x, 0), axis=0)


def average(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over a sequence: ``sum_t m_t x_t / sum_t m_t``; 0 for one without tokens.

    Args:
        x: ``[T, ...]`` float; outside the mask anything, also NaN.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape((x, mask))
    return masked_mean(x, mask, axis=0)


def to_go(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Sum to go, this token's included and undiscounted: ``sum_{k >= t} m_k x_k``; 0 outside the mask.

    Args:
        x: ``[T, ...]`` float; outside the mask anything, also NaN.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[T, ...]``.
    """
    chex.assert_equal_shape((x, mask))
    return jnp.where(mask, jax.lax.cumsum(jnp.where(mask, x, 0), axis=0, reverse=True), 0)


def is_last(mask: jax.Array) -> jax.Array:
    """Whether a token is the last that counts: ``m_t 1[sum_{k > t} m_k = 0]``.

    Args:
        mask: ``[T, ...]`` bool.

    Returns:
        ``[T, ...]`` bool, True once in each sequence that has tokens.
    """
    chex.assert_type(mask, bool)
    return mask & (jax.lax.cumsum(mask.astype(jnp.int32), axis=0, reverse=True) == 1)


def at_last(x: jax.Array, mask: jax.Array) -> jax.Array:
    """One number a sequence as a reward of its last token: ``r_t = x 1[t is the last]``, never on padding.

    Args:
        x: ``[...]`` float, such as the reward of the whole answer.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[T, ...]``.
    """
    chex.assert_equal_shape((x, mask[0]))
    return jnp.where(is_last(mask), x, 0)


def last(x: jax.Array, mask: jax.Array) -> jax.Array:
    """What is at the last token, ``sum_t x_t 1[t is the last]``: how a reward model reads its score.

    Args:
        x: ``[T, ...]`` float; elsewhere anything, also NaN.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[...]``; 0 for a sequence without tokens.
    """
    return total(x, is_last(mask))
