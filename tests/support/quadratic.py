"""Critics that are quadratic and actors that are linear, in which losses have minimisers in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.continuous.critics import Critics
from purerl.data.transitions import NStepTransition
from purerl.envs.lqr import problem

GAMMA = 0.9
KEY = jax.random.key(0)


def features(obs: jax.Array, action: jax.Array) -> jax.Array:
    """Products of all pairs among states and actions, and 1: ``[M, 7]`` of two states and an action."""
    z = jnp.concatenate([obs, action], axis=-1)
    row, column = np.triu_indices(z.shape[-1])
    return jnp.concatenate([z[:, row] * z[:, column], jnp.ones((len(z), 1), z.dtype)], axis=-1)


CRITICS = Critics(None, lambda params, obs, action, key: (params @ features(obs, action).T)[:, :, None, None])  # type: ignore[arg-type]


def newton(loss: Any, x: jax.Array) -> jax.Array:
    """A step of Newton's method, to the minimum of what is quadratic in ``x [K]``."""
    return x - jnp.linalg.solve(jax.hessian(loss)(x), jax.grad(loss)(x))


def evaluated(target: Any, batch: NStepTransition, num_rows: int) -> jax.Array:
    """Coefficients ``[7]`` of the fixed point of a target ``[M]`` that is affine in them.

    Rows ``num_rows`` apart are of one state and action, and are averaged: an exact expectation over what differs in
    them.
    """

    def averaged(params: jax.Array) -> jax.Array:
        return target(params).reshape(-1, num_rows).mean(axis=0)

    nothing = jnp.zeros(7)
    slope, start = jax.jacobian(averaged)(nothing), averaged(nothing)
    return jnp.linalg.lstsq(features(batch.obs, batch.action)[:num_rows] - slope, start)[0]


def steps(num_rows: int, copies: int = 1) -> NStepTransition:
    """Steps without noise from random states and actions, so small that no action is clipped, each some times over."""
    a, b, q, r = problem()
    draw = np.random.default_rng(0)
    x, u = (0.05 * jnp.asarray(draw.uniform(-1, 1, (num_rows, size))) for size in (2, 1))
    reward = -jnp.einsum("mi,ij,mj->m", x, q, x) - jnp.einsum("mi,ij,mj->m", u, r, u)
    whole = NStepTransition(x, u, reward, jnp.full(num_rows, GAMMA), x @ a.T + u @ b.T)
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * copies), whole)
