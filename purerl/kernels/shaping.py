"""Reward shaping that keeps the optimum."""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def potential_shaping(
    potential: jax.Array, next_potential: jax.Array, terminated: jax.Array, gamma: Scalar
) -> jax.Array:
    """Potential-based shaping, to be added to the reward: ``F_t = gamma (1 - terminated_t) Phi(s_{t+1}) - Phi(s_t)``.

    Of all functions of a transition only this form leaves the optimal policies of every process what they were; the
    action values fall by ``Phi(s)``. An arbitrary bonus, let alone a learned one, can make another policy optimal.

    Args:
        potential: ``[...]``, Phi of the state acted upon, any function of it.
        next_potential: ``[...]``, Phi of the state that followed, before any reset.
        terminated: ``[...]`` bool; the potential of the end is 0.
        gamma: discount in [0, 1], scalar, that of the return.

    Returns:
        ``[...]``.

    Source: Ng, Harada & Russell 1999, theorem 1.
    """
    chex.assert_equal_shape((potential, next_potential, terminated))
    chex.assert_type(terminated, bool)
    return jnp.asarray(gamma, potential.dtype) * jnp.where(terminated, 0, next_potential) - potential
