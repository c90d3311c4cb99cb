"""Linear dynamics and quadratic costs, the one problem of continuous control whose optimum is known in closed form.

    x' = A x + B u + noise,   reward = -(x'Q x + u'R u),   discount gamma

The value of the optimal policy ``u = -K x`` is ``-x'P x - c``. Axis letters of this file: D state, A action.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.types import Scalar


class LinearQuadratic(NamedTuple):
    """A linear-quadratic problem."""

    a: jax.Array  # [D, D]
    b: jax.Array  # [D, A]
    q: jax.Array  # [D, D] symmetric, positive semidefinite
    r: jax.Array  # [A, A] symmetric, positive definite


class Solution(NamedTuple):
    """What is optimal."""

    value: jax.Array  # P [D, D]: V(x) = -x'P x - c
    gain: jax.Array  # K [A, D]: u = -K x
    curvature: jax.Array  # M [A, A]: Q(x, u) = V(x) - (u + K x)'M (u + K x)


def riccati(problem: LinearQuadratic, gamma: Scalar, num_iterations: int = 1000) -> Solution:
    """Riccati iteration: value iteration where values are quadratic.

    ``M = R + gamma B'P B``, ``K = gamma M^-1 B'P A``, ``P <- Q + gamma A'P (A - B K)``

    Args:
        problem: stabilisable at ``sqrt(gamma) A``, ``sqrt(gamma) B``.
        gamma: discount, in [0, 1].
        num_iterations: static.

    Source: Bertsekas 2017, section 3.1; with a discount, Anderson & Moore 1990, section 3.5.
    """
    a, b, q, r = problem

    def solved(value: jax.Array) -> Solution:
        curvature = r + gamma * b.T @ value @ b
        return Solution(value, gamma * jnp.linalg.solve(curvature, b.T @ value @ a), curvature)

    def step(_: int, value: jax.Array) -> jax.Array:
        value = q + gamma * a.T @ value @ (a - b @ solved(value).gain)
        return (value + value.T) / 2

    return solved(jax.lax.fori_loop(0, num_iterations, step, q))


def soft_covariance(curvature: jax.Array, temperature: Scalar) -> jax.Array:
    """Covariance of the optimal policy of maximum entropy: ``alpha/2 M^-1``; its mean is ``-K x`` at any temperature.

    Since ``pi(u) ~ exp(Q(x, u) / alpha)`` and Q is quadratic in u with the curvature M.

    Args:
        curvature: M ``[A, A]``.
        temperature: alpha, in units of the reward, at least 0.

    Source: Haarnoja et al. 2018, (4), for quadratic values.
    """
    return temperature / 2 * jnp.linalg.inv(curvature)


def soft_temperature(curvature: jax.Array, entropy: Scalar) -> jax.Array:
    """Temperature at which the optimal policy has a given entropy, where learning the temperature comes to rest.

    ``alpha = 2 (det M)^(1/A) exp(2 H / A) / (2 pi e)``, from ``H = 1/2 log det(2 pi e alpha/2 M^-1)``

    Args:
        curvature: M ``[A, A]``.
        entropy: H, in nats.

    Source: Haarnoja et al. 2018b (arXiv 1812.05905), (17), for the normal distribution.
    """
    size = curvature.shape[0]
    _, log_det = jnp.linalg.slogdet(curvature)
    return 2 * jnp.exp((log_det + 2 * entropy) / size) / (2 * jnp.pi * jnp.e)
