"""Prioritised experience replay: items are sampled in proportion to their scaled priorities.

    P(i) = m_i / sum_j m_j,    m_i = p_i^alpha    or    m_i = rank(i)^-alpha

An item's priority p is given by the algorithm, as a rule the absolute TD error plus a small number. Until then it is
the largest one of late, so that every item is likely to be sampled at least once: a decaying maximum of what is given.
The largest one ever, as in the paper, would be that of one outlier for all time, and new items, over and over, all that
is sampled. An item of priority 0 is never drawn.

Source: Schaul et al. 2016, Prioritized experience replay (arXiv 1511.05952).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from purerl.data import priorities
from purerl.data import ring as rings
from purerl.data.replay import Replay, ReplayConfig, ReplayState, SampleIndices, num_drawable
from purerl.types import PyTree, Scalar

_KEPT = 0.9  # of the largest priority, from one batch of priorities to the next: a million is forgotten in 130


class Proportional(struct.PyTreeNode):
    """State of proportional prioritisation, ``p^alpha``. N: rows where an item may start."""

    scaled_priorities: priorities.SumTree  # of the N items; 0 where none is complete
    highest: jax.Array  # [] largest priority of late, that of a new item
    alpha: jax.Array  # []


class RankBased(struct.PyTreeNode):
    """State of rank-based prioritisation, ``rank^-alpha``."""

    scaled_priorities: priorities.SumTree  # of the N items; 0 where none is complete
    highest: jax.Array  # [] largest priority of late, that of a new item
    alpha: jax.Array  # []
    priority: jax.Array  # [N] 0 where no item is complete
    ranked: jax.Array  # [N] the priorities when they were last sorted, ascending


def proportional(config: ReplayConfig) -> Replay:
    """Proportional prioritised replay, ``P(i) ~ p_i^alpha``. Source: Schaul et al. 2016, (1) and section 3.3."""

    def begin(alpha: jax.Array) -> Proportional:
        return Proportional(scaled_priorities=priorities.empty(config.num_items), highest=jnp.ones(()), alpha=alpha)

    def put(now: Proportional, item: jax.Array, priority: jax.Array) -> Proportional:
        scaled = jnp.where(priority > 0, _power(priority, now.alpha), 0)
        return now.replace(scaled_priorities=priorities.update(now.scaled_priorities, item, scaled))

    return _prioritized(config, begin, put, lambda now: now)


def rank_based(config: ReplayConfig) -> Replay:
    """Rank-based prioritised replay, ``P(i) ~ rank(i)^-alpha``: robust to the scale of errors, and to outliers.

    Rank 1 is the largest priority. Sorting at every change would be slow: ranks are exact after ``refresh``, with ties
    in any order; until the next one a changed priority gets the rank it would have had then. Before the first all are
    1.

    Source: Schaul et al. 2016, (1) and section 3.3.
    """

    def begin(alpha: jax.Array) -> RankBased:
        scaled, priority, ranked = priorities.empty(config.num_items), *jnp.zeros((2, config.num_items))
        return RankBased(scaled_priorities=scaled, highest=jnp.ones(()), alpha=alpha, priority=priority, ranked=ranked)

    def scale(now: RankBased, priority: jax.Array, rank: jax.Array) -> jax.Array:
        return jnp.where(priority > 0, _power(rank.astype(jnp.float32), -now.alpha), 0)

    def put(now: RankBased, item: jax.Array, priority: jax.Array) -> RankBased:
        rank = 1 + config.num_items - jnp.searchsorted(now.ranked, priority, side="right")
        return now.replace(
            scaled_priorities=priorities.update(now.scaled_priorities, item, scale(now, priority, rank)),
            priority=priorities.write(now.priority, item, priority),
        )

    def sort(now: RankBased) -> RankBased:
        order = jnp.argsort(now.priority)
        ranked = now.priority[order]
        sorted_priorities = scale(now, ranked, config.num_items - jnp.arange(config.num_items))
        scaled = jnp.zeros_like(ranked).at[order].set(sorted_priorities, unique_indices=True)
        return now.replace(scaled_priorities=priorities.fill(now.scaled_priorities, scaled), ranked=ranked)

    return _prioritized(config, begin, put, sort)


def importance_weights(scaled_priority: jax.Array, beta: Scalar) -> jax.Array:
    """Importance weights ``w_i = (N P(i))^-beta / max_j w_j = (min_j m_j / m_i)^beta``: N and the sum of m cancel.

    With ``beta = 1`` weighted samples have the expectation of uniform ones, up to the scale that the maximum removes.

    Args:
        scaled_priority: m of the sampled items, ``[M]``, at least 0.
        beta: strength of the bias correction, in [0, 1].

    Returns:
        ``[M]``, at most 1; 0 where m is.

    Source: Schaul et al. 2016, section 3.4.
    """
    drawn = scaled_priority > 0
    smallest = jnp.min(jnp.where(drawn, scaled_priority, jnp.inf))
    return jnp.where(drawn, _power(smallest / jnp.where(drawn, scaled_priority, smallest), beta), 0)


def _power(x: jax.Array, exponent: Scalar) -> jax.Array:
    """``x^exponent`` for positive numbers: XLA's own power is two and a half times as slow on a CPU."""
    return jnp.exp(exponent * jnp.log(x))


def _prioritized(config: ReplayConfig, begin: Callable, put: Callable, refresh: Callable) -> Replay:
    """Prioritised replay whose scaled priorities are set by ``put(priorities, item [K], priority [K])``.

    Items may be repeated.
    """

    def init(item: PyTree, alpha: Scalar = 0.6) -> ReplayState:
        ring = rings.empty(item, config.num_rows, config.num_envs)
        return ReplayState(ring=ring, priorities=begin(jnp.asarray(alpha, jnp.float32)))

    def add(state: ReplayState, items: PyTree) -> ReplayState:
        ring = rings.push(state.ring, items)
        num_steps = jax.tree.leaves(items)[0].shape[0]
        item, complete = _touched(config, state.ring, ring, num_steps)
        priority = jnp.where(complete, state.priorities.highest, 0)
        return ReplayState(ring=ring, priorities=put(state.priorities, item, priority))

    def sample(state: ReplayState, key: jax.Array, beta: Scalar = 1.0) -> SampleIndices:
        scaled = state.priorities.scaled_priorities
        item = priorities.draw(scaled, key, config.batch_size)
        weight = importance_weights(scaled.levels[0][item], beta)
        return SampleIndices(row=item // config.num_envs * config.period, env=item % config.num_envs, weight=weight)

    def update_priorities(state: ReplayState, indices: SampleIndices, priority: jax.Array) -> ReplayState:
        item = indices.row // config.period * config.num_envs + indices.env
        # A sample from an empty replay is no item. And the weights are read first this way: were they still to be
        # computed when scaled priorities are overwritten, XLA would keep a copy of all of these for them.
        priority = jnp.where(indices.weight > 0, priority, 0)
        highest = jnp.maximum(_KEPT * state.priorities.highest, jnp.max(priority))
        return state.replace(priorities=put(state.priorities.replace(highest=highest), item, priority))

    def can_sample(state: ReplayState) -> jax.Array:
        return num_drawable(config, state.ring) >= config.batch_size

    def with_alpha(state: ReplayState, alpha: Scalar) -> ReplayState:
        return state.replace(priorities=state.priorities.replace(alpha=jnp.asarray(alpha, jnp.float32)))

    return Replay(
        init,
        add,
        sample,
        update_priorities,
        can_sample,
        with_alpha,
        lambda state: state.replace(priorities=refresh(state.priorities)),
    )


def _touched(
    config: ReplayConfig, before: rings.Ring, after: rings.Ring, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Items ``[K]`` of which a rollout wrote a step, and whether all their steps are in the replay now.

    They start at most ``length - 1`` rows before the first that was written. Rows count on from the old head here,
    also past the end of the ring and before its beginning.
    """
    num_rows = config.num_rows
    if num_steps + config.length - 1 > num_rows:
        raise ValueError(
            f"A rollout of {num_steps} steps and a sequence of {config.length} overlap in a replay of {num_rows} steps "
            "per environment: increase capacity or add shorter rollouts."
        )
    end = before.head + num_steps
    first = -(-(before.head - config.length + 1) // config.period)
    count = -(-(num_steps + config.length - 1) // config.period)
    # The last one repeats where the rollout touches one less than it could; setting the same twice does no harm.
    start = jnp.minimum(first + jnp.arange(count), (end - 1) // config.period) * config.period
    complete = (start + config.length <= end) & (start >= end - after.size)
    place = start % num_rows // config.period * config.num_envs
    item = place[:, None] + jnp.arange(config.num_envs)
    return item.reshape(-1), jnp.repeat(complete, config.num_envs)


def sequence_priority(error: jax.Array, eta: Scalar) -> jax.Array:
    """Priority of a sequence: ``eta max_t |delta_t| + (1 - eta) mean_t |delta_t|``.

    The mean alone hides the few steps that matter in the many that do not.

    Args:
        error: ``[T, M]``.
        eta: in [0, 1]; 0.9 in the paper.

    Returns:
        ``[M]``.

    Source: Kapturowski et al. 2019, section 2.3.
    """
    size = jnp.abs(error)
    return eta * jnp.max(size, axis=0) + (1 - eta) * jnp.mean(size, axis=0)
