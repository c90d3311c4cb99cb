"""A world of chance in tables, for the library's search, for a peer's and for the naive one."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from purerl.search import ChanceOutput, Output
from tests.oracles import search as oracle


class Chance(NamedTuple):
    after: np.ndarray  # [S, A] which afterstate an action leads to
    outcome_logits: np.ndarray  # [S, C]
    after_value: np.ndarray  # [S]
    next_state: np.ndarray  # [S, C]
    reward: np.ndarray  # [S, C]
    discount: np.ndarray  # [S, C]
    logits: np.ndarray  # [S, A]
    value: np.ndarray  # [S]


def random_chance(seed, num_states=30, num_actions=3, num_outcomes=5, discount=0.97):
    rng = np.random.default_rng(seed)
    actions, outcomes = (num_states, num_actions), (num_states, num_outcomes)
    return Chance(
        after=jnp.asarray(rng.integers(num_states, size=actions)),
        outcome_logits=jnp.asarray(rng.normal(size=outcomes)),
        after_value=jnp.asarray(rng.normal(size=num_states)),
        next_state=jnp.asarray(rng.integers(num_states, size=outcomes)),
        reward=jnp.asarray(rng.normal(size=outcomes)),
        discount=jnp.full(outcomes, discount),
        logits=jnp.asarray(rng.normal(size=actions)),
        value=jnp.asarray(rng.normal(size=num_states)),
    )


def decision_model(tables, key, action, state):
    after = tables.after[state, action]
    return ChanceOutput(tables.outcome_logits[after], tables.after_value[after]), after


def chance_model(tables, key, outcome, after):
    state = tables.next_state[after, outcome]
    edge = tables.reward[after, outcome], tables.discount[after, outcome]
    return Output(*edge, tables.logits[state], tables.value[state]), state


def naive(tables):
    """The same world for the naive search, whose states are pairs: whether an outcome is awaited, and the number."""
    tables = Chance(*map(np.asarray, tables))

    def step(state, action):
        waiting, now = state
        if not waiting:
            return 0.0, 1.0, (True, tables.after[now, action])
        return tables.reward[now, action], tables.discount[now, action], (False, tables.next_state[now, action])

    def logits(state):
        return (tables.outcome_logits if state[0] else tables.logits)[state[1]]

    def value(state):
        return (tables.after_value if state[0] else tables.value)[state[1]]

    return oracle.Model(step, logits, value)
