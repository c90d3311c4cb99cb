"""Planning of Dyna: backups from the learnt model, of uniformly sampled pairs or by prioritized sweeping."""

from typing import Any

import jax
import jax.numpy as jnp

from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.dyna_tables import DynaTables
from purerl.algorithms.model_based.tabular_models import MODELS


def model_errors(config: DynaConfig, hypers: DynaHypers, tables: DynaTables, q: jax.Array, at: Any = ...) -> jax.Array:
    """Bellman errors of a learnt model, with the exploration bonus of Dyna-Q+.

    ``R(s, a) + kappa sqrt(tau) + gamma sum_s' P(s' | s, a) max_a' Q(s', a') - Q(s, a)``, with R and P of the model

    Args:
        config: which model.
        hypers: numbers.
        tables: the model, and when each pair was tried.
        q: ``[S, A]``.
        at: index of some pairs; all of them where left out.

    Returns:
        One error a pair, ``[S, A]`` for all.

    Source: Sutton & Barto 2018, section 8.3 for the bonus.
    """
    model = jax.tree.map(lambda x: x[at], tables.model)
    # Without a sign: the difference is right until 2^32, whether or not the count of steps has wrapped at 2^31.
    untried_for = (tables.time - tables.tried_at[at]).astype(jnp.uint32)
    bonus = hypers.kappa * jnp.sqrt(untried_for.astype(q.dtype))
    return model.reward + bonus + hypers.gamma * MODELS[config.model].next_value(model, q) - q[at]


def plan_uniformly(config: DynaConfig, hypers: DynaHypers, tables: DynaTables, uniforms: jax.Array) -> jax.Array:
    """Uniform planning: Q after a backup of a known pair for each uniform number."""

    def back_up(q: jax.Array, uniform: jax.Array) -> tuple[jax.Array, None]:
        # A uniform number just below 1 times the length may be rounded up to the length.
        index = jnp.minimum((uniform * tables.num_pairs).astype(jnp.int32), tables.num_pairs - 1)
        at = jnp.divmod(tables.pairs[index], q.shape[1])
        return q.at[at].add(hypers.step_size * model_errors(config, hypers, tables, q, at)), None

    return jax.lax.scan(back_up, tables.q, uniforms)[0]


def plan_by_priority(config: DynaConfig, hypers: DynaHypers, tables: DynaTables) -> tuple[jax.Array, jax.Array]:
    """Prioritized sweeping: back up the known pair of the largest error, until n are done or none exceeds theta.

    Returns Q and the number of backups.

    A heap that is told of a changed state's predecessors finds that pair with fewer operations, but one after the
    other. Computing every error anew is one pass over arrays, and no priority is ever out of date.
    """

    def largest_error(q: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        errors = jnp.where(tables.known, model_errors(config, hypers, tables, q), 0.0)
        at = jnp.unravel_index(_first_largest(jnp.abs(errors).ravel()), q.shape)
        return at, errors[at]

    def unfinished(carry: tuple) -> jax.Array:
        _, backups, (_, error) = carry
        return (backups < config.num_planning_steps) & (jnp.abs(error) > hypers.theta)

    def back_up(carry: tuple) -> tuple:
        q, backups, (at, error) = carry
        q = q.at[at].add(hypers.step_size * error)
        return q, backups + 1, largest_error(q)

    q, backups, _ = jax.lax.while_loop(unfinished, back_up, (tables.q, jnp.int32(0), largest_error(tables.q)))
    return q, backups


def _first_largest(x: jax.Array) -> jax.Array:
    """``argmax x``, for which XLA's own takes five times as long on a CPU."""
    index = jnp.arange(x.size, dtype=jnp.int32)
    return jnp.min(jnp.where(x == jnp.max(x), index, x.size - 1))
