"""Runs and models of Dyna for its tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.model_based.dyna import draw_random_numbers, dyna, learn
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.dyna_tables import init_tables
from purerl.algorithms.model_based.tabular_models import DynaTransition
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.envs.mdp import environment
from purerl.envs.textbook import maps, maze
from purerl.mdp import MDP, expected_reward, lookahead

KEY = jax.random.key(0)
SMALL: maps.Map = ("S..", ".#.", "..G")
NUM_STEPS = 150


def maze_arrays(world: maps.Map) -> tuple:
    """A maze as the oracle wants it."""
    mdp = maze(world)
    after = np.asarray(mdp.transition).argmax(-1)
    reward = np.asarray(expected_reward(mdp), np.float64)
    return after, reward, np.asarray(mdp.terminal), maps.cell(world, "S")


def run(config: DynaConfig, hypers: DynaHypers, world: maps.Map = SMALL, key: jax.Array = KEY):
    """One update of a new learner: ``(state, metrics)``, and what was random in it."""
    algorithm = dyna(environment(maze(world)), config)
    init_key, key = jax.random.split(key)
    state, metrics = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, init_key), key)
    return state, metrics, draw_random_numbers(environment(maze(world)), config, key)


def optimal_q(mdp: MDP) -> np.ndarray:
    return np.asarray(lookahead(mdp, value_iteration(mdp, tolerance=0.0).value))


def experience(mdp: MDP, num_steps: int, seed: int) -> DynaTransition:
    """``[T]`` independent steps from pairs drawn uniformly."""
    rng = np.random.default_rng(seed)
    num_states, num_actions, _ = mdp.transition.shape
    obs, action = rng.integers(num_states, size=num_steps), rng.integers(num_actions, size=num_steps)
    stairs = np.asarray(mdp.transition)[obs, action].cumsum(-1)
    after = (rng.random(num_steps)[:, None] * stairs[:, -1:] >= stairs).sum(-1)
    outcome = np.where(np.asarray(mdp.terminal)[after], num_states, after)
    steps = (obs, action, np.asarray(mdp.reward)[obs, action, after], outcome)
    return DynaTransition(*(jnp.asarray(x, np.int32 if x.dtype.kind == "i" else None) for x in steps))


@functools.partial(jax.jit, static_argnums=(0, 1))
def tables_after(config: DynaConfig, shape: tuple[int, int], steps: DynaTransition):
    """The tables after many steps, without planning."""

    def update(tables, step):
        return learn(config, DynaHypers(), tables, step, jnp.zeros(0))[0], None

    return jax.lax.scan(update, init_tables(config, DynaHypers(), *shape), steps)[0]
