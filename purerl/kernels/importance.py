"""Off-policy evaluation: returns of N trajectories of a behaviour policy, reweighted to a target policy.

All three estimators give one number a trajectory, and the estimate is the mean over trajectories. ``ratio``
is ``pi(a_t | s_t) / mu(a_t | s_t)``: the dynamics cancel.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.numerics import safe_divide
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.types import Scalar


def ordinary(reward: jax.Array, ratio: jax.Array, gamma: Scalar, mask: jax.Array | None = None) -> jax.Array:
    """Ordinary importance sampling: unbiased, with a variance that grows exponentially in T.

    ``(prod_t rho_t) sum_t gamma^t r_t``

    Args:
        reward: ``[T, N]`` float.
        ratio: ``[T, N]``, at least 0.
        gamma: discount in [0, 1], scalar.
        mask: ``[T, N]`` bool, False after a trajectory's end.

    Returns:
        ``[N]`` estimates of the target policy's value.

    Source: Precup et al. 2000, (2).
    """
    reward, ratio = _masked(reward, ratio, mask)
    return jnp.prod(ratio, axis=0) * _discounted_sum(reward, jnp.ones_like(ratio), gamma)


def weighted(reward: jax.Array, ratio: jax.Array, gamma: Scalar, mask: jax.Array | None = None) -> jax.Array:
    """Weighted importance sampling: biased, consistent, and never outside the range of the returns.

    ``w_i G_i / mean_j w_j``, with ``w = prod_t rho_t`` and ``G = sum_t gamma^t r_t``; 0 if no weight is
    positive.

    Args:
        reward: ``[T, N]`` float.
        ratio: ``[T, N]``, at least 0.
        gamma: discount in [0, 1], scalar.
        mask: ``[T, N]`` bool, False after a trajectory's end.

    Returns:
        ``[N]``; their mean is the estimate of the target policy's value.

    Source: Precup et al. 2000, (3).
    """
    reward, ratio = _masked(reward, ratio, mask)
    weight = _relative_weight(ratio)
    return safe_divide(weight, jnp.mean(weight)) * _discounted_sum(reward, jnp.ones_like(ratio), gamma)


def per_decision(reward: jax.Array, ratio: jax.Array, gamma: Scalar, mask: jax.Array | None = None) -> jax.Array:
    """Per-decision importance sampling: each reward weighed only by the actions before it. Unbiased.

    ``sum_t gamma^t (prod_{k<=t} rho_k) r_t``, as the recurrence ``x_t = rho_t (r_t + gamma x_{t+1})``

    Args:
        reward: ``[T, N]`` float.
        ratio: ``[T, N]``, at least 0.
        gamma: discount in [0, 1], scalar.
        mask: ``[T, N]`` bool, False after a trajectory's end.

    Returns:
        ``[N]`` estimates of the target policy's value.

    Source: Precup et al. 2000, theorem 2.
    """
    reward, ratio = _masked(reward, ratio, mask)
    return _discounted_sum(reward, ratio, gamma)


def trajectory_ratio(log_ratio: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Importance sampling ratio of whole trajectories, summed as logarithms.

    ``exp(sum_t log rho_t)``

    Args:
        log_ratio: ``[T, ...]`` float.
        mask: ``[T, ...]`` bool, False after a trajectory's end; entries there may be anything.

    Returns:
        ``[...]``.

    Source: Precup et al. 2000, (1).
    """
    mask = jnp.ones(log_ratio.shape, bool) if mask is None else mask
    chex.assert_equal_shape((log_ratio, mask))
    return jnp.exp(jnp.sum(jnp.where(mask, log_ratio, 0), axis=0))


def effective_sample_size(weights: jax.Array) -> jax.Array:
    """Effective sample size of weighted samples.

    ``(sum_i w_i)^2 / sum_i w_i^2``, between 1 and N; 0 where all weights are 0.

    Args:
        weights: ``[N, ...]`` float, at least 0, of any scale.

    Returns:
        ``[...]``.

    Source: Kong 1992.
    """
    chex.assert_type(weights, float)
    # The scale cancels, and without it the squares cannot overflow.
    weights = safe_divide(weights, jnp.max(weights, axis=0))
    return safe_divide(jnp.square(jnp.sum(weights, axis=0)), jnp.sum(jnp.square(weights), axis=0))


def _relative_weight(ratio: jax.Array) -> jax.Array:
    """``prod_t rho_t`` up to a factor that all trajectories share, ``[N]``, the largest being 1, or 0 where all are.

    The factor is taken out step by step, so that no product overflows on the way.
    """

    def step(weight: jax.Array, ratio: jax.Array) -> tuple[jax.Array, None]:
        weight = weight * ratio
        return safe_divide(weight, jax.lax.stop_gradient(jnp.max(weight))), None

    return jax.lax.scan(step, jnp.ones_like(ratio[0]), ratio)[0]


def _discounted_sum(reward: jax.Array, ratio: jax.Array, gamma: Scalar) -> jax.Array:
    """``x_0`` of ``x_t = rho_t (r_t + gamma x_{t+1})``, ``[N]``."""
    return reverse_linear_recurrence(gamma * ratio, ratio * reward)[0]


def _masked(reward, ratio, mask) -> tuple[jax.Array, jax.Array]:
    """Steps after the end count for nothing: reward 0, ratio 1."""
    mask = jnp.ones(reward.shape, bool) if mask is None else mask
    chex.assert_rank(reward, 2)
    chex.assert_type(reward, float)
    chex.assert_equal_shape((reward, ratio, mask))
    return jnp.where(mask, reward, 0), jnp.where(mask, ratio, 1)
