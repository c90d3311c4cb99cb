"""UCB1: the upper confidence bound bandit agent."""

import math

import jax
from flax import struct

from purerl.algorithms.bandits.arm_values import ArmValues, init_arm_values, sample_average
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper


class UCB1Hypers(struct.PyTreeNode):
    """Hyperparameters of UCB1."""

    bonus: float = hyper(math.sqrt(2), low=0)
    """c, in units of reward; sqrt(2) is what the regret bound for rewards in [0, 1] is proved with."""


def _ucb1(hypers: UCB1Hypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exploration.greedy(exploration.upper_confidence(values.value, values.count, hypers.bonus))


ucb1 = BanditAgent("ucb1", init_arm_values, _ucb1, sample_average, UCB1Hypers)
"""UCB1, upper confidence bounds: optimism in the face of uncertainty.

Regret below ``8 ln n sum 1/gap + (1 + pi^2/3) sum gap`` after n pulls. Auer et al. 2002, theorem 1.
"""
