"""Partially observable Markov decision processes (POMDPs) and their belief states. Axis letter O: observations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.kernels.numerics import safe_divide
from purerl.mdp import checks
from purerl.mdp.processes import MDP


class POMDP(struct.PyTreeNode):
    """A partially observable MDP (POMDP): after each step an observation depends on the hidden state it led to."""

    mdp: MDP
    observation: jax.Array  # [S, A, O] probability of o when a has led to s; rows sum to 1


def make_pomdp(mdp: MDP, observation: Any) -> POMDP:
    """Build and check a partially observable MDP (:class:`POMDP`).

    Args:
        mdp: the hidden process, from :func:`make`.
        observation: ``[S, A, O]``, the distribution of the observation once ``a`` has led to ``s``; ``[S, 1, O]``
            where the action does not matter. Each row sums to 1 within 1e-5.

    Returns:
        The process. Nothing is seen before the first step: the first belief is ``mdp.start``.

    Raises:
        ValueError: naming the first row that is wrong.
    """
    num_states, num_actions, _ = mdp.transition.shape
    observation = np.asarray(observation, np.float64)
    if observation.ndim != 3 or len(observation) != num_states or observation.shape[1] not in (1, num_actions):
        raise ValueError(
            f"observation has the shape {observation.shape}; it must be [S, A, O] = ({num_states}, {num_actions}, O)."
        )
    observation = checks.rows("observation", observation, ignored=np.zeros(num_states, bool))
    full = np.broadcast_to(observation, (num_states, num_actions, observation.shape[2]))
    return POMDP(mdp, jnp.asarray(full, float))


def belief_update(
    pomdp: POMDP, belief: jax.Array, action: jax.Array, observation: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """POMDP belief update after one more action and observation, by Bayes' rule.

    ``b'[s'] = O[s', a, o] sum_s P[s, a, s'] b[s] / Pr(o | b, a)``

    Args:
        pomdp: the process.
        belief: ``[S]``, sums to 1.
        action: ``[]`` int.
        observation: ``[]`` int.

    Returns:
        ``(belief [S], probability [])``, the second being ``Pr(o | b, a)``. Where it is 0 the observation says nothing
        about the model's states, and the belief is the prediction alone.

    Source: Kaelbling, Littman & Cassandra 1998, section 3.3.
    """
    predicted = belief @ pomdp.mdp.transition[:, action]
    joint = pomdp.observation[:, action, observation] * predicted
    probability = joint.sum()
    return jnp.where(probability > 0, safe_divide(joint, probability), predicted), probability


def observation_distribution(pomdp: POMDP, belief: jax.Array, action: jax.Array) -> jax.Array:
    """Distribution of the next observation under a belief, ``[O]``.

    ``Pr(o | b, a) = sum_s' O[s', a, o] sum_s P[s, a, s'] b[s]``

    Source: Kaelbling, Littman & Cassandra 1998, section 3.3.
    """
    return belief @ pomdp.mdp.transition[:, action] @ pomdp.observation[:, action]
