"""LinUCB: the contextual bandit agent with linear arms."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.bandits.arm_values import one_hot
from purerl.algorithms.bandits.bandit import BanditAgent
from purerl.kernels import exploration
from purerl.ranges import hyper


class LinUCBHypers(struct.PyTreeNode):
    """Hyperparameters of LinUCB."""

    bonus: float = hyper(1.0, low=0)
    """alpha: how many standard deviations above the estimate the bound stands."""
    ridge: float = hyper(1.0, initial=True, above=0)
    """Weight of the penalty on the coefficients."""


class LinearModels(struct.PyTreeNode):
    """A ridge regression for every arm, the statistics of LinUCB."""

    inverse: jax.Array  # [A, D, D] (ridge I + sum x x')^-1
    weighted: jax.Array  # [A, D] sum of r x


def _no_models(hypers: LinUCBHypers, num_arms: int, obs_shape: tuple[int, ...]) -> LinearModels:
    if len(obs_shape) != 1:
        raise ValueError(f"LinUCB needs an observation of one axis, its features, but the shape is {obs_shape}.")
    (num_features,) = obs_shape
    inverse = jnp.broadcast_to(jnp.eye(num_features) / hypers.ridge, (num_arms, num_features, num_features))
    return LinearModels(inverse=inverse, weighted=jnp.zeros((num_arms, num_features)))


def coefficients(models: LinearModels) -> jax.Array:
    """Ridge regression coefficients ``(ridge I + sum x x')^-1 sum r x``, ``[A, D]``."""
    return jnp.einsum("aij,aj->ai", models.inverse, models.weighted)


def _linucb(hypers: LinUCBHypers, models: LinearModels, obs: jax.Array, key: jax.Array) -> jax.Array:
    variance = jnp.einsum("aij,i,j->a", models.inverse, obs, obs)
    return exploration.greedy(coefficients(models) @ obs + hypers.bonus * jnp.sqrt(jnp.maximum(variance, 0)))


def _regress(
    hypers: LinUCBHypers, models: LinearModels, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> LinearModels:
    # Sherman and Morrison: the inverse of a matrix plus x x' without inverting anything anew.
    moved = models.inverse @ obs  # [A, D]
    change = jnp.einsum("ai,aj->aij", moved, moved) / (1 + moved @ obs)[:, None, None]
    pulled = one_hot(action, models.weighted[:, 0])
    return LinearModels(
        inverse=models.inverse - pulled[:, None, None] * change,
        weighted=models.weighted + pulled[:, None] * reward * obs,
    )


linucb = BanditAgent("linucb", _no_models, _linucb, _regress, LinUCBHypers)
"""LinUCB, a contextual bandit: upper confidence bounds on a linear model of each arm's reward in the observation.

Li et al. 2010 (arXiv 1003.0146), algorithm 1.
"""
