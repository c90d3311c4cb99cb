"""EXP3: exponential weights for adversarial bandits."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.bandits.arm_values import one_hot
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper
from purerl.types import Scalar


class EXP3Hypers(struct.PyTreeNode):
    """Hyperparameters of EXP3."""

    exploration: float = hyper(0.1, above=0, high=1)
    """gamma: share of uniformly drawn arms, and the learning rate."""


class RewardSums(struct.PyTreeNode):
    """Importance-weighted sums of rewards, the statistics of EXP3."""

    total: jax.Array  # [A] unbiased estimate of the sum of rewards that an arm would have had


def _no_sums(hypers: EXP3Hypers, num_arms: int, obs_shape: tuple[int, ...]) -> RewardSums:
    return RewardSums(total=jnp.zeros(num_arms))


def exp3_policy(total: jax.Array, gamma: Scalar) -> jax.Array:
    """EXP3 policy, exponential weights, ``[A]``.

    ``pi = (1 - gamma) softmax(gamma G / A) + gamma / A`` of estimated totals ``G [A]``
    """
    num_arms = total.shape[-1]
    return (1 - gamma) * exploration.boltzmann(total, num_arms / gamma) + gamma / num_arms


def _exp3(hypers: EXP3Hypers, statistics: RewardSums, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exp3_policy(statistics.total, hypers.exploration)


def _reweigh(
    hypers: EXP3Hypers, statistics: RewardSums, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> RewardSums:
    pulled = one_hot(action, statistics.total)
    return RewardSums(total=statistics.total + pulled * reward / exp3_policy(statistics.total, hypers.exploration))


exp3 = BanditAgent("exp3", _no_sums, _exp3, _reweigh, EXP3Hypers, (0.0, 1.0))
"""EXP3: exponential weights for rewards in [0, 1] that an adversary may choose.

Its regret to the best arm, whose rewards sum to G, is at most ``(e - 1) gamma G + A ln A / gamma``.
Auer et al. 2002, The nonstochastic multiarmed bandit problem.
"""
