"""What an ensemble of estimates says of one number: subsets of it, and pools of its quantiles.

Axis letters of this file: E members, first; N quantiles, last.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def expected_min(value: jax.Array, subset: int) -> jax.Array:
    """Mean over all subsets of the smallest of a subset's estimates, the target of REDQ without its draw.

    ``E_S[min_{i in S} q_i] = sum_i C(E - i, M - 1) / C(E, M) q_(i)`` with ``q_(1) <= q_(2) <= ...``, subsets of M

    A subset of 1 gives the mean, one of E the minimum, and in between the bias falls as M grows.

    Args:
        value: ``[E, ...]``.
        subset: M, static, from 1 to E.

    Returns:
        ``[...]``.

    Raises:
        ValueError: if there are no such subsets.

    Source: Chen et al. 2021b (arXiv 2101.05982), algorithm 1, which draws one subset a step; the mean over the draw.
    """
    size = value.shape[0]
    if not 1 <= subset <= size:
        raise ValueError(f"expected_min: subset = {subset} must be from 1 to the {size} members of the ensemble.")
    weights = np.array([math.comb(size - i, subset - 1) for i in range(1, size + 1)]) / math.comb(size, subset)
    return jnp.tensordot(jnp.asarray(weights, value.dtype), jnp.sort(value, axis=0), axes=1)


def truncated_pool(quantile: jax.Array, num_dropped: int) -> jax.Array:
    """Pool of the members' quantiles without the highest ones, ``num_dropped`` for each member.

    ``z_(1) <= ... <= z_(E (N - d))`` of the E N quantiles; their mean is at most that of all, and is it where d is 0

    Args:
        quantile: ``[E, ..., N]``.
        num_dropped: d, static, from 0 to N - 1.

    Returns:
        ``[..., E (N - d)]``, ascending.

    Raises:
        ValueError: if nothing would be left, or d is negative.

    Source: Kuznetsov et al. 2020 (arXiv 2005.04269), (5) and (6).
    """
    members, *shape, number = quantile.shape
    if not 0 <= num_dropped < number:
        raise ValueError(f"truncated_pool: num_dropped = {num_dropped} must be from 0 to {number - 1}.")
    pool = jnp.moveaxis(quantile, 0, -2).reshape(*shape, members * number)
    return jnp.sort(pool, axis=-1)[..., : members * (number - num_dropped)]
