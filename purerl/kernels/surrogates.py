"""Policy objectives to *maximise* and value losses to *minimise*, elementwise: the caller averages.

``log_ratio`` is ``log pi_new(a | s) - log pi_old(a | s)``. Advantages and targets are taken as given: unless
a docstring says otherwise no gradient is stopped, so what depends on the parameters must be stopped by the
caller. Whoever masks elements masks their advantages first, and the result after: the gradient of an infinite advantage
times 0 is NaN.
"""

import math

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.numerics import masked_variance, safe_divide
from purerl.types import Scalar

_MAX_LOG_RATIO = 30.0  # a ratio of 1e13: its square, which the norm of a gradient takes, is within float32


def ratio(log_ratio: jax.Array) -> jax.Array:
    """Probability ratio of the new and the old policy, ``rho = exp(log_ratio)``, that cannot overflow.

    Above ``e^30`` it goes on as its tangent, ``e^30 (1 + log_ratio - 30)``: finite, and with a gradient that is.

    Args:
        log_ratio: ``[...]``.

    Returns:
        ``[...]``, at least 0.
    """
    exponential = jnp.exp(jnp.minimum(log_ratio, _MAX_LOG_RATIO))
    return exponential * (1 + jnp.maximum(log_ratio - _MAX_LOG_RATIO, 0))


def policy_gradient(log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
    """Policy gradient objective (REINFORCE, actor-critic): its gradient is the policy gradient.

    ``log pi(a | s) sg(A)``: the gradient of the advantage is stopped, since the theorem holds it fixed.

    Args:
        log_prob: ``[...]``.
        advantage: ``[...]``.

    Returns:
        ``[...]``.

    Source: Williams 1992; Sutton et al. 2000, theorem 1.
    """
    chex.assert_equal_shape((log_prob, advantage))
    return log_prob * jax.lax.stop_gradient(advantage)


def ppo_clip(log_ratio: jax.Array, advantage: jax.Array, clip_epsilon: Scalar) -> jax.Array:
    """PPO clipped surrogate objective.

    ``min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A)``. It does not keep the ratio in that range: it
    removes the incentive to leave it. The gradient vanishes where ``A > 0, rho > 1 + epsilon`` or ``A < 0,
    rho < 1 - epsilon``.

    Args:
        log_ratio: ``[...]``.
        advantage: ``[...]``.
        clip_epsilon: half-width of the range, greater than 0.

    Returns:
        ``[...]``.

    Source: Schulman et al. 2017, (7).
    """
    chex.assert_equal_shape((log_ratio, advantage))
    rho = ratio(log_ratio)
    return jnp.minimum(rho * advantage, jnp.clip(rho, 1 - clip_epsilon, 1 + clip_epsilon) * advantage)


def ppo_kl(log_ratio: jax.Array, advantage: jax.Array, kl: jax.Array, beta: Scalar) -> jax.Array:
    """PPO surrogate objective with a KL penalty.

    ``rho A - beta KL(pi_old ; pi_new)``

    Args:
        log_ratio: ``[...]``.
        advantage: ``[...]``.
        kl: ``[...]``, divergence of the action distributions, the old one first.
        beta: penalty coefficient, at least 0.

    Returns:
        ``[...]``.

    Source: Schulman et al. 2017, (8).
    """
    chex.assert_equal_shape((log_ratio, advantage, kl))
    return ratio(log_ratio) * advantage - beta * kl


def adapt_kl_coefficient(beta: jax.Array, kl: jax.Array, target_kl: Scalar) -> jax.Array:
    """Adaptive KL coefficient of PPO, so that updates move the policy by about ``target_kl``.

    ``beta / 2`` if ``kl < target / 1.5``, ``2 beta`` if ``kl > 1.5 target``, otherwise ``beta``

    Args:
        beta: ``[]``, coefficient of the last update.
        kl: ``[]``, mean divergence that the last update caused.
        target_kl: wanted divergence, greater than 0.

    Returns:
        ``[]``, the next coefficient.

    Source: Schulman et al. 2017, section 4.
    """
    return jnp.where(kl < target_kl / 1.5, beta / 2, jnp.where(kl > 1.5 * target_kl, 2 * beta, beta))


def value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """Value loss, half the squared error: ``(V - target)^2 / 2``.

    Args:
        value: ``[...]``.
        target: ``[...]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape((value, target))
    return 0.5 * jnp.square(value - target)


def clipped_value_loss(value: jax.Array, old_value: jax.Array, target: jax.Array, clip_epsilon: Scalar) -> jax.Array:
    """Clipped value loss of PPO: no gain from moving more than epsilon from the old prediction.

    ``max((V - target)^2, (V_old + clip(V - V_old, -epsilon, epsilon) - target)^2) / 2``

    Args:
        value: ``[...]``.
        old_value: ``[...]``, prediction at collection time.
        target: ``[...]``.
        clip_epsilon: half-width of the range, in the units of the return.

    Returns:
        ``[...]``.

    Source: the reference implementation of Schulman et al. 2017; not in the paper.
    """
    chex.assert_equal_shape((value, old_value, target))
    clipped_value = old_value + jnp.clip(value - old_value, -clip_epsilon, clip_epsilon)
    return jnp.maximum(value_loss(value, target), value_loss(clipped_value, target))


def approximate_kl(log_ratio: jax.Array) -> jax.Array:
    """Approximate KL divergence ``KL(pi_old ; pi_new)`` from actions of the old policy: unbiased, never negative.

    ``rho - 1 - log rho``, as ``expm1(d) - d`` with ``d = log rho``; with rho of :func:`ratio` where it is large

    Args:
        log_ratio: ``[...]``.

    Returns:
        ``[...]``, at least 0.

    Source: Schulman, "Approximating KL divergence" (2020), estimator k3.
    """
    beyond = jnp.maximum(log_ratio - _MAX_LOG_RATIO, 0)
    return jnp.expm1(jnp.minimum(log_ratio, _MAX_LOG_RATIO)) + math.exp(_MAX_LOG_RATIO) * beyond - log_ratio


def clipped(log_ratio: jax.Array, clip_epsilon: Scalar) -> jax.Array:
    """Clip indicator of PPO, whose mean is the clip fraction.

    ``1[|rho - 1| > epsilon]``

    Args:
        log_ratio: ``[...]``.
        clip_epsilon: half-width of the range, greater than 0.

    Returns:
        ``[...]`` in the dtype of ``log_ratio``; the mean is the clip fraction.
    """
    return (jnp.abs(jnp.expm1(log_ratio)) > clip_epsilon).astype(log_ratio.dtype)


def explained_variance(value: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Explained variance of value predictions: 1 is perfect, 0 no better than a constant.

    ``1 - Var(target - value) / Var(target)``; 0 where the targets are constant and there is nothing to
    explain.

    Args:
        value: ``[...]``.
        target: ``[...]``.
        mask: ``[...]`` bool, which of them count; None for all.

    Returns:
        ``[]``, at most 1.
    """
    chex.assert_equal_shape((value, target))
    variance = masked_variance(target, mask)
    unexplained = masked_variance(target - value, mask)
    return jnp.where(variance > 0, 1 - safe_divide(unexplained, variance), 0)
