"""One history of steps for every update rule of tabular control, to compare their tables with the textbook's loops."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl import mdp
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, ControlRollout, control, control_rollout
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.update_rule import ControlTransition, UpdateRule, no_transition
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.kernels import exploration
from tests.oracles import control as oracle

NUM_STATES, NUM_ACTIONS, MAX_STEPS, NUM_STEPS = 6, 3, 7, 160
KEY = jax.random.key(0)
HYPERS = ControlHypers(
    step_size=0.6, step_decay=0.3, gamma=0.9, initial_value=0.5, epsilon=0.4, target_epsilon=0.1, sigma=0.3, lambda_=0.7
)
BEGIN = np.full((NUM_STATES, NUM_ACTIONS), HYPERS.initial_value)


def process() -> mdp.MDP:
    return mdp.random_mdp(jax.random.key(1), NUM_STATES, NUM_ACTIONS, gamma=0.9, num_terminal=1)


def env() -> Environment:
    """Episodes that terminate and some that are truncated."""
    return environment(process(), max_steps=MAX_STEPS)


@functools.cache
def sarsa_history() -> ControlTransition:
    """The steps of SARSA."""
    with jax.enable_x64(True):
        return rollout_of(n_step()).transition


def rollout_of(rule: UpdateRule, **config: Any) -> ControlRollout:
    """All steps of an agent with this rule, as NumPy arrays, in two updates of half the steps each."""
    settings, world = ControlConfig(num_steps=NUM_STEPS // 2, **config), env()

    def run(key: jax.Array) -> ControlRollout:
        init_key, *keys = jax.random.split(key, 3)
        state = control(world, rule, settings).init(HYPERS, init_key)

        def half(state, key):
            return control_rollout(world, rule, settings, HYPERS, state, key)

        halves = jax.lax.scan(half, state, jnp.stack(keys))[1]
        return jax.tree.map(lambda x: x.reshape(NUM_STEPS, *x.shape[2:]), halves)

    return jax.tree.map(np.asarray, jax.jit(run)(KEY))


def listed(steps: ControlTransition) -> list[SimpleNamespace]:
    """One record a step, for the loops."""
    names = vars(steps)
    return [SimpleNamespace(**{name: getattr(steps, name)[t] for name in names}) for t in range(NUM_STEPS)]


def policy_of(rule: UpdateRule) -> Callable:
    """The policy that a rule learns, for the loops."""
    epsilon = HYPERS.epsilon if rule.on_policy else HYPERS.target_epsilon
    return lambda row: oracle.epsilon_greedy(row, epsilon)


def tables_after(rule: UpdateRule, steps: ControlTransition, hypers: ControlHypers = HYPERS) -> np.ndarray:
    """The rule's table after each step of a history, ``[T, S, A]``."""
    epsilon = hypers.epsilon if rule.on_policy else hypers.target_epsilon

    def target(value: jax.Array, state: jax.Array) -> jax.Array:
        return exploration.epsilon_greedy(value, epsilon)

    def learn(tables, transition):
        tables, _ = rule.learn(hypers, tables, transition, target)
        return tables, tables.q

    def run(steps: ControlTransition) -> jax.Array:
        return jax.lax.scan(learn, rule.init(hypers, NUM_STATES, NUM_ACTIONS), steps)[1]

    return np.asarray(jax.jit(run)(jax.tree.map(jnp.asarray, steps)))


def all_transitions(process: mdp.MDP) -> tuple[jax.Array, ControlTransition]:
    """``P[s, a, s']`` and every step ``s, a, s'`` of a process, by a uniform behaviour with step size 1, ``[K]``."""
    num_actions = process.transition.shape[1]
    s, a, after = (jnp.asarray(x, jnp.int32) for x in np.indices(process.transition.shape).reshape(3, -1))
    steps = jax.tree.map(lambda x: jnp.broadcast_to(x, s.shape), no_transition()).replace(
        obs=s,
        action=a,
        probability=jnp.full(s.shape, 1 / num_actions),
        step_size=jnp.ones(s.shape),
        reward=process.reward[s, a, after],
        terminated=process.terminal[after],
        next_obs=after,
    )
    return process.transition[s, a, after], steps


def assert_learns_as(rule: UpdateRule, loop: Callable, **settings: Any) -> None:
    """The table after every step of SARSA's history is the loop's."""
    steps = sarsa_history()
    assert steps.terminated.sum() > 5 and steps.truncated.sum() > 5
    expected = loop(BEGIN, listed(steps), policy_of(rule), HYPERS.gamma, **settings)
    np.testing.assert_allclose(tables_after(rule, steps), expected, atol=1e-12)
