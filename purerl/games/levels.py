"""A small game level by level: all moves of many positions in compiled batches, the level itself on the host."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.games import Game, turn
from purerl.types import PyTree


class TooLargeError(ValueError):
    """A game has more positions than were allowed."""


class Step(NamedTuple):
    """Successors of all moves in the positions of a level."""

    after: PyTree  # (obs, state), leaves [B, A, ...]
    reward: np.ndarray  # [B, A] of who moved
    turn: np.ndarray  # [B, A], see purerl.envs.games.turn
    played: np.ndarray  # [B, A] bool, which moves are followed
    over: np.ndarray  # [B, A] which of them end the game
    mover: np.ndarray  # [B]

    def going_on(self) -> PyTree:
        """The positions that are played to and are not the last, one a row."""
        return jax.tree.map(lambda x: x[self.played & ~self.over], self.after)


def follower(game: Game, played: Callable, key: jax.Array, batch_size: int) -> Callable[[PyTree], Iterator[Step]]:
    """``level -> steps``, batch after batch of the level.

    Args:
        game: whose moves are not random.
        played: ``(obs [B, ...], state [B, ...]) -> [B, A]`` bool, which moves are to be followed; traced.
        key: handed to the game.
        batch_size: positions that are looked at together.
    """
    actions = jnp.arange(game.action_space.n, dtype=game.action_space.dtype)

    def one(state: PyTree, action: jax.Array) -> tuple:
        obs, after, reward, terminated, truncated, _ = game.step(key, state, action)
        over = terminated | truncated
        return (obs, after), reward, turn(game, state, after, over), over

    @jax.jit
    def follow(obs: PyTree, state: PyTree) -> Step:
        after, reward, turn, over = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(state, actions)
        return Step(after, reward, turn, played(obs, state), over, jax.vmap(game.player)(state))

    def steps(level: PyTree) -> Iterator[Step]:
        size = num_positions(level)
        for start in range(0, size, batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), size - 1)  # the last batch is filled up
            step = jax.device_get(follow(*jax.tree.map(lambda x, rows=rows: x[rows], level)))
            yield jax.tree.map(lambda x, rest=size - start: x[:rest], step)

    return steps


def first_level(game: Game, key: jax.Array) -> PyTree:
    """The level of the first position, ``(obs, state)`` with leaves ``[1, ...]``."""
    return jax.tree.map(lambda x: np.asarray(x)[None], game.reset(key))


def num_positions(level: PyTree) -> int:
    """How many positions a level has."""
    return len(jax.tree.leaves(level)[0])


def joined(parts: list) -> PyTree:
    """Levels, or records of them, one after the other."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
