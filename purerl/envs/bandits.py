"""Multi-armed bandits: environments in which a choice changes nothing but the reward.

Every one of them is linear: arm ``a`` in context ``x`` has the mean reward ``theta_a . x``. The plain bandit has the
one context ``x = 1``, so that its ``theta`` are the arms' means. A reset draws a new problem, and no episode ends:
what is learned about a problem is worth as much as there are pulls left.

``info`` holds what only the problem knows: ``regret``, by how much the best arm's mean exceeds that of the arm pulled,
and ``optimal``, whether it was a best arm.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.envs.base import Environment
from purerl.spaces import Box, Discrete


class Problem(struct.PyTreeNode):
    """A bandit as it stands."""

    theta: jax.Array  # [A, D] mean reward of an arm per unit of a feature
    context: jax.Array  # [D] features of the moment

    @property
    def means(self) -> jax.Array:
        """Mean reward of each arm now, ``[A]``."""
        return jnp.sum(self.theta * self.context, axis=-1)


def gaussian(
    num_arms: int = 10,
    *,
    means: Sequence[float] | None = None,
    mean: float = 0.0,
    spread: float = 1.0,
    noise: float = 1.0,
) -> Environment:
    """Rewards ``N(mean_a, noise^2)``, and unless given ``mean_a ~ N(mean, spread^2)``: the 10-armed testbed.

    The best of ten standard normal means is 1.5388 on average.

    Args:
        num_arms: A; not used where means are given.
        means: ``[A]``, the same after every reset; None: drawn by each.
        mean: what means are drawn around.
        spread: standard deviation of the means.
        noise: standard deviation of a reward.

    Source: Sutton & Barto 2018, section 2.3.
    """

    def draw(key: jax.Array) -> jax.Array:
        return mean + spread * jax.random.normal(key, (num_arms, 1))

    return _bandit("bandit/gaussian", _fixed(means) or draw, partial(_gaussian, noise))


def bernoulli(num_arms: int = 10, *, means: Sequence[float] | None = None) -> Environment:
    """Rewards 1 with probability ``mean_a``, else 0, and unless given ``mean_a`` uniform in [0, 1).

    Args:
        num_arms: A; not used where means are given.
        means: ``[A]`` in [0, 1], the same after every reset; None: drawn by each.

    Raises:
        ValueError: if a mean is not in [0, 1].
    """
    if means is not None and not all(0 <= mean <= 1 for mean in means):
        raise ValueError(f"bernoulli: means = {tuple(means)} are probabilities; each must be in [0, 1].")

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (num_arms, 1))

    def pull(key: jax.Array, mean: jax.Array) -> jax.Array:
        return (jax.random.uniform(key) < mean).astype(mean.dtype)

    return _bandit("bandit/bernoulli", _fixed(means) or draw, pull)


def random_walk(num_arms: int = 10, *, drift: float = 0.01, noise: float = 1.0) -> Environment:
    """Rewards ``N(mean_a, noise^2)`` whose means begin at 0 and take a step ``N(0, drift^2)`` after every pull.

    Args:
        num_arms: A.
        drift: standard deviation of a mean's step.
        noise: standard deviation of a reward.

    Source: Sutton & Barto 2018, exercise 2.5.
    """

    def move(key: jax.Array, theta: jax.Array) -> jax.Array:
        return theta + drift * jax.random.normal(key, theta.shape)

    return _bandit("bandit/random-walk", lambda key: jnp.zeros((num_arms, 1)), partial(_gaussian, noise), move=move)


def linear(num_arms: int = 10, num_features: int = 5, *, noise: float = 0.1) -> Environment:
    """Rewards ``N(theta_a . x, noise^2)``, with ``theta_a`` drawn by a reset and ``x`` by every pull, on the sphere.

    Args:
        num_arms: A.
        num_features: D.
        noise: standard deviation of a reward.

    Source: the model of Li et al. 2010 (arXiv 1003.0146), (2).
    """

    def draw(key: jax.Array) -> jax.Array:
        return jax.vmap(partial(_unit, num_features))(jax.random.split(key, num_arms))

    return _bandit("bandit/linear", draw, partial(_gaussian, noise), context=partial(_unit, num_features))


def _bandit(
    name: str,
    draw: Callable[[jax.Array], jax.Array],
    pull: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    context: Callable[[jax.Array], jax.Array] = lambda key: jnp.ones(1),
    move: Callable[[jax.Array, jax.Array], jax.Array] = lambda key, theta: theta,
) -> Environment:
    """The environment of a bandit.

    Args:
        name: of the environment.
        draw: ``key -> theta [A, D]``, a new problem.
        pull: ``(key, mean []) -> reward []``.
        context: ``key -> [D]``, the features of the next pull.
        move: ``(key, theta) -> theta``, what a pull does to the problem.
    """

    def reset(key: jax.Array) -> tuple[jax.Array, Problem]:
        problem_key, context_key = jax.random.split(key)
        problem = Problem(theta=draw(problem_key), context=context(context_key))
        return problem.context, problem

    def step(key: jax.Array, problem: Problem, action: jax.Array):
        pull_key, move_key, context_key = jax.random.split(key, 3)
        means = problem.means
        mean = jnp.sum(jnp.where(jnp.arange(num_arms) == action, means, 0))  # under vmap far faster than indexing
        best = jnp.max(means)
        info = {"regret": best - mean, "optimal": mean == best}
        problem = Problem(theta=move(move_key, problem.theta), context=context(context_key))
        return problem.context, problem, pull(pull_key, mean), jnp.array(False), jnp.array(False), info

    num_arms, num_features = jax.eval_shape(draw, jax.random.key(0)).shape
    return Environment(name, reset, step, Box(-np.inf, np.inf, (num_features,)), Discrete(num_arms))


def _fixed(means: Sequence[float] | None) -> Callable[[jax.Array], jax.Array] | None:
    """A draw that always gives the same means."""
    return None if means is None else lambda key: jnp.asarray(means, jnp.result_type(float))[:, None]


def _gaussian(noise: float, key: jax.Array, mean: jax.Array) -> jax.Array:
    return mean + noise * jax.random.normal(key, dtype=mean.dtype)


def _unit(num_features: int, key: jax.Array) -> jax.Array:
    """A direction, ``[D]``, all as likely."""
    direction = jax.random.normal(key, (num_features,))
    return direction / jnp.linalg.norm(direction)
