"""Returns, advantages and off-policy targets from rollouts that may hold many episodes.

One convention for all: ``terminated`` stops bootstrapping (no reward follows), ``terminated |
truncated`` stops traces (the next row belongs to another episode). ``next_value[t]`` is the value of the
observation that step ``t`` led to, *before* any automatic reset, so the end of the rollout needs no argument
of its own: step ``T-1`` bootstraps from ``next_value[T-1]`` unless it terminated.

In the equations ``d_t = gamma (1 - terminated_t)`` and ``c_t = 1 - (terminated_t | truncated_t)``, with
``c_{T-1} = 0``; ``V'_t`` is ``next_value[t]``. No gradient is stopped here.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.numerics import safe_multiply
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.types import Scalar


def discounted_returns(
    reward: jax.Array, next_value: jax.Array, terminated: jax.Array, truncated: jax.Array, gamma: Scalar
) -> jax.Array:
    """Discounted return to the end of the episode, bootstrapped where the episode or the rollout is cut short.

    ``G_t = r_t + d_t (c_t G_{t+1} + (1 - c_t) V'_t)``

    Args:
        reward: ``[T, ...]`` float.
        next_value: ``[T, ...]``, value of the observation before any reset; zeros for a plain sum of rewards.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.

    Returns:
        ``[T, ...]`` returns.

    Source: Sutton & Barto 2018, (3.9); Pardo et al. 2018, section 2.
    """
    return lambda_returns(reward, next_value, terminated, truncated, gamma, 1.0)


def n_step_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    n: int,
) -> jax.Array:
    """n-step return, with fewer steps and fewer discounts where the episode or the rollout ends sooner.

    ``G_t = sum_{k<m} gamma^k r_{t+k} + gamma^{m-1} d_{t+m-1} V'_{t+m-1}``, where ``m`` is
    n or the number of steps to the end, whichever is smaller

    Args:
        reward: ``[T, ...]`` float.
        next_value: ``[T, ...]``, value of the observation before any reset.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [-1, 1], scalar; negative where two players of a zero-sum game take turns.
        n: number of rewards, static, at least 1.

    Returns:
        ``[T, ...]`` targets.

    Raises:
        ValueError: if ``n < 1``.

    Source: Sutton & Barto 2018, (7.1).
    """
    if n < 1:
        raise ValueError(f"n_step_returns: n={n} must be at least 1; n=1 is the TD target.")
    _check((reward, next_value), (terminated, truncated))
    gamma = jnp.asarray(gamma, reward.dtype)
    bootstrap = jnp.where(terminated, 0, next_value)
    ends = _ends(terminated, truncated)

    def one_more(_, longer):  # G^(k+1)_t = r_t + gamma G^(k)_{t+1} inside an episode, with G^(0) = V
        return reward + gamma * jnp.where(ends, bootstrap, _following(longer))

    return jax.lax.fori_loop(1, min(n, reward.shape[0]), one_more, reward + gamma * bootstrap)


def lambda_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    lambda_: Scalar,
) -> jax.Array:
    """Lambda-return, the target of TD(lambda): the geometric mixture of all n-step returns.

    ``G_t = r_t + d_t ((1 - lambda_t c_t) V'_t + lambda_t c_t G_{t+1})``

    Args:
        reward: ``[T, ...]`` float.
        next_value: ``[T, ...]``, value of the observation before any reset.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.
        lambda_: trace decay in [0, 1], scalar or broadcastable to ``[T, ...]``.

    Returns:
        ``[T, ...]`` targets.

    Source: Sutton & Barto 2018, (12.18).
    """
    _check((reward, next_value), (terminated, truncated))
    gamma = jnp.asarray(gamma, reward.dtype)
    bootstrap = gamma * jnp.where(terminated, 0, next_value)
    trace = _trace(terminated, truncated, lambda_, reward.dtype)
    return reverse_linear_recurrence(gamma * trace, reward + (1 - trace) * bootstrap)


def td_errors(
    reward: jax.Array, value: jax.Array, next_value: jax.Array, terminated: jax.Array, gamma: Scalar
) -> jax.Array:
    """Temporal-difference (TD) error of one step.

    ``delta_t = r_t + d_t V'_t - V_t``

    Args:
        reward: ``[T, ...]`` float.
        value: ``[T, ...]``, value of the observation acted upon.
        next_value: ``[T, ...]``, value of the observation before any reset.
        terminated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.

    Returns:
        ``[T, ...]`` errors.

    Source: Sutton & Barto 2018, (6.5).
    """
    _check((reward, value, next_value), (terminated,))
    return reward + jnp.asarray(gamma, reward.dtype) * jnp.where(terminated, 0, next_value) - value


def gae(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    lambda_: Scalar,
) -> jax.Array:
    """Generalised advantage estimation (GAE): the geometric mixture of all n-step advantages.

    ``A_t = delta_t + gamma lambda_t c_t A_{t+1}``. ``A + value`` is the critic's target, the lambda-return.

    Args:
        reward: ``[T, ...]`` float.
        value: ``[T, ...]``, value of the observation acted upon.
        next_value: ``[T, ...]``, value of the observation before any reset.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.
        lambda_: trace decay in [0, 1], scalar or broadcastable to ``[T, ...]``.

    Returns:
        ``[T, ...]`` advantages.

    Source: Schulman et al. 2016, (16).
    """
    _check((reward, value, next_value), (terminated, truncated))
    delta = td_errors(reward, value, next_value, terminated, gamma)
    return reverse_linear_recurrence(gamma * _trace(terminated, truncated, lambda_, reward.dtype), delta)


def vtrace(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    ratio: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    lambda_: Scalar = 1.0,
    clip_rho: Scalar = 1.0,
    clip_c: Scalar = 1.0,
    clip_pg_rho: Scalar = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """V-trace target and policy-gradient advantage, from the rollout of another policy (IMPALA).

    ``v_t - V_t = min(rho_t, clip_rho) delta_t + gamma c_t lambda_t min(rho_t, clip_c) (v_{t+1} - V_{t+1})``

    ``A_t = min(rho_t, clip_pg_rho) (delta_t + gamma c_t lambda_t (v_{t+1} - V_{t+1}))``

    At ``lambda_ = 1`` the advantage is the paper's ``rho_t (r_t + gamma v_{t+1} - V_t)``; below 1 the
    correction decays with the trace, so that on policy the advantage is :func:`gae` and the target ``value +
    gae``, for every lambda.

    Args:
        reward: ``[T, ...]`` float.
        value: ``[T, ...]``, value of the observation acted upon.
        next_value: ``[T, ...]``, value of the observation before any reset.
        ratio: ``[T, ...]``, ``pi(a_t) / mu(a_t)``, at least 0.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.
        lambda_: trace decay in [0, 1], scalar or broadcastable to ``[T, ...]``.
        clip_rho: bound on the weight of an error; decides which policy's value is learned. May be infinite.
        clip_c: bound on the weight of a trace; decides how fast it is learned. At most ``clip_rho``.
        clip_pg_rho: bound on the weight of the advantage.

    Returns:
        ``(value_target [T, ...], advantage [T, ...])``.

    Source: Espeholt et al. 2018, (1), remark 1 and section 4.2.
    """
    _check((reward, value, next_value, ratio), (terminated, truncated))
    gamma = jnp.asarray(gamma, reward.dtype)
    delta = td_errors(reward, value, next_value, terminated, gamma)
    trace = gamma * _trace(terminated, truncated, lambda_, reward.dtype)
    correction = reverse_linear_recurrence(_at_most(ratio, clip_c) * trace, _at_most(ratio, clip_rho) * delta)
    return value + correction, _at_most(ratio, clip_pg_rho) * (delta + safe_multiply(trace, _following(correction)))


def retrace(
    reward: jax.Array,
    q_taken: jax.Array,
    next_value: jax.Array,
    ratio: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    lambda_: Scalar,
) -> jax.Array:
    """Retrace(lambda) target of action values, off-policy, safe for any behaviour policy.

    ``Q^ret_t = r_t + d_t V'_t + gamma c_t lambda_{t+1} min(1, rho_{t+1}) (Q^ret_{t+1} - Q_{t+1})``

    The weight belongs to the *next* action: action ``t`` is given, only what follows it needs correcting, so
    ``ratio[0]`` and ``lambda_[0]`` are never used.

    Args:
        reward: ``[T, ...]`` float.
        q_taken: ``[T, ...]``, ``Q(s_t, a_t)``.
        next_value: ``[T, ...]``, ``E_{a ~ pi} Q(s, a)`` at the observation before any reset.
        ratio: ``[T, ...]``, ``pi(a_t) / mu(a_t)``, at least 0.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1], scalar.
        lambda_: trace decay in [0, 1], scalar or broadcastable to ``[T, ...]``.

    Returns:
        ``[T, ...]`` targets for ``q_taken``.

    Source: Munos et al. 2016, (3) and (4).
    """
    _check((reward, q_taken, next_value, ratio), (terminated, truncated))
    gamma = jnp.asarray(gamma, reward.dtype)
    weight = jnp.asarray(lambda_, reward.dtype) * _at_most(ratio, 1.0)
    delta = td_errors(reward, q_taken, next_value, terminated, gamma)
    trace = gamma * _trace(terminated, truncated, 1.0, reward.dtype)
    return q_taken + reverse_linear_recurrence(safe_multiply(trace, _following(weight)), delta)


def _trace(terminated: jax.Array, truncated: jax.Array, lambda_: Scalar, dtype) -> jax.Array:
    """``c_t lambda_t``: how much of step t+1 reaches step t; nothing across the end of episode or rollout."""
    return jnp.where(_ends(terminated, truncated), 0, jnp.asarray(lambda_, dtype))


def _ends(terminated: jax.Array, truncated: jax.Array) -> jax.Array:
    """Whether row t is the last of its episode, or of the rollout."""
    return jnp.logical_or(terminated, truncated).at[-1].set(True)


def _following(x: jax.Array) -> jax.Array:
    """``x_{t+1}`` at row t; the last row, which has no successor, is 0."""
    return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])


def _at_most(ratio: jax.Array, bound: Scalar) -> jax.Array:
    """``min(ratio, bound)`` in the dtype of ``ratio``."""
    return jnp.minimum(ratio, jnp.asarray(bound, ratio.dtype))


def _check(values: tuple[jax.Array, ...], flags: tuple[jax.Array, ...]) -> None:
    """One shape ``[T, ...]`` for all. Numbers must be floats: integers would round every discount."""
    chex.assert_equal_shape((*values, *flags))
    chex.assert_type(values, float)
    chex.assert_type(flags, bool)
    if values[0].ndim == 0:
        raise AssertionError("returns need a time axis; reward is a scalar")
