"""KL-UCB: the upper confidence bound bandit agent for Bernoulli arms."""

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import xlogy

from purerl.algorithms.bandits.arm_values import ArmValues, init_arm_values, sample_average
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper
from purerl.types import Scalar

_BISECTIONS = 20  # halve an interval of at most 1 down to float32's last bits


class KLUCBHypers(struct.PyTreeNode):
    """Hyperparameters of KL-UCB."""

    log_log: float = hyper(0.0, low=0)
    """c of the budget ln n + c ln ln n: 3 in the proof of optimality, 0 in practice."""


def bernoulli_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """KL divergence of two Bernoulli distributions, ``[...]``.

    ``KL(p ; q) = p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))``, with ``0 ln 0 = 0``
    """
    return xlogy(p, p) - xlogy(p, q) + xlogy(1 - p, 1 - p) - xlogy(1 - p, 1 - q)


def kl_ucb_index(values: ArmValues, log_log: Scalar) -> jax.Array:
    """KL-UCB index, ``[A]``: ``max {q : N_a KL(Q_a ; q) <= ln n + c ln ln n}``.

    By bisection; infinite for an untried arm.

    Source: Garivier and Cappé 2011 (arXiv 1102.2490), algorithm 1.
    """
    log_pulls = jnp.log(jnp.maximum(jnp.sum(values.count), 1))
    budget = log_pulls + log_log * jnp.log(jnp.maximum(log_pulls, 1))
    mean = jnp.clip(values.value, 0, 1)  # an average of zeros and ones may leave [0, 1] by its rounding

    def halve(_, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        plausible = values.count * bernoulli_kl(mean, middle) <= budget
        return jnp.where(plausible, middle, low), jnp.where(plausible, high, middle)

    low, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (mean, jnp.ones_like(mean)))
    return _untried_first(values, low)


def _kl_ucb(hypers: KLUCBHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exploration.greedy(kl_ucb_index(values, hypers.log_log))


def _untried_first(values: ArmValues, index: jax.Array) -> jax.Array:
    return jnp.where(values.count == 0, jnp.inf, index)


kl_ucb = BanditAgent("kl-ucb", init_arm_values, _kl_ucb, sample_average, KLUCBHypers, (0.0, 1.0))
"""KL-UCB: upper confidence bounds that fit Bernoulli arms, rewards in [0, 1].

Its regret is asymptotically the least there can be. Garivier and Cappé 2011 (arXiv 1102.2490).
"""
