"""A recorded history of steps that every tabular learner can be told, and what the textbook's loops make of it."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl import mdp
from purerl.algorithms.tabular import control
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, Learner, Played, Step, n_step
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
def sarsa_history() -> Step:
    """The steps of SARSA."""
    with jax.enable_x64(True):
        return played(n_step()).step


def played(learner: Learner, **config: Any) -> Played:
    """What a learner lives through, as NumPy arrays, in two updates of half the steps each."""
    settings = ControlConfig(num_steps=NUM_STEPS // 2, **config)
    play = control.player(env(), learner, settings)

    def run(key: jax.Array) -> Played:
        init_key, *keys = jax.random.split(key, 3)
        state = control.control(env(), learner, settings).init(HYPERS, init_key)
        halves = jax.lax.scan(lambda state, key: play(HYPERS, state, key), state, jnp.stack(keys))[1]
        return jax.tree.map(lambda x: x.reshape(NUM_STEPS, *x.shape[2:]), halves)

    return jax.tree.map(np.asarray, jax.jit(run)(KEY))


def listed(step: Step) -> list[SimpleNamespace]:
    """One record a step, for the loops."""
    names = vars(step)
    return [SimpleNamespace(**{name: getattr(step, name)[t] for name in names}) for t in range(NUM_STEPS)]


def policy_of(learner: Learner) -> Callable:
    """The policy that a learner learns, for the loops."""
    epsilon = HYPERS.epsilon if learner.on_policy else HYPERS.target_epsilon
    return lambda row: oracle.epsilon_greedy(row, epsilon)


def told(learner: Learner, step: Step, hypers: ControlHypers = HYPERS) -> np.ndarray:
    """The learner's table after each step of a history, ``[T, S, A]``."""
    epsilon = hypers.epsilon if learner.on_policy else hypers.target_epsilon

    def target(value: jax.Array, state: jax.Array) -> jax.Array:
        return exploration.epsilon_greedy(value, epsilon)

    def tell(memory, step: Step):
        memory, _ = learner.learn(hypers, memory, step, target)
        return memory, memory.q

    def run(step: Step) -> jax.Array:
        return jax.lax.scan(tell, learner.init(hypers, NUM_STATES, NUM_ACTIONS), step)[1]

    return np.asarray(jax.jit(run)(jax.tree.map(jnp.asarray, step)))
