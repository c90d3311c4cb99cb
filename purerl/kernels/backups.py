"""Backup targets of control by action values: from all sampled to all expected, over any number of steps.

The conventions are those of :mod:`purerl.kernels.returns`: time-major arrays, ``terminated`` stops bootstrapping,
``terminated | truncated`` stops traces, and ``next_*`` belongs to the observation a step led to, before any reset. The
last row is the end of the recursion. In the equations ``d_t = gamma (1 - terminated_t)``, and a prime is
what belongs to step ``t + 1``: action value ``Q'`` and probability ``pi'`` of the action taken there, and
``V' = sum_a pi(a) Q(s', a)``.
"""

import jax
import jax.numpy as jnp

from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.types import Scalar


def q_sigma_returns(
    reward: jax.Array,
    next_taken: jax.Array,
    next_value: jax.Array,
    next_probability: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: Scalar,
    sigma: Scalar,
) -> jax.Array:
    """Q(sigma) target: between sampling the next action (n-step SARSA) and averaging over all (tree backup).

    ``G_t = r_t + d_t (sigma G_{t+1} + (1 - sigma) (V' + pi' (G_{t+1} - Q')))``, with ``G_T = Q'`` of the last row

    Sigma is the share of sampling. Where the episode was truncated no action was taken, so that step averages:
    ``G_t = r_t + gamma V'``. Sigma 1 gives the targets of n-step SARSA, sigma 0 those of tree backup, and of Expected
    SARSA in the last row.

    Args:
        reward: ``[T, ...]`` float.
        next_taken: ``[T, ...]``, ``Q'``; of no effect where an episode ended.
        next_value: ``[T, ...]``, ``V'``.
        next_probability: ``[T, ...]``, ``pi'``, under the target policy; of no effect where an episode ended.
        terminated: ``[T, ...]`` bool.
        truncated: ``[T, ...]`` bool.
        gamma: discount in [0, 1].
        sigma: share of sampling in [0, 1], broadcasts to ``[T, ...]``.

    Returns:
        ``[T, ...]`` targets.

    Source: De Asis et al. 2018 (arXiv 1703.01327), section 4; Sutton & Barto 2018, (7.4) and (7.16).
    """
    discount = jnp.where(terminated, 0.0, jnp.asarray(gamma, reward.dtype))
    ended = terminated | truncated
    averaged = (1 - sigma) * (next_value - next_probability * next_taken)
    coefficient = jnp.where(ended, 0.0, discount * (sigma + (1 - sigma) * next_probability))
    offset = reward + discount * jnp.where(ended, next_value, averaged)
    return reverse_linear_recurrence(coefficient, offset, next_taken[-1])


def sampling_ratios(next_ratio: jax.Array, ended: jax.Array) -> jax.Array:
    """Importance sampling ratio of the actions after step t, for off-policy n-step targets.

    ``w_t = prod_{k >= t} rho_{k+1}`` to the last row, or to where the episode ended. The action of step t is given.

    Args:
        next_ratio: ``[T, ...]``, ``rho = pi / b`` of the action taken after each step; of no effect where it ended.
        ended: ``[T, ...]`` bool, ``terminated | truncated``.

    Returns:
        ``[T, ...]`` weights of the errors of sampled targets.

    Source: Sutton & Barto 2018, (7.10) and (7.11).
    """
    return reverse_linear_recurrence(jnp.where(ended, 0.0, next_ratio), ended.astype(next_ratio.dtype), 1.0)
