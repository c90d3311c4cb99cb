"""Sequences of tokens ``[T, ...]`` and their masks: where a completion ends, sums, means and sums to go."""

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
