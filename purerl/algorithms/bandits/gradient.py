"""Gradient bandit: softmax preferences by stochastic gradient ascent."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.bandits.arm_values import one_hot
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.ranges import hyper


class GradientHypers(struct.PyTreeNode):
    """Hyperparameters of the gradient bandit."""

    step_size: float = hyper(0.1, above=0)
    """Length of a step along the gradient."""
    baseline: float = hyper(1.0, low=0, high=1)
    """Share of the mean reward that a reward is compared to: 1 or 0."""


class Preferences(struct.PyTreeNode):
    """Preferences (logits) of the gradient bandit, and the mean reward."""

    preference: jax.Array  # [A] logits of its policy
    mean_reward: jax.Array  # [] over all pulls so far
    count: jax.Array  # [] pulls


def _no_preferences(hypers: GradientHypers, num_arms: int, obs_shape: tuple[int, ...]) -> Preferences:
    return Preferences(preference=jnp.zeros(num_arms), mean_reward=jnp.zeros(()), count=jnp.zeros(()))


def _softmax(hypers: GradientHypers, statistics: Preferences, obs: jax.Array, key: jax.Array) -> jax.Array:
    return jax.nn.softmax(statistics.preference)


def _ascend(
    hypers: GradientHypers, statistics: Preferences, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> Preferences:
    # The mean leaves out the present reward, so that it depends on no present choice, and the step has no bias.
    baseline = hypers.baseline * jnp.where(statistics.count > 0, statistics.mean_reward, reward)
    score = one_hot(action, statistics.preference) - jax.nn.softmax(statistics.preference)
    count = statistics.count + 1
    return Preferences(
        preference=statistics.preference + hypers.step_size * (reward - baseline) * score,
        mean_reward=statistics.mean_reward + (reward - statistics.mean_reward) / count,
        count=count,
    )


gradient = BanditAgent("gradient-bandit", _no_preferences, _softmax, _ascend, GradientHypers)
"""Gradient bandit: stochastic gradient ascent, ``H_a += alpha (r - baseline) (1[a pulled] - pi_a)``.

Source: Sutton & Barto 2018, (2.12).
"""
