"""Tabular models of an environment, learnt from experience: last outcomes, or averages.

Axis letters: S states, A actions. An outcome is the number of the next state, or S for the end of the episode.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct


class LastSeen(struct.PyTreeNode):
    """Deterministic model: what each pair did last. Exact without randomness, and quick to follow changes."""

    reward: jax.Array  # [S, A]
    outcome: jax.Array  # [S, A] int


class Averages(struct.PyTreeNode):
    """Maximum likelihood model: what each pair did on average, for stochastic environments that do not change."""

    reward: jax.Array  # [S, A] mean
    transition: jax.Array  # [S, A, S + 1] share of each outcome
    count: jax.Array  # [S, A]


class DynaTransition(NamedTuple):
    """One real step, as the model is told of it."""

    obs: jax.Array  # [] int
    action: jax.Array  # [] int
    reward: jax.Array  # []
    outcome: jax.Array  # [] int, the next state or S


class TabularModel(NamedTuple):
    """A tabular model, as pure functions of its arrays, whose leaves begin with the axes ``[S, A]``.

    A pair that was never tried leads back to its state with reward 0.

    Attributes:
        init: ``(num_states, num_actions) -> model``.
        observe: ``(model, transition) -> model``.
        next_value: ``(model [...], q [S, A]) -> [...]``, of some pairs or all: the value of the best next action.
        probabilities: ``(model) -> [S, A, S + 1]``, of each outcome.
    """

    init: Callable
    observe: Callable
    next_value: Callable
    probabilities: Callable


def _init_last_seen(num_states: int, num_actions: int) -> LastSeen:
    itself = jnp.arange(num_states, dtype=jnp.int32)[:, None]
    return LastSeen(
        reward=jnp.zeros((num_states, num_actions)),
        outcome=jnp.broadcast_to(itself, (num_states, num_actions)),
    )


def _overwrite(model: LastSeen, transition: DynaTransition) -> LastSeen:
    at = transition.obs, transition.action
    return LastSeen(
        reward=model.reward.at[at].set(transition.reward), outcome=model.outcome.at[at].set(transition.outcome)
    )


def _last_seen_probabilities(model: LastSeen) -> jax.Array:
    return jax.nn.one_hot(model.outcome, model.outcome.shape[0] + 1, dtype=model.reward.dtype)


def _init_averages(num_states: int, num_actions: int) -> Averages:
    nothing = jnp.zeros((num_states, num_actions))
    return Averages(
        reward=nothing, transition=_last_seen_probabilities(_init_last_seen(num_states, num_actions)), count=nothing
    )


def _average(model: Averages, transition: DynaTransition) -> Averages:
    """Exact means, ``x += (new - x) / N`` of the pair's reward and transition; the first forgets the initial guess."""
    at = transition.obs, transition.action
    count = model.count[at] + 1
    reward, probability = model.reward[at], model.transition[at]
    seen = jax.nn.one_hot(transition.outcome, probability.shape[-1], dtype=probability.dtype)
    return Averages(
        reward=model.reward.at[at].set(reward + (transition.reward - reward) / count),
        transition=model.transition.at[at].set(probability + (seen - probability) / count),
        count=model.count.at[at].set(count),
    )


def _mean_next_value(model: Averages, q: jax.Array) -> jax.Array:
    return jnp.matmul(model.transition[..., :-1], jnp.max(q, axis=-1), precision="highest")


def best_value(q: jax.Array, outcome: jax.Array) -> jax.Array:
    """Value of the best next action, ``max_a Q(s', a)`` of outcomes ``[...]``; 0 at the end, which Q has no row of."""
    if outcome.ndim:  # of all pairs: each state's best is found once
        return jnp.max(q, axis=-1).at[outcome].get(mode="fill", fill_value=0.0)
    return jnp.max(q.at[outcome].get(mode="fill", fill_value=0.0), axis=-1)


MODELS: dict[str, TabularModel] = {
    "last": TabularModel(
        _init_last_seen, _overwrite, lambda model, q: best_value(q, model.outcome), _last_seen_probabilities
    ),
    "counts": TabularModel(_init_averages, _average, _mean_next_value, lambda model: model.transition),
}
