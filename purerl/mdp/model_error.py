"""Errors of learnt models and their consequences: one step, compounding over many steps, values.

One error measures all: ``eps = max_{s,a} sum_s' |P[s, a, s'] - P_hat[s, a, s']|``, twice the largest total variation of
a step. Where a policy is fixed, its chains ``P_pi`` err by no more.
"""

import jax
import jax.numpy as jnp

from purerl.types import Scalar


def total_variation(p: jax.Array, q: jax.Array) -> jax.Array:
    """Total variation ``TV(p; q) = 1/2 sum_x |p[x] - q[x]|`` over the last axis: the largest difference of any event.

    Source: Levin & Peres 2017, "Markov Chains and Mixing Times", proposition 4.2.
    """
    return 0.5 * jnp.sum(jnp.abs(p - q), axis=-1)


def one_step_error(transition: jax.Array, model: jax.Array) -> jax.Array:
    (
        """One-step model error ``eps = max sum_s' |P[..., s'] - P_hat[..., s']|``, ``[]``, in [0, 2].

    Args:
        transition: ``[S, A, S]`` or ``[S, S]``.
        model: likewise.
    """
        ""
    )
    return 2 * jnp.max(total_variation(transition, model))


def value_error_bound(
    transition_error: Scalar,
    reward_error: Scalar,
    reward_range: Scalar,
    gamma: Scalar,
    horizon: Scalar = jnp.inf,
) -> jax.Array:
    """Simulation lemma: error bound of a policy's value that is computed in the model.

    ``max_s |V[s] - V_hat[s]| <= (1 - gamma^H) / (1 - gamma) (eps_R + gamma eps/2 range / (1 - gamma))``

    ``V_hat`` takes H steps in the model and then has the true value; for ever, it is the model's own value. Shorter
    rollouts trust the model less.

    Args:
        transition_error: ``eps``, of :func:`one_step_error`, in [0, 2].
        reward_error: ``eps_R = max_{s,a} |R[s, a] - R_hat[s, a]|``, at least 0.
        reward_range: largest minus smallest reward of the world, at least 0.
        gamma: discount, in [0, 1).
        horizon: H, at least 0; infinite for the model's own value.

    Returns:
        ``[]``.

    Source: Kearns & Singh 2002, "Near-optimal reinforcement learning in polynomial time", lemma 4, of the model's own
    value.
    """
    steps = (1 - gamma**horizon) / (1 - gamma)
    return steps * (reward_error + gamma * transition_error / 2 * reward_range / (1 - gamma))


def distributions_after(transition: jax.Array, start: jax.Array, horizon: int) -> jax.Array:
    """State distributions of a Markov chain, ``start P^h`` for ``h = 0 .. H``.

    Args:
        transition: ``[S, S]``, rows sum to 1.
        start: ``[S]``, sums to 1.
        horizon: H, at least 0, static.

    Returns:
        ``[H + 1, S]``.
    """

    def step(distribution: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        distribution = jnp.matmul(distribution, transition, precision="highest")
        return distribution, distribution

    _, distributions = jax.lax.scan(step, start, length=horizon)
    return jnp.concatenate([start[None], distributions])


def distribution_error_bound(error: Scalar, horizon: Scalar) -> jax.Array:
    """Error bound of state distributions: ``TV(start P^H; start P_hat^H) <= H eps / 2``.

    Tight for one step and for many small errors.

    Args:
        error: ``eps`` of the chains, in [0, 2].
        horizon: H, at least 0.

    Source: Janner et al. 2019 (arXiv 1906.08253), appendix B.
    """
    return jnp.minimum(horizon * error / 2, 1.0)


def trajectory_error_bound(error: Scalar, horizon: Scalar) -> jax.Array:
    """Error bound of trajectory distributions: ``TV <= 1 - (1 - eps/2)^H`` of all ``(s_0, ..., s_H)``.

    The same holds for each state. Coupled step by step, the two chains part with probability at most ``eps/2``.

    Args:
        error: ``eps`` of the chains, in [0, 2].
        horizon: H, at least 0.

    Source: Levin & Peres 2017, "Markov Chains and Mixing Times", proposition 4.7.
    """
    return 1 - (1 - jnp.asarray(error) / 2) ** horizon


def disagreement(predictions: jax.Array) -> jax.Array:
    """Ensemble disagreement: variance over the members, ``[M, ...] -> [...]``; 0 only where all are equal.

    Source: Lakshminarayanan et al. 2017 (arXiv 1612.01474), section 2.4.
    """
    # Relative to the first member, so that rounding of a mean makes nothing of equal numbers.
    return jnp.var(predictions - predictions[:1], axis=0)
