"""How wrong a model may be, and what that costs: one step, many steps, values.

One error measures all: ``eps = max_{s,a} sum_s' |P[s, a, s'] - P_hat[s, a, s']|``, twice the largest total variation of
a step. Where a policy is fixed, its chains ``P_pi`` err by no more.
"""

import jax
import jax.numpy as jnp

Scalar = jax.Array | float


def total_variation(p: jax.Array, q: jax.Array) -> jax.Array:
    """``TV(p; q) = 1/2 sum_x |p[x] - q[x]|`` over the last axis: the largest difference of any event's probability.

    Source: Levin & Peres 2017, "Markov Chains and Mixing Times", proposition 4.2.
    """
    return 0.5 * jnp.sum(jnp.abs(p - q), axis=-1)


def one_step_error(transition: jax.Array, model: jax.Array) -> jax.Array:
    """``eps = max sum_s' |P[..., s'] - P_hat[..., s']|``, ``[]``, in [0, 2]; of ``[S, A, S]`` or ``[S, S]`` each."""
    return 2 * jnp.max(total_variation(transition, model))


def value_error_bound(
    transition_error: Scalar,
    reward_error: Scalar,
    reward_range: Scalar,
    gamma: Scalar,
    horizon: Scalar = jnp.inf,
) -> jax.Array:
    """The simulation lemma: how wrong the value of a policy may be that is computed in the model.

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


def laws_after(transition: jax.Array, start: jax.Array, horizon: int) -> jax.Array:
    """``start P^h`` for ``h = 0 .. H``: where a chain may be after each number of steps.

    Args:
        transition: ``[S, S]``, rows sum to 1.
        start: ``[S]``, sums to 1.
        horizon: H, at least 0, static.

    Returns:
        ``[H + 1, S]``.
    """

    def step(law: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        law = jnp.matmul(law, transition, precision="highest")
        return law, law

    _, laws = jax.lax.scan(step, start, length=horizon)
    return jnp.concatenate([start[None], laws])


def law_error_bound(error: Scalar, horizon: Scalar) -> jax.Array:
    """``TV(start P^H; start P_hat^H) <= H eps / 2``, tight for one step and for many small errors.

    Args:
        error: ``eps`` of the chains, in [0, 2].
        horizon: H, at least 0.

    Source: Janner et al. 2019 (arXiv 1906.08253), appendix B.
    """
    return jnp.minimum(horizon * error / 2, 1.0)


def trajectory_error_bound(error: Scalar, horizon: Scalar) -> jax.Array:
    """``TV <= 1 - (1 - eps/2)^H`` of the laws of all ``(s_0, ..., s_H)``, and so of each state's: coupled step by step,
    the two chains part with probability at most ``eps/2``.

    Args:
        error: ``eps`` of the chains, in [0, 2].
        horizon: H, at least 0.

    Source: Levin & Peres 2017, "Markov Chains and Mixing Times", proposition 4.7.
    """
    return 1 - (1 - jnp.asarray(error) / 2) ** horizon


def disagreement(predictions: jax.Array) -> jax.Array:
    """Variance over the members of an ensemble, ``[M, ...] -> [...]``: 0 where, and only where, all say the same.

    Source: Lakshminarayanan et al. 2017 (arXiv 1612.01474), section 2.4.
    """
    # Relative to the first member, so that rounding of a mean makes nothing of equal numbers.
    return jnp.var(predictions - predictions[:1], axis=0)
