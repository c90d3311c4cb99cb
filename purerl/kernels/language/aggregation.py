"""How the losses of tokens become one number: the aggregators of the GRPO family.

They differ only in the weight that a token of a sequence of length ``l`` gets, among B sequences with n tokens in all:

=====================  ==============  =============================================================
aggregator             weight          meaning
=====================  ==============  =============================================================
:func:`token_mean`     1 / n           every token the same (DAPO, CISPO)
:func:`sequence_mean`  1 / (B l)       every sequence the same, so a long one is blamed less (GRPO)
:func:`constant`       1 / (B L)       every token the same, whatever else is in the batch (Dr. GRPO)
:func:`sequence_sum`   1 / B           the sum over a sequence, as in the policy gradient theorem
=====================  ==============  =============================================================

Each returns numerator and denominator apart. Over micro-batches and devices *both* are added up, gradients being those
of the numerators, and only then comes the one division (:func:`value`). Dividing within a micro-batch would weigh a
token by its neighbours. Sequences without tokens are padding of the batch, and count nowhere.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.kernels.numerics import safe_divide
from purerl.types import Mean, Scalar


def token_mean(x: jax.Array, mask: jax.Array) -> Mean:
    """Token mean: ``sum_i sum_t m_it x_it / sum_i l_i``, with ``l_i = sum_t m_it``.

    Args:
        x: ``[T, B]`` float, elements of a loss.
        mask: ``[T, B]`` bool.

    Returns:
        numerator and denominator, in single precision or better.

    Source: Yu et al. 2025, (12).
    """
    return _mean(sequences.total(_wide(x), mask), sequences.length(mask))


def sequence_mean(x: jax.Array, mask: jax.Array) -> Mean:
    """Mean over sequences of their token means: ``sum_i (1 / l_i) sum_t m_it x_it / B``.

    Args:
        x: ``[T, B]`` float.
        mask: ``[T, B]`` bool.

    Returns:
        numerator and denominator; B counts sequences that have tokens.

    Source: Shao et al. 2024, (3).
    """
    return _mean(sequences.average(_wide(x), mask), jnp.any(mask, axis=0))


def constant(x: jax.Array, mask: jax.Array, max_tokens: Scalar) -> Mean:
    """Sum over tokens with a constant divisor: ``sum_i sum_t m_it x_it / (B L)``.

    Args:
        x: ``[T, B]`` float.
        mask: ``[T, B]`` bool.
        max_tokens: L, the limit of generation: a constant of the run, never the padded width T of a batch.

    Returns:
        numerator and denominator; B counts sequences that have tokens.

    Source: Liu et al. 2025, the code that accompanies it.
    """
    total, number = sequence_sum(x, mask)
    return Mean(total, number * max_tokens)


def sequence_sum(x: jax.Array, mask: jax.Array) -> Mean:
    """Mean over sequences of their token sums: ``sum_i sum_t m_it x_it / B``.

    Args:
        x: ``[T, B]`` float.
        mask: ``[T, B]`` bool.

    Returns:
        numerator and denominator; B counts sequences that have tokens.

    Source: Liu et al. 2025.
    """
    return _mean(sequences.total(_wide(x), mask), jnp.any(mask, axis=0))


def batch_mean(x: jax.Array, mask: jax.Array) -> Mean:
    """Mean over sequences of what has one element each: ``sum_i 1[l_i > 0] x_i / B``.

    Args:
        x: ``[B]`` float, such as a sequence's surrogate.
        mask: ``[T, B]`` bool.

    Returns:
        numerator and denominator; B counts sequences that have tokens.
    """
    present = jnp.any(mask, axis=0)
    chex.assert_equal_shape((x, present))
    return _mean(jnp.where(present, _wide(x), 0), present)


def merge(a: Mean, b: Mean) -> Mean:
    """The two parts of a batch together: ``(total_a + total_b) / (number_a + number_b)``, not yet divided.

    Args:
        a: of one micro-batch.
        b: of another; over devices, ``jax.lax.psum`` does the same.

    Returns:
        their sum.
    """
    return Mean(a.total + b.total, a.number + b.number)


def value(mean: Mean) -> jax.Array:
    """The finished average: ``total / number``; 0 where there is nothing.

    Args:
        mean: of the whole batch, over all micro-batches and devices.

    Returns:
        ``[]``.
    """
    return safe_divide(mean.total, mean.number)


def _mean(x: jax.Array, count: jax.Array) -> Mean:
    """Sum of ``x`` and of integer or bool counts, ``[B]``."""
    # Counted as integers: half-precision floats cannot even count the tokens of one sequence.
    return Mean(jnp.sum(x), jnp.sum(count, dtype=jnp.int32).astype(x.dtype))


def _wide(x: jax.Array) -> jax.Array:
    """Half precision is for networks; sums over a batch are in single."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
