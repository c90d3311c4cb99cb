"""Eligibility traces of tabular control, accumulating, replacing or dutch: the rule of SARSA(lambda) and Q(lambda).

The algorithms that are made of it are in :mod:`.sarsa_lambda` and :mod:`.q_lambda`.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.tabular.control import ControlHypers
from purerl.algorithms.tabular.update_rule import ControlTransition, UpdateRule, initial_table, values_of_table
from purerl.mdp import average
from purerl.types import Mean

Trace = Literal["accumulating", "replacing", "dutch"]


class TraceTables(struct.PyTreeNode):
    """The action values and their eligibility traces."""

    q: jax.Array  # [S, A]
    trace: jax.Array  # [S, A] by how much the next error moves each entry of q
    expected: jax.Array  # [] dutch: the value of the present pair when it was chosen


def traces(trace: Trace = "accumulating", on_policy: bool = True, name: str = "traces") -> UpdateRule:
    """Eligibility traces, the backward view: one error a step, shared by all the pairs of the episode.

    ``z <- gamma lambda z``; at the pair visited ``z <- c z`` with c = 1 (accumulating), 0 (replacing) or ``1 - alpha``
    (dutch), then ``z += alpha``; ``Q += delta z``. The step size is in the trace, so that each visit keeps its own.

    ``delta = r + gamma Q(s', a') - Q(s, a)`` on policy. Off policy, Watkins' ``r + gamma sum_b pi(b|s') Q(s', b) -
    Q(s, a)``, and the trace is cut where ``pi`` would not have taken the next action. Where an episode is truncated,
    the policy's mean takes the place of the action that was never taken.

    Dutch traces come with ``Q += (Q(s, a) - Q_old) z'``, where ``z'`` is the trace without this visit and ``Q_old``
    what ``Q(s', a')`` was in the step before: then every value is exactly what the online lambda-return makes of it.

    Args:
        trace: what a further visit adds to a trace.
        on_policy: SARSA(lambda), or else Watkins' Q(lambda).
        name: of the algorithm.

    Raises:
        ValueError: if there is no such trace, or it is dutch and off policy.

    Sources: Rummery & Niranjan 1994; Watkins 1989; Singh & Sutton 1996, replacing; van Seijen et al. 2016, dutch.
    """
    if trace not in get_args(Trace):
        raise ValueError(f"traces(trace={trace!r}): choose one of {', '.join(get_args(Trace))}.")
    if trace == "dutch" and not on_policy:
        raise ValueError("traces(trace='dutch', on_policy=False): dutch traces are exact on policy alone; replace.")
    return UpdateRule(
        name=name,
        init=init_traces,
        values=values_of_table,
        learn=partial(trace_update, trace, on_policy),
        on_policy=on_policy,
        learns_first=False,
        settings={"trace": trace, "on_policy": on_policy},
    )


def init_traces(hypers: ControlHypers, num_states: int, num_actions: int) -> TraceTables:
    """Initial values, and no trace yet."""
    q = initial_table(hypers.initial_value, num_states, num_actions)
    return TraceTables(q=q, trace=jnp.zeros_like(q), expected=jnp.zeros_like(q[0, 0]))


def trace_update(
    trace: Trace,
    on_policy: bool,
    hypers: ControlHypers,
    tables: TraceTables,
    transition: ControlTransition,
    target: Callable,
) -> tuple[TraceTables, Mean]:
    """``UpdateRule.learn`` of :func:`traces`."""
    q, pair, size = tables.q, (transition.obs, transition.action), transition.step_size
    next_q = q[transition.next_obs]
    policy = target(next_q, transition.next_obs)
    ended = transition.terminated | transition.truncated
    averaged = transition.truncated | (not on_policy)
    going_on = jnp.where(averaged, average(policy, next_q), next_q[transition.next_action])
    next_value = jnp.where(transition.terminated, 0.0, going_on)
    error = transition.reward + hypers.gamma * next_value - q[pair]

    shrink = {"accumulating": 1.0, "replacing": 0.0, "dutch": 1 - size}[trace]
    earlier = tables.trace.at[pair].multiply(shrink)
    credit = earlier.at[pair].add(size)
    surprise = q[pair] - tables.expected if trace == "dutch" else 0.0
    q = q + error * credit + surprise * earlier
    follows = True if on_policy else policy[transition.next_action] > 0
    kept = jnp.where(ended | ~jnp.asarray(follows), 0.0, hypers.gamma * hypers.lambda_)
    return TraceTables(q=q, trace=kept * credit, expected=next_value), Mean(jnp.abs(error), jnp.ones_like(error))
