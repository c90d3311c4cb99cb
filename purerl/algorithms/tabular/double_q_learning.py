"""Double Q-learning and Double Expected SARSA: TD control with two tables, without maximisation bias.

    algorithm = double_q_learning(purerl.envs.make("CliffWalking"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, control
from purerl.algorithms.tabular.update_rule import ControlTransition, UpdateRule, initial_table
from purerl.envs.base import Environment
from purerl.mdp import average
from purerl.recipes import recorded
from purerl.types import Mean


class DoubleTables(struct.PyTreeNode):
    """Two tables of action values."""

    q: jax.Array  # [2, S, A]


def double(on_policy: bool = False, name: str = "double") -> UpdateRule:
    """Double learning update rule: each of two tables evaluates the other's choice; a coin decides which one learns.

    ``Q_i(s, a) += alpha (r + gamma sum_b pi_i(b|s') Q_j(s', b) - Q_i(s, a))``, where ``pi_i`` is the policy of ``Q_i``

    An action whose value is overestimated by one table is chosen by it, but not valued by it. The agent acts on the
    mean of both.

    Args:
        on_policy: learn the policy that acts, or else the epsilon-greedy one with hypers.target_epsilon.
        name: of the algorithm.

    Source: van Hasselt 2010, algorithm 1; Sutton & Barto 2018, (6.10).
    """
    return UpdateRule(
        name=name,
        init=init_double,
        values=lambda tables, state: jnp.mean(tables.q[:, state], axis=0),
        learn=double_update,
        on_policy=on_policy,
        learns_first=True,
        settings={"on_policy": on_policy},
    )


def init_double(hypers: ControlHypers, num_states: int, num_actions: int) -> DoubleTables:
    """Initial values."""
    return DoubleTables(q=jnp.stack([initial_table(hypers.initial_value, num_states, num_actions)] * 2))


def double_update(
    hypers: ControlHypers, tables: DoubleTables, transition: ControlTransition, target: Callable
) -> tuple[DoubleTables, Mean]:
    """``UpdateRule.learn`` of :func:`double`."""
    learns = jnp.where(transition.uniform < 0.5, 0, 1)
    pair = (learns, transition.obs, transition.action)
    policy = target(tables.q[learns, transition.next_obs], transition.next_obs)
    value = average(policy, tables.q[1 - learns, transition.next_obs])
    error = transition.reward + hypers.gamma * jnp.where(transition.terminated, 0.0, value) - tables.q[pair]
    q = tables.q.at[pair].add(transition.step_size * error)
    return DoubleTables(q=q), Mean(jnp.abs(error), jnp.ones_like(error))


@recorded
def double_q_learning(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Double Q-learning: Q-learning without its maximisation bias.

    Source: van Hasselt 2010; Sutton & Barto 2018, (6.10).
    """
    return control(env, double(name="double-q-learning"), config)


@recorded
def double_expected_sarsa(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Double Expected SARSA: Expected SARSA with two tables.

    Source: Sutton & Barto 2018, exercise 6.13.
    """
    return control(env, double(on_policy=True, name="double-expected-sarsa"), config)
