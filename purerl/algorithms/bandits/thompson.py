"""Thompson sampling for Gaussian and Bernoulli bandits."""

import jax
from flax import struct

from purerl.algorithms.bandits.arm_values import ArmValues, init_arm_values, sample_average
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper


class GaussianThompsonHypers(struct.PyTreeNode):
    """Hyperparameters of Thompson sampling for normal rewards."""

    prior_mean: float = hyper(0.0)
    """Of an arm's mean."""
    prior_std: float = hyper(1.0, above=0)
    """Of an arm's mean."""
    noise_std: float = hyper(1.0, above=0)
    """Of a reward around it; taken as known."""


def gaussian_posterior(hypers: GaussianThompsonHypers, values: ArmValues) -> tuple[jax.Array, jax.Array]:
    """Gaussian posterior of each arm's mean reward: its mean and standard deviation, ``[A]`` each.

    ``1/s^2 = 1/prior_std^2 + N/noise_std^2``, ``m = s^2 (prior_mean/prior_std^2 + N Q/noise_std^2)``
    """
    prior, seen = hypers.prior_std**-2, values.count * hypers.noise_std**-2
    precision = prior + seen
    return (prior * hypers.prior_mean + seen * values.value) / precision, precision**-0.5


def _gaussian_thompson(hypers: GaussianThompsonHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    mean, std = gaussian_posterior(hypers, values)
    return exploration.greedy(mean + std * jax.random.normal(key, mean.shape, mean.dtype))


gaussian_thompson = BanditAgent(
    "gaussian-thompson", init_arm_values, _gaussian_thompson, sample_average, GaussianThompsonHypers
)
"""Gaussian Thompson sampling: pull an arm as often as it is likely to be the best, rewards being normal.

Thompson 1933.
"""


class BernoulliThompsonHypers(struct.PyTreeNode):
    """Hyperparameters of Thompson sampling for rewards in [0, 1]."""

    prior_successes: float = hyper(1.0, above=0)
    """First parameter of the Beta prior."""
    prior_failures: float = hyper(1.0, above=0)
    """Second parameter of the Beta prior."""


def bernoulli_posterior(hypers: BernoulliThompsonHypers, values: ArmValues) -> tuple[jax.Array, jax.Array]:
    """Beta posterior of each arm's mean reward: its two parameters, prior plus counts, ``[A]`` each."""
    successes = values.count * values.value
    return hypers.prior_successes + successes, hypers.prior_failures + values.count - successes


def _bernoulli_thompson(
    hypers: BernoulliThompsonHypers, values: ArmValues, obs: jax.Array, key: jax.Array
) -> jax.Array:
    return exploration.greedy(jax.random.beta(key, *bernoulli_posterior(hypers, values)))


bernoulli_thompson = BanditAgent(
    "bernoulli-thompson", init_arm_values, _bernoulli_thompson, sample_average, BernoulliThompsonHypers, (0.0, 1.0)
)
"""Bernoulli Thompson sampling: pull an arm as often as it is likely to be the best, rewards being 0 or 1.

One in between counts as so much of a success.

Chapelle and Li 2011, algorithm 2.
"""
