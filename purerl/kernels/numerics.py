"""Small numerical guards: masked statistics and functions whose values *and gradients* stay finite."""

import jax
import jax.numpy as jnp

from purerl.types import PyTree

Axis = int | tuple[int, ...] | None


def masked_mean(x: jax.Array, mask: jax.Array | None, axis: Axis = None) -> jax.Array:
    """Masked mean, of the entries where ``mask`` is set; 0 where none is.

    ``sum(m x) / max(sum(m), 1)``

    Args:
        x: ``[...]``; integers and booleans are read as float32. Entries outside the mask may be anything,
            also NaN.
        mask: bool or 0/1, broadcasts to ``x``; None means everything.
        axis: axes to reduce, all by default.

    Returns:
        the mean, ``x`` without ``axis``.
    """
    x, mask = _masked(x, mask)
    return _mean(x, mask, axis, keepdims=False)


def masked_variance(x: jax.Array, mask: jax.Array | None, axis: Axis = None) -> jax.Array:
    """Masked population variance, of the entries where ``mask`` is set; 0 where none is, exactly 0 for equal entries.

    ``sum(m (x - mean)^2) / max(sum(m), 1)``

    Args:
        x: ``[...]``; integers and booleans are read as float32.
        mask: bool or 0/1, broadcasts to ``x``; None means everything.
        axis: axes to reduce, all by default.

    Returns:
        the variance, ``x`` without ``axis``.
    """
    x, mask = _masked(x, mask)
    return _mean(jnp.square(_centre(x, mask, axis)), mask, axis, keepdims=False)


def standardize(x: jax.Array, mask: jax.Array | None = None, epsilon: float = 1e-8) -> jax.Array:
    """Standardise to mean 0 and deviation 1; equal entries, or a single one, give exactly 0.

    ``(x - mean) / (std + epsilon)``

    Args:
        x: ``[...]``; integers and booleans are read as float32.
        mask: bool or 0/1, broadcasts to ``x``; statistics use only these entries.
        epsilon: added to the deviation, in the units of ``x``.

    Returns:
        ``[...]``, 0 outside the mask.
    """
    x, mask = _masked(x, mask)
    centred = _centre(x, mask, None)
    return centred / (_sqrt(_mean(jnp.square(centred), mask, None, keepdims=False)) + epsilon)


def safe_log(x: jax.Array) -> jax.Array:
    """Safe logarithm: ``log(max(x, tiny))``, with the smallest normal float in place of 0.

    Finite, and flat below it.

    Args:
        x: ``[...]`` float, at least 0.

    Returns:
        ``[...]``.
    """
    return jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))


def safe_divide(numerator: jax.Array, denominator: jax.Array, default: float = 0.0) -> jax.Array:
    """Safe division: ``numerator / denominator``, and ``default`` with zero gradient where the denominator is 0.

    Args:
        numerator: ``[...]`` float.
        denominator: ``[...]`` float.
        default: value in place of a division by zero.

    Returns:
        ``[...]``.
    """
    nonzero = denominator != 0
    # Both branches of a `where` are differentiated: the denominator itself must be safe, not only the
    # quotient.
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), default)


def count_up(count: jax.Array, number: int) -> jax.Array:
    """Saturating addition to a counter: ``min(count + number, largest integer of its type)``, which never wraps.

    An int32 that counts environment steps is full after 2^31, which is half an hour at a million steps a second; a
    schedule that reads it stays at its end then, where a negative count would lead far beyond its beginning.

    Args:
        count: ``[...]`` int, at least 0.
        number: at least 0.

    Returns:
        ``[...]``, of the type of ``count``.
    """
    return count + jnp.minimum(number, jnp.iinfo(count.dtype).max - count)


def safe_multiply(coefficient: jax.Array, x: jax.Array) -> jax.Array:
    """Safe product: ``coefficient x``, and 0 where the coefficient is 0, also for an ``x`` that is not finite.

    Args:
        coefficient: ``[...]`` float or complex.
        x: ``[...]`` likewise, may be NaN or infinite.

    Returns:
        ``[...]``.
    """
    return coefficient * jnp.where((coefficient == 0) & ~jnp.isfinite(x), 0, x)


def global_norm(tree: PyTree) -> jax.Array:
    """Global norm of a pytree, the Euclidean norm of all leaves together, with gradient 0 at the origin.

    ``sqrt(sum_i x_i^2)``

    Args:
        tree: pytree of float arrays.

    Returns:
        ``[]``; 0 for a tree without leaves.
    """
    return _sqrt(sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)), jnp.zeros(())))


def _masked(x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
    mask = jnp.broadcast_to(True if mask is None else jnp.asarray(mask).astype(bool), x.shape)
    return x, mask


def _mean(x: jax.Array, mask: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    count = jnp.sum(mask, axis, dtype=x.dtype, keepdims=keepdims)
    return jnp.sum(jnp.where(mask, x, 0), axis, keepdims=keepdims) / jnp.maximum(count, 1)


def _centre(x: jax.Array, mask: jax.Array, axis: Axis) -> jax.Array:
    """``x - mean`` inside the mask and 0 outside."""
    # Moving to one of the entries first costs nothing mathematically, and makes equal entries exactly equal
    # to their mean: the rounding of a sum of equal numbers would otherwise be scaled up to order 1 by
    # `standardize`.
    origin = jnp.max(x, axis, keepdims=True, where=mask, initial=jnp.finfo(x.dtype).min)
    shifted = x - jax.lax.stop_gradient(origin)
    return jnp.where(mask, shifted - _mean(shifted, mask, axis, keepdims=True), 0)


def _sqrt(x: jax.Array) -> jax.Array:
    """Square root with gradient 0, not infinity, at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
