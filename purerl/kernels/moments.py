"""Running mean and variance that merge, and that float32 carries through a billion samples.

A sample in which anything is NaN, infinite or too large to be squared is left out, and not counted: the statistics are
those of the other samples, bit for bit.

A float32 counter stops at 2^24, and a mean over many samples stops moving long before: each increment falls
below its last bit. Every statistic is therefore kept as an unevaluated sum ``high + low`` of two floats,
about twice the precision, and accumulated with error-free additions.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from purerl.kernels.numerics import safe_divide


class Compensated(NamedTuple):
    """The number ``high + low``, where ``high`` is the sum rounded to a float and ``low`` what that lost."""

    high: jax.Array
    low: jax.Array


class Moments(struct.PyTreeNode):
    """Count, mean and sum of squared deviations of the samples seen so far."""

    count: Compensated  # []
    mean: Compensated  # [...]
    deviations: Compensated  # [...] sum of (x - mean)^2


def init(shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Moments:
    """Moments of no samples.

    Args:
        shape: of one sample.
        dtype: floating type to accumulate in.

    Returns:
        the empty moments; it is the neutral element of :func:`merge`.
    """
    return Moments(*(_exactly(jnp.zeros(s, dtype)) for s in ((), shape, shape)))


def from_batch(x: jax.Array, num_batch_axes: int = 1, mask: jax.Array | None = None) -> Moments:
    """Moments of one batch, in two passes, the second of which corrects the rounding of the first.

    ``mean = sum x / n``, ``deviations = sum (x - mean)^2``

    Args:
        x: ``[N..., ...]``; anything narrower than float32, or not floating, is read as float32.
        num_batch_axes: how many leading axes run over samples.
        mask: ``[N...]`` bool, samples to count, of those that are finite; the others may be anything, also NaN.

    Returns:
        moments of samples of shape ``[...]``.

    Source: Chan, Golub & LeVeque 1983, (1.7).
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    batch_shape, axes = x.shape[:num_batch_axes], tuple(range(num_batch_axes))
    mask = jnp.ones(batch_shape, bool) if mask is None else mask
    chex.assert_shape(mask, batch_shape)
    mask = mask & jnp.all(jnp.isfinite(jnp.square(x)), tuple(range(num_batch_axes, x.ndim)))

    # Counted as integers: a float32 sum of ones is exact only up to 2^24.
    number = jnp.sum(mask, dtype=jnp.int32)
    count = number.astype(x.dtype)
    kept = mask.reshape(batch_shape + (1,) * (x.ndim - num_batch_axes))
    average = safe_divide(jnp.sum(jnp.where(kept, x, 0), axes), count)
    difference = jnp.where(kept, x - average, 0)
    correction = safe_divide(jnp.sum(difference, axes), count)
    deviations = jnp.sum(jnp.square(difference), axes) - count * jnp.square(correction)
    return Moments(
        Compensated(count, (number - count.astype(jnp.int32)).astype(x.dtype)),
        _two_sum(average, correction),
        _exactly(jnp.maximum(deviations, 0)),
    )


def merge(a: Moments, b: Moments) -> Moments:
    """Merge the moments of two sets of samples (parallel variance algorithm).

    ``n = n_a + n_b``, ``mean = mean_a + delta n_b / n``, ``D = D_a + D_b + delta^2 n_a n_b / n``, with
    ``delta = mean_b - mean_a``

    Args:
        a: moments.
        b: moments of samples of the same shape.

    Returns:
        moments of the union.

    Source: Chan, Golub & LeVeque 1983, (2.1).
    """
    chex.assert_trees_all_equal_shapes_and_dtypes(a, b)
    count = _add(a.count, b.count)
    delta = (b.mean.high - a.mean.high) + (b.mean.low - a.mean.low)
    share = safe_divide(b.count.high, count.high)
    between = jnp.square(delta) * a.count.high * share
    return Moments(
        count,
        _add(a.mean, _exactly(delta * share)),
        _add(_add(a.deviations, b.deviations), _exactly(between)),
    )


def update(moments: Moments, x: jax.Array, mask: jax.Array | None = None) -> Moments:
    """Running moments updated with a batch: :func:`merge` with those of the batch.

    Args:
        moments: of samples of shape ``[...]``.
        x: ``[N..., ...]``, any number of leading axes, also none.
        mask: ``[N...]`` bool, samples to count.

    Returns:
        the merged moments.
    """
    x = x.astype(moments.mean.high.dtype)
    return merge(moments, from_batch(x, x.ndim - moments.mean.high.ndim, mask))


def mean(moments: Moments) -> jax.Array:
    """Running mean of the samples, ``[...]``; 0 where there are none."""
    return moments.mean.high + moments.mean.low


def variance(moments: Moments) -> jax.Array:
    """Running population variance: ``deviations / count``, ``[...]``; 1 where there are no samples."""
    return safe_divide(moments.deviations.high, moments.count.high, default=1.0)


def std(moments: Moments, epsilon: float = 1e-8) -> jax.Array:
    """Running standard deviation: ``sqrt(variance + epsilon)``, ``[...]``; positive also for constant samples."""
    return jnp.sqrt(variance(moments) + epsilon)


def normalize(moments: Moments, x: jax.Array, epsilon: float = 1e-8, clip: float = 10.0) -> jax.Array:
    """Normalise samples by the running mean and deviation; unchanged while there are no moments.

    ``clip((x - mean) / sqrt(variance + epsilon), -c, c)``, and only ``clip(x - mean, -c, c)`` where all samples were
    alike: what little it moves later is then not scaled up.

    Args:
        moments: of samples of shape ``[...]``.
        x: ``[N..., ...]``; integers and booleans are read as float32.
        epsilon: added to the variance.
        clip: largest magnitude that comes out.

    Returns:
        ``[N..., ...]`` float.
    """
    x = x.astype(moments.mean.high.dtype)
    centred = (x - moments.mean.high) - moments.mean.low
    scaled = jnp.where(_is_constant(moments), centred, centred / std(moments, epsilon))
    return jnp.where(moments.count.high > 0, jnp.clip(scaled, -clip, clip), x)


def scale(moments: Moments, x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Scale samples by a running deviation without centring, as rewards are by that of returns.

    ``x / max(sqrt(variance + epsilon), |mean| / 10)``: equal returns have no deviation, but a size.

    Args:
        moments: of samples of shape ``[...]``.
        x: ``[N..., ...]``; integers and booleans are read as float32.
        epsilon: added to the variance.

    Returns:
        ``[N..., ...]`` float.
    """
    x, least = x.astype(moments.mean.high.dtype), jnp.abs(moments.mean.high) / 10
    is_less = variance(moments) + epsilon < jnp.square(least)
    return jnp.where(is_less, safe_divide(x, least), x / std(moments, epsilon))


def _is_constant(moments: Moments) -> jax.Array:
    """Whether the samples were alike up to the rounding of their mean, ``[...]``."""
    rounding = 4 * jnp.finfo(moments.mean.high.dtype).eps * jnp.abs(moments.mean.high)
    return variance(moments) <= jnp.square(rounding)


def _exactly(x: jax.Array) -> Compensated:
    return Compensated(x, jnp.zeros_like(x))


def _add(x: Compensated, y: Compensated) -> Compensated:
    """``x + y``, its two parts brought back to order: ``high`` is again the sum rounded once."""
    total, lost = _two_sum(x.high, y.high)
    return _two_sum(total, lost + (x.low + y.low))


def _two_sum(x: jax.Array, y: jax.Array) -> Compensated:
    """``x + y`` without error, whichever is larger (Knuth 1969, theorem 4.2.2B)."""
    total = x + y
    from_y = total - x
    return Compensated(total, (x - (total - from_y)) + (y - from_y))
