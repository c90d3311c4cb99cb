"""First-order linear recurrences, on which every return rests: backwards in time, or forwards."""

import jax
import jax.numpy as jnp

from purerl.kernels.numerics import safe_multiply
from purerl.types import Scalar


def reverse_linear_recurrence(coefficient: jax.Array, offset: jax.Array, final: Scalar = 0.0) -> jax.Array:
    """First-order linear recurrence backwards in time, by whichever implementation suits the backend.

    ``x_t = offset_t + coefficient_t x_{t+1}``, with ``x_T = final``.

    Args:
        coefficient: array that broadcasts to ``[T, ...]``; where it is 0, no NaN or infinity comes through.
        offset: ``[T, ...]`` float or complex; its dtype is the result's.
        final: ``x_T``, broadcasts to ``[...]``.

    Returns:
        ``x_0 .. x_{T-1}``, ``[T, ...]``.

    Raises:
        AssertionError: if ``offset`` is a scalar or neither floating nor complex.
    """
    solve = associative if _prefers_associative(offset.shape) else sequential
    return solve(coefficient, offset, final)


def forward_linear_recurrence(coefficient: jax.Array, offset: jax.Array, initial: Scalar = 0.0) -> jax.Array:
    """First-order linear recurrence forwards in time.

    ``x_t = offset_t + coefficient_t x_{t-1}``, with ``x_{-1} = initial``.

    Args:
        coefficient: array that broadcasts to ``[T, ...]``.
        offset: ``[T, ...]`` float or complex; its dtype is the result's.
        initial: ``x_{-1}``, broadcasts to ``[...]``.

    Returns:
        ``x_0 .. x_{T-1}``, ``[T, ...]``.
    """
    coefficient = jnp.broadcast_to(coefficient, offset.shape)
    return reverse_linear_recurrence(coefficient[::-1], offset[::-1], initial)[::-1]


def _prefers_associative(shape: tuple[int, ...]) -> bool:
    """Whether the parallel form is faster here. Asked at trace time: the backend is unknown at import."""
    # On a CPU the crossover lies at T = 32 and B = 64, near enough: below it the two are within an eighth of each
    # other, above it the scan is two to nine times as fast (`benchmarks/recurrence.py`), since there are no idle lanes
    # to pay for the parallel form's extra passes over memory. An accelerator launches at least one kernel for
    # every step of a scan, against two or three for each of log2 T levels; that threshold is this count, not
    # a measurement.
    return jax.default_backend() != "cpu" and shape[0] >= 8


def sequential(coefficient: jax.Array, offset: jax.Array, final: Scalar = 0.0) -> jax.Array:
    """:func:`reverse_linear_recurrence` as a reverse ``lax.scan``: T steps, the fewest operations."""
    coefficient, offset, final = _prepare(coefficient, offset, final)

    def step(following, now):
        coefficient_t, offset_t = now
        x = offset_t + safe_multiply(coefficient_t, following)
        return x, x

    return jax.lax.scan(step, final, (coefficient, offset), reverse=True)[1]


def associative(coefficient: jax.Array, offset: jax.Array, final: Scalar = 0.0) -> jax.Array:
    """:func:`reverse_linear_recurrence` as a ``lax.associative_scan``: log T steps, composing affine maps.

    ``(b, a) after (b', a') = (b + a b', a a')``, where ``(b, a)`` stands for the map ``x -> b + a x``

    Source: Blelloch 1990, section 1.4.
    """
    coefficient, offset, final = _prepare(coefficient, offset, final)

    def compose(later, earlier):
        (later_slope, later_intercept), (slope, intercept) = later, earlier
        return safe_multiply(slope, later_slope), intercept + safe_multiply(slope, later_intercept)

    slope, intercept = jax.lax.associative_scan(compose, (coefficient, offset), reverse=True)
    return intercept + safe_multiply(slope, final)


def _prepare(coefficient, offset, final) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Broadcast and cast everything to the shape and dtype of ``offset``."""
    if not jnp.issubdtype(offset.dtype, jnp.inexact):
        raise AssertionError(f"a recurrence needs offsets that are floats or complex numbers, not {offset.dtype}")
    if offset.ndim == 0:
        raise AssertionError("a recurrence needs a time axis; offset is a scalar")
    coefficient = jnp.broadcast_to(coefficient, offset.shape).astype(offset.dtype)
    final = jnp.broadcast_to(final, offset.shape[1:]).astype(offset.dtype)
    return coefficient, offset, final
