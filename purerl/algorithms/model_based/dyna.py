"""Dyna-Q, Dyna-Q+ and prioritized sweeping: learn from every real step, and by planning with a learnt model.

    algorithm = dyna(purerl.envs.make("DynaMaze"), DynaConfig(num_planning_steps=50))
    state = algorithm.init(DynaHypers(), key)

One real step is followed by ``n`` steps of planning, each a backup of a pair that is known to the model:

    ``Q(s, a) += alpha (r + gamma max_a' Q(s', a') - Q(s, a))``

Dyna-Q draws the pairs uniformly; with ``n = 0`` it is Q-learning. Dyna-Q+ adds ``kappa sqrt(tau)`` to the reward of a
pair not tried for ``tau`` real steps, and plans with actions that were never tried, too. Prioritised sweeping backs
up the pair with the largest error. All of them are choices of :class:`DynaConfig` and numbers of :class:`DynaHypers`.

Axis letters of this file: S states, A actions, K real steps of an update, n planning steps. An outcome is the number of
the next state, or S for the end of the episode.

Sources: Sutton 1990, "Integrated architectures for learning, planning, and reacting based on approximating dynamic
programming"; Moore & Atkeson 1993, "Prioritized sweeping"; Sutton & Barto 2018, chapter 8.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.dyna_planning import plan_by_priority, plan_uniformly
from purerl.algorithms.model_based.dyna_tables import DynaTables, init_tables, remember
from purerl.algorithms.model_based.tabular_models import DynaTransition, best_value
from purerl.config_checks import config_or_default
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.recipes import recorded
from purerl.spaces import Discrete, Space
from purerl.types import Mean, Metrics, PyTree, Scalar, Seen


class DynaState(struct.PyTreeNode):
    """State of a run of Dyna, in the middle of an episode."""

    tables: DynaTables
    obs: jax.Array  # [] int
    env_state: PyTree
    episode_return: jax.Array  # [] undiscounted, so far
    episode_length: jax.Array  # [] so far


class RandomNumbers(NamedTuple):
    """All that is random in an update. Behaviour before the first backup that changes Q does not depend on n."""

    action: jax.Array  # [K] uniform numbers that choose actions
    plan: jax.Array  # [K, n] uniform numbers that choose pairs
    step: jax.Array  # [K] keys of the environment
    fresh: tuple[jax.Array, PyTree]  # [K, ...] observation and environment state to begin anew from


@recorded
def dyna(env: Environment, config: DynaConfig | None = None) -> Algorithm:
    """Dyna-Q, Dyna-Q+ and prioritized sweeping: tabular learning with planning between real steps.

    Metrics: ``reward`` and ``backups`` per real step, ``known_pairs``, and ``episode_return`` and ``episode_length`` of
    the episodes that ended. ``act`` samples among the best actions evenly.

    Where the environment changes, go on with another one of the same sizes: what was learnt is in the state.

    Args:
        env: its observation is the number of its state, its actions are discrete.
        config: sizes and choices.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    config = config_or_default(config, DynaConfig)
    sizes = (
        _size(env, "observations", env.observation_space),
        _size(env, "actions", env.action_space),
    )

    def init(hypers: DynaHypers, key: jax.Array) -> DynaState:
        obs, env_state = env.reset(key)
        tables = init_tables(config, hypers, *sizes)
        return DynaState(tables, obs, env_state, episode_return=jnp.zeros(()), episode_length=jnp.zeros(()))

    settings = {"env": env.name, **dataclasses.asdict(config)}
    evaluate = rollout.evaluation(env, no_carry, act_from_table, max_steps=config.max_evaluation_steps)
    spec = Spec("dyna", config.num_steps, evaluate, settings=settings, hypers_class=DynaHypers)
    return Algorithm(init, partial(update_dyna, env, config), no_carry, act_from_table, spec)


def update_dyna(
    env: Environment, config: DynaConfig, hypers: DynaHypers, state: DynaState, key: jax.Array
) -> tuple[DynaState, Metrics]:
    """``Algorithm.update``: ``config.num_steps`` real steps, each followed by planning."""
    random_numbers = draw_random_numbers(env, config, key)
    state, steps = jax.lax.scan(partial(dyna_step, env, config, hypers), state, random_numbers)
    reward, backups, ended, total, length = steps
    number = jnp.sum(ended, dtype=total.dtype)
    return state, {
        "reward": jnp.mean(reward),
        "backups": jnp.mean(backups, dtype=total.dtype),
        "known_pairs": state.tables.num_pairs.astype(total.dtype),
        "episode_return": Mean(jnp.sum(jnp.where(ended, total, 0.0)), number),
        "episode_length": Mean(jnp.sum(jnp.where(ended, length, 0.0)), number),
    }


def dyna_step(
    env: Environment, config: DynaConfig, hypers: DynaHypers, state: DynaState, drawn: RandomNumbers
) -> tuple[DynaState, tuple]:
    """One real step, what is learnt from it, and planning."""
    action = _choose_action(hypers.epsilon, state.tables.q[state.obs], drawn.action)
    obs, env_state, reward, terminated, truncated, info = env.step(drawn.step, state.env_state, action)
    outcome = jnp.where(terminated, state.tables.q.shape[0], obs)
    transition = DynaTransition(state.obs, action, reward, outcome)
    tables, backups = learn(config, hypers, state.tables, transition, drawn.plan)
    ended = terminated | truncated
    length, total = state.episode_length + 1, info.get("episode_return", state.episode_return + reward)
    total = total.astype(length.dtype)
    obs, env_state = jax.tree.map(lambda new, old: jnp.where(ended, new, old), drawn.fresh, (obs, env_state))
    state = DynaState(tables, obs, env_state, jnp.where(ended, 0.0, total), jnp.where(ended, 0.0, length))
    return state, (reward, backups, ended, total, length)


def act_from_table(
    hypers: DynaHypers, state: DynaState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
) -> tuple[tuple, jax.Array]:
    """``Algorithm.act``: a greedy action, ties broken at random, or with ``sample`` the policy that learns."""
    q = state.tables.q[seen.obs]  # [B, A]
    uniform = jax.random.uniform(key, q.shape[:1])
    return carry, _choose_action(hypers.epsilon if sample else 0.0, q, uniform)


def learn(
    config: DynaConfig, hypers: DynaHypers, tables: DynaTables, transition: DynaTransition, uniforms: jax.Array
) -> tuple[DynaTables, jax.Array]:
    """Dyna update: learn from one real step, and from planning.

    Args:
        config: which model and plan.
        hypers: numbers.
        tables: so far.
        transition: what happened.
        uniforms: ``[n]`` in [0, 1), which choose the pairs that are backed up.

    Returns:
        The new tables, and the number of backups ``[]``: at most 1 + n.

    Source: Sutton & Barto 2018, section 8.2, "Tabular Dyna-Q", and section 8.4, "Prioritized sweeping".
    """
    tables = remember(config, tables, transition)
    if config.planning == "prioritized":
        q, backups = plan_by_priority(config, hypers, tables)
        return tables.replace(q=q), backups
    at = transition.obs, transition.action
    target = transition.reward + hypers.gamma * best_value(tables.q, transition.outcome)
    tables = tables.replace(q=tables.q.at[at].add(hypers.step_size * (target - tables.q[at])))
    return tables.replace(q=plan_uniformly(config, hypers, tables, uniforms)), jnp.int32(1 + config.num_planning_steps)


def draw_random_numbers(env: Environment, config: DynaConfig, key: jax.Array) -> RandomNumbers:
    """Draw the randomness of an update, in one call for each kind."""
    action_key, plan_key, step_key, reset_key = jax.random.split(key, 4)
    return RandomNumbers(
        action=jax.random.uniform(action_key, (config.num_steps,)),
        plan=jax.random.uniform(plan_key, (config.num_steps, config.num_planning_steps)),
        step=jax.random.split(step_key, config.num_steps),
        fresh=jax.vmap(env.reset)(jax.random.split(reset_key, config.num_steps)),
    )


def _choose_action(epsilon: Scalar, q: jax.Array, uniform: jax.Array) -> jax.Array:
    return exploration.sample(exploration.epsilon_greedy(q, epsilon), uniform)


def _size(env: Environment, what: str, space: Space) -> int:
    if not isinstance(space, Discrete):
        raise ValueError(
            f"{env.name}: dyna keeps tables, so {what} must be Discrete, but their space is {space}. "
            "Number them, or choose an algorithm with function approximation."
        )
    return space.n
