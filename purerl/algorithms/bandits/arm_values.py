"""Sample means of the arms of a bandit: the statistics that most agents keep."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.kernels import exploration
from purerl.types import PyTree, Scalar


class ArmValues(struct.PyTreeNode):
    """Sample means and pulls of the arms: the statistics of most agents."""

    value: jax.Array  # [A] estimate of the mean reward
    count: jax.Array  # [A] pulls


def init_arm_values(hypers: PyTree, num_arms: int, obs_shape: tuple[int, ...]) -> ArmValues:
    """``BanditAgent.init`` without a guess: every arm at 0, never pulled."""
    return ArmValues(value=jnp.zeros(num_arms), count=jnp.zeros(num_arms))


def move_towards(values: ArmValues, action: jax.Array, reward: jax.Array, step: Scalar, decay: Scalar) -> ArmValues:
    """Incremental mean or constant step: ``Q_a += step N_a^-decay (r - Q_a)`` of the arm pulled, after ``N_a += 1``.

    Step 1 and decay 1 make ``Q_a`` the mean of the arm's rewards. Decay 0 weighs a reward that came ``i`` pulls before
    the last by ``step (1 - step)^i``, and what ``Q_a`` was at the beginning by ``(1 - step)^N``.

    Args:
        values: so far.
        action: ``[]``, the arm pulled.
        reward: ``[]``, the reward.
        step: step size of an arm's first pull, in (0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, (2.3) and (2.5).
    """
    pulled = one_hot(action, values.value)
    count = values.count + pulled
    size = exploration.power_decay(step, jnp.maximum(count, 1), decay)
    return ArmValues(value=values.value + pulled * size * (reward - values.value), count=count)


def sample_average(
    hypers: PyTree, values: ArmValues, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> ArmValues:
    """``BanditAgent.learn`` of sample averages."""
    return move_towards(values, action, reward, 1.0, 1.0)


def one_hot(action: jax.Array, like: jax.Array) -> jax.Array:
    """One-hot vector of an arm, ``[A]``: under ``vmap`` far faster than writing at an index."""
    return (jnp.arange(like.shape[0]) == action).astype(like.dtype)
