"""Tables of Dyna: action values, the learnt model, and the pairs that planning may use."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.tabular_models import MODELS, DynaTransition
from purerl.mdp import MDP
from purerl.types import PyTree


class DynaTables(struct.PyTreeNode):
    """What is learnt: action values, the model, and which pairs planning may use."""

    q: jax.Array  # [S, A]
    model: PyTree  # of the kind that was chosen
    known: jax.Array  # [S, A] bool, the pairs that planning may use
    pairs: jax.Array  # [S * A] int, the same pairs s * A + a in the order in which they came; the rest has no meaning
    num_pairs: jax.Array  # [] int
    tried_at: jax.Array  # [S, A] int32, real step at which the pair was tried last; 0 where never
    time: jax.Array  # [] int32, real steps so far, of which differences alone have a meaning: it wraps


def init_tables(config: DynaConfig, hypers: DynaHypers, num_states: int, num_actions: int) -> DynaTables:
    """Initial tables: no pair known."""
    shape = (num_states, num_actions)
    return DynaTables(
        q=jnp.zeros(shape) + hypers.initial_value,
        model=MODELS[config.model].init(*shape),
        known=jnp.zeros(shape, bool),
        pairs=jnp.zeros(num_states * num_actions, jnp.int32),
        num_pairs=jnp.int32(0),
        tried_at=jnp.zeros(shape, jnp.int32),
        time=jnp.int32(0),
    )


def remember(config: DynaConfig, tables: DynaTables, transition: DynaTransition) -> DynaTables:
    """Update the model, and which pairs are known since when, by one real step."""
    num_actions = tables.q.shape[1]
    actions = jnp.arange(num_actions, dtype=jnp.int32) if config.plan_untried else transition.action[None]
    is_new = ~tables.known[transition.obs, transition.action]
    # Written after the end of the list in any case; it counts only if the list then grows. A full list drops it.
    positions = tables.num_pairs + jnp.arange(actions.size)
    time = tables.time + 1
    return tables.replace(
        model=MODELS[config.model].observe(tables.model, transition),
        known=tables.known.at[transition.obs, actions].set(True),
        pairs=tables.pairs.at[positions].set(transition.obs * num_actions + actions, mode="drop"),
        num_pairs=tables.num_pairs + actions.size * is_new,
        tried_at=tables.tried_at.at[transition.obs, transition.action].set(time),
        time=time,
    )


def learnt_mdp(config: DynaConfig, tables: DynaTables, gamma: float) -> MDP:
    """Learnt model as a finite MDP of S + 1 states, the last of which is the end.

    ``P[s, a, s'] = N[s, a, s'] / N[s, a]``, and ``R[s, a]`` the mean reward, in the model of counts

    Pairs that were never tried stay where they are. The start is uniform.

    Source: Sutton & Barto 2018, section 8.4.
    """
    probabilities = MODELS[config.model].probabilities(tables.model)
    num_states, num_actions, num_outcomes = probabilities.shape
    end = jnp.broadcast_to(jnp.eye(num_outcomes, dtype=probabilities.dtype)[-1], (1, num_actions, num_outcomes))
    terminal = jnp.arange(num_outcomes) == num_states
    reward = jnp.pad(tables.model.reward, ((0, 1), (0, 0)))
    return MDP(
        transition=jnp.concatenate([probabilities, end]),
        reward=jnp.broadcast_to(reward[..., None], (num_outcomes, num_actions, num_outcomes)),
        start=jnp.where(terminal, 0.0, 1 / num_states),
        terminal=terminal,
        gamma=jnp.asarray(gamma, probabilities.dtype),
    )
