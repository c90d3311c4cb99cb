"""Opponent pool: past checkpoints of an agent to play against in self-play.

    pool = init(params, size=16)                      # the present parameters are the first
    index, opponent = sample(pool, key, "hard")       # past parameters, more often those that beat us
    pool = record(pool, index, score)                 # the result
    pool = add(pool, params)                          # every now and then, over the oldest

A pool is a record of arrays: it is scanned, vmapped and written in place like any state.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from purerl.kernels import exploration
from purerl.kernels.numerics import safe_divide
from purerl.types import PyTree, Scalar

Kind = Literal["uniform", "latest", "hard", "even"]


class Pool(struct.PyTreeNode):
    """The last K parameters, in a ring buffer; slot ``i`` holds the i-th, K + i-th, ... that was added."""

    params: PyTree  # [K, ...]
    games: jax.Array  # [K] played against each
    score: jax.Array  # [K] our total score against each: 1 a win, 1/2 a draw
    num_added: jax.Array  # [] int32, at least 1


def init(params: PyTree, size: int) -> Pool:
    """New opponent pool of one entry, with room for more.

    Args:
        params: the present parameters.
        size: K, at least 1.

    Raises:
        ValueError: if ``size < 1``.
    """
    if size < 1:
        raise ValueError(f"size = {size}: a pool holds at least 1 past self.")
    empty = Pool(
        params=jax.tree.map(lambda x: jnp.zeros((size, *jnp.shape(x)), jnp.result_type(x)), params),
        games=jnp.zeros(size),
        score=jnp.zeros(size),
        num_added=jnp.int32(0),
    )
    return add(empty, params)


def add(pool: Pool, params: PyTree) -> Pool:
    """Add parameters over the oldest entry, with no games.

    Args:
        pool: the pool.
        params: of the structure that the pool was made with.
    """
    slot = pool.num_added % pool.games.shape[0]
    return Pool(
        params=jax.tree.map(lambda kept, new: kept.at[slot].set(new), pool.params, params),
        games=pool.games.at[slot].set(0),
        score=pool.score.at[slot].set(0),
        num_added=pool.num_added + 1,
    )


def win_rate(pool: Pool) -> jax.Array:
    """Win rate ``x = score / games`` against each entry, ``[K]`` in [0, 1]; 1/2 where no game was played."""
    return safe_divide(pool.score, pool.games, 0.5)


def probabilities(pool: Pool, kind: Kind = "uniform", exponent: Scalar = 1.0) -> jax.Array:
    """Opponent sampling probabilities: uniform, latest, or prioritised fictitious self-play (PFSP).

    ``uniform``: all alike; ``latest``: the newest alone; ``hard``: ``(1 - x)^p``, those that beat us; ``even``:
    ``(x (1 - x))^p``, those of our strength. ``x`` is our :func:`win_rate`. Where all weights are 0, because all are
    always beaten, it is uniform.

    Args:
        pool: the pool.
        kind: which of the four, static.
        exponent: p of ``hard`` and ``even``, at least 0; 0 is ``uniform``.

    Returns:
        ``[K]``, 0 for empty slots.

    Raises:
        ValueError: for any other kind.

    Source: Vinyals et al. 2019, "Grandmaster level in StarCraft II", Methods (prioritized fictitious self-play);
    uniform: fictitious self-play, Heinrich et al. 2015.
    """
    slot = jnp.arange(pool.games.shape[0])
    filled = (slot < pool.num_added).astype(pool.games.dtype)
    x = win_rate(pool)
    match kind:
        case "uniform":
            weight = filled
        case "latest":
            weight = (slot == (pool.num_added - 1) % len(slot)).astype(filled.dtype)
        case "hard":
            weight = filled * (1 - x) ** exponent
        case "even":
            weight = filled * (x * (1 - x)) ** exponent
        case _:
            raise ValueError(f"kind = {kind!r}: choose one of {', '.join(get_args(Kind))}.")
    return safe_divide(weight, weight.sum(), 0.0) + jnp.where(weight.sum() > 0, 0.0, filled / filled.sum())


def sample(pool: Pool, key: jax.Array, kind: Kind = "uniform", exponent: Scalar = 1.0) -> tuple[jax.Array, PyTree]:
    """Sample an opponent.

    Args:
        pool: the pool.
        key: one key; ``vmap`` over keys for an opponent in each of many games.
        kind: as in :func:`probabilities`.
        exponent: as in :func:`probabilities`.

    Returns:
        Its slot ``[]`` int32, and its parameters.
    """
    index = exploration.sample(probabilities(pool, kind, exponent), jax.random.uniform(key, dtype=pool.games.dtype))
    return index, jax.tree.map(lambda x: x[index], pool.params)


def record(pool: Pool, index: jax.Array, score: jax.Array) -> Pool:
    """Record the results of games.

    Args:
        pool: the pool.
        index: ``[...]`` int, the slots of the opponents; one may occur several times.
        score: ``[...]`` in [0, 1], ours: 1 a win, 1/2 a draw, 0 a loss.
    """
    return pool.replace(games=pool.games.at[index].add(1), score=pool.score.at[index].add(score))
