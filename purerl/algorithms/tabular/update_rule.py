"""Update rules of tabular control: what they are told of one step, and what they make of it.

The agent around them (acting, exploring, counting visits) is in :mod:`purerl.algorithms.tabular.control`. A rule is a
record of pure functions; those that look n steps ahead are in :mod:`.n_step`, those with two tables in
:mod:`.double_q_learning`, those with eligibility traces in :mod:`.eligibility_traces`, those that wait for the end of
the episode in :mod:`.monte_carlo_control`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.types import Scalar


class ControlTransition(struct.PyTreeNode):
    """One step, as an update rule is told of it. ``b`` is the behaviour policy."""

    obs: jax.Array  # [] the state
    action: jax.Array  # []
    probability: jax.Array  # [] b(action | obs)
    step_size: jax.Array  # [] for this visit of the pair
    reward: jax.Array  # []
    terminated: jax.Array  # [] bool
    truncated: jax.Array  # [] bool
    next_obs: jax.Array  # [] the state it led to, before any reset
    next_action: jax.Array  # [] taken there, if the episode goes on; 0 if it is not chosen yet
    next_probability: jax.Array  # [] b(next_action | next_obs); 1 if it is not chosen yet
    uniform: jax.Array  # [] in [0, 1), the rule's own randomness


class UpdateRule(NamedTuple):
    """An update rule of tabular control, as pure functions of its tables.

    Attributes:
        name: of the algorithm that it makes.
        init: ``(hypers, num_states, num_actions) -> tables``.
        values: ``(tables, state) -> [A]``, the action values there.
        learn: ``(hypers, tables, transition, target) -> (tables, error)``. ``target`` is the policy that is learned:
            ``(values [..., A], state [...]) -> [..., A]``. ``error`` is a ``Mean`` of absolute errors.
        on_policy: the policy that is learned is the one that acts. If not, it is epsilon-greedy with target_epsilon.
        learns_first: the next action is chosen after the step is learned, not before.
        settings: what else tells it from others of its kind.
    """

    name: str
    init: Callable
    values: Callable
    learn: Callable
    on_policy: bool
    learns_first: bool
    settings: Mapping[str, Any] = MappingProxyType({})


def initial_table(initial_value: Scalar, num_states: int, num_actions: int) -> jax.Array:
    """Table of action values at the beginning: ``[S, A]``, every entry the same."""
    return jnp.zeros((num_states, num_actions)) + initial_value


def values_of_table(tables: Any, state: jax.Array) -> jax.Array:
    """``UpdateRule.values`` of a rule that has one table of action values, ``tables.q``."""
    return tables.q[state]


def no_transition() -> ControlTransition:
    """A placeholder for steps before the first."""
    number, probability, flag = jnp.zeros(()), jnp.ones(()), jnp.array(False)
    index = jnp.int32(0)
    return ControlTransition(
        obs=index,
        action=index,
        probability=probability,
        step_size=number,
        reward=number,
        terminated=flag,
        truncated=flag,
        next_obs=index,
        next_action=index,
        next_probability=probability,
        uniform=number,
    )
