"""Control with eligibility traces: every error is told to all the pairs that led to it.

algorithm = sarsa_lambda(purerl.envs.make("WindyGridworld"), trace="replacing")
state = algorithm.init(ControlHypers(step_size=0.5, lambda_=0.9), key)
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, Learner, Step, control, initial_table
from purerl.envs.base import Environment
from purerl.mdp import average
from purerl.types import Mean

Trace = Literal["accumulating", "replacing", "dutch"]


class Traced(struct.PyTreeNode):
    """What a learner with traces remembers."""

    q: jax.Array  # [S, A]
    trace: jax.Array  # [S, A] by how much the next error moves each entry of q
    expected: jax.Array  # [] dutch: what the pair at hand was thought to be worth when it was chosen


def traces(trace: Trace = "accumulating", on_policy: bool = True, name: str = "traces") -> Learner:
    """The backward view: one error a step, shared by all the pairs of the episode.

    ``z <- gamma lambda z``; at the pair visited ``z <- c z`` with c = 1 (accumulating), 0 (replacing) or ``1 - alpha``
    (dutch), then ``z += alpha``; ``Q += delta z``. The step size is in the trace, so that each visit keeps its own.

    ``delta = r + gamma Q(s', a') - Q(s, a)`` on policy. Off policy, Watkins' ``r + gamma sum_b pi(b|s') Q(s', b) -
    Q(s, a)``, and the trace is cut where ``pi`` would not have taken the next action. Where a recording is cut, the
    policy's mean takes the place of the action that was never taken.

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

    def init(hypers: ControlHypers, num_states: int, num_actions: int) -> Traced:
        q = initial_table(hypers, num_states, num_actions)
        return Traced(q=q, trace=jnp.zeros_like(q), expected=jnp.zeros_like(q[0, 0]))

    def learn(hypers: ControlHypers, memory: Traced, step: Step, target: Callable) -> tuple[Traced, Mean]:
        q, pair, size = memory.q, (step.obs, step.action), step.step_size
        next_q = q[step.next_obs]
        policy = target(next_q, step.next_obs)
        ended = step.terminated | step.truncated
        taken = jnp.where(step.truncated | (not on_policy), average(policy, next_q), next_q[step.next_action])
        next_value = jnp.where(step.terminated, 0.0, taken)
        error = step.reward + hypers.gamma * next_value - q[pair]

        shrink = {"accumulating": 1.0, "replacing": 0.0, "dutch": 1 - size}[trace]
        earlier = memory.trace.at[pair].multiply(shrink)
        credit = earlier.at[pair].add(size)
        surprise = q[pair] - memory.expected if trace == "dutch" else 0.0
        q = q + error * credit + surprise * earlier
        follows = True if on_policy else policy[step.next_action] > 0
        kept = jnp.where(ended | ~jnp.asarray(follows), 0.0, hypers.gamma * hypers.lambda_)
        return Traced(q=q, trace=kept * credit, expected=next_value), Mean(jnp.abs(error), jnp.ones_like(error))

    return Learner(
        name=name,
        init=init,
        values=lambda memory, state: memory.q[state],
        learn=learn,
        on_policy=on_policy,
        learns_first=False,
        settings={"trace": trace, "on_policy": on_policy},
    )


def sarsa_lambda(env: Environment, config: ControlConfig | None = None, trace: Trace = "accumulating") -> Algorithm:
    """SARSA(lambda); with dutch traces true online SARSA(lambda).

    Source: Sutton & Barto 2018, sections 12.5 and 12.7.
    """
    return control(env, traces(trace, name="sarsa-lambda"), config)


def q_lambda(env: Environment, config: ControlConfig | None = None, trace: Trace = "accumulating") -> Algorithm:
    """Watkins' Q(lambda): Q-learning whose traces last as long as the greedy policy is followed.

    Source: Watkins 1989; Sutton & Barto 2018, section 12.10.
    """
    return control(env, traces(trace, on_policy=False, name="q-lambda"), config)
