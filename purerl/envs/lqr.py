"""A linear-quadratic regulator: continuous control with an answer, see :mod:`purerl.kernels.linear_quadratic`."""

import jax
import jax.numpy as jnp

from purerl.envs.base import Environment
from purerl.envs.wrappers import time_limit
from purerl.kernels.linear_quadratic import LinearQuadratic
from purerl.spaces import Box


def problem() -> LinearQuadratic:
    """The problem of :func:`lqr`: a mass that is pushed, at a time step of 0.2 and with a little friction."""
    a = jnp.array([[1.0, 0.2], [0.0, 0.95]])
    return LinearQuadratic(a=a, b=jnp.array([[0.0], [0.2]]), q=jnp.diag(jnp.array([1.0, 0.1])), r=jnp.array([[0.1]]))


def lqr(max_steps: int = 50, noise: float = 0.05, largest_action: float = 5.0) -> Environment:
    """Bring a mass to rest at the origin by pushing it: ``x' = A x + B u + noise z``, reward ``-(x'Q x + u'R u)``.

    Episodes start at positions and speeds in [-1, 1] and are truncated after ``max_steps`` steps; nothing terminates.
    The optimal policy for a discount is ``u = -K x`` of :func:`purerl.kernels.linear_quadratic.riccati`, as long as
    that lies within the bounds of the action, which for the default discounts and starts it does.

    Args:
        max_steps: at least 1.
        noise: deviation of what disturbs each state, at least 0.
        largest_action: bound on ``|u|``, above 0.

    Raises:
        ValueError: if ``max_steps < 1``.
    """
    a, b, q, r = problem()
    size, num_actions = b.shape

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
        return x, x

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        reward = -(state @ q @ state + action @ r @ action)
        state = a @ state + b @ action + noise * jax.random.normal(key, (size,))
        return state, state, reward, jnp.array(False), jnp.array(False), {}

    space = Box(-largest_action, largest_action, (num_actions,))
    return time_limit(Environment("lqr", reset, step, Box(-jnp.inf, jnp.inf, (size,)), space), max_steps)
