"""Epsilon-greedy, greedy and optimistic bandit agents."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.bandits.arm_values import ArmValues, init_arm_values, move_towards
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper


class EpsilonGreedyHypers(struct.PyTreeNode):
    """Hyperparameters of epsilon-greedy, greedy (epsilon 0) and optimistic (a high initial value) agents."""

    epsilon: float = hyper(0.1, low=0, high=1)
    """Share of uniformly drawn arms at the first pull."""
    epsilon_decay: float = hyper(0.0, low=0)
    """Exponent e of epsilon / t^e at pull t: 0 stays, 1 is greedy in the limit with infinite exploration."""
    step_size: float = hyper(1.0, above=0, high=1)
    """Step size of an arm's first pull."""
    step_decay: float = hyper(1.0, low=0)
    """Exponent e of step_size / N^e at an arm's pull N: 1 averages, 0 follows arms that change."""
    initial_value: float = hyper(0.0, initial=True)
    """Value of an arm before it is pulled. An average forgets it at once, a constant step slowly."""


def _initial_values(hypers: EpsilonGreedyHypers, num_arms: int, obs_shape: tuple[int, ...]) -> ArmValues:
    nothing = init_arm_values(hypers, num_arms, obs_shape)
    return nothing.replace(value=nothing.value + hypers.initial_value)


def _epsilon_greedy(hypers: EpsilonGreedyHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    pull = 1 + jnp.sum(values.count)
    return exploration.epsilon_greedy(values.value, exploration.power_decay(hypers.epsilon, pull, hypers.epsilon_decay))


def _step(
    hypers: EpsilonGreedyHypers, values: ArmValues, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> ArmValues:
    return move_towards(values, action, reward, hypers.step_size, hypers.step_decay)


epsilon_greedy = BanditAgent("epsilon-greedy", _initial_values, _epsilon_greedy, _step, EpsilonGreedyHypers)
"""Epsilon-greedy bandit: the arm of the highest estimate, and now and then any.

Sutton & Barto 2018, sections 2.2 to 2.6.
"""
