"""Two-player zero-sum games in turn: an environment, and what a search must know besides.

    game = purerl.envs.make("pgx/connect_four")
    obs, state = game.reset(key)
    obs, state, reward, terminated, truncated, info = game.step(key, state, action)

The players sit at one table and are called 0, who moves first, and 1. What one wins the other loses.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.recipes import Recipe
from purerl.spaces import Box, Discrete
from purerl.types import PyTree


class Symmetries(NamedTuple):
    """Turns and reflections of a board under which a game, from its start on, remains the same game.

    The first is the identity. The image has at cell ``i`` what was at cell ``cells[k, i]``, cells being counted row by
    row, and its action ``a`` is what was action ``actions[k, a]``.
    """

    cells: np.ndarray  # [K, H*W] int32
    actions: np.ndarray  # [K, A] int32


class Game(NamedTuple):
    """A zero-sum game of two players, of which one or the other is to move.

    The first five attributes are those of an :class:`~purerl.envs.base.Environment`, with these meanings: ``obs`` is
    the view of the player to move; ``reward`` is that of the player *who moved*, the other's being its negative. The
    step of a game that terminated changes nothing and has reward 0; nobody looks at what lies behind a truncation. A
    move that is not legal ends the game with reward -1.

    Where something is hidden, ``obs`` tells all that the player to move has seen and done, in order: whoever forgets
    nothing can know the information set by it.

    Attributes:
        name: for titles and messages.
        reset: ``(key) -> (obs, state)``.
        step: ``(key, state, action) -> (obs, state, reward, terminated, truncated, info)``.
        observation_space: what ``obs`` may be.
        action_space: the A moves of the whole game, not all of them legal at a time.
        legal: ``(state) -> [A] bool``, the moves that are allowed; after the end all of them, so that there is
            something to choose from.
        player: ``(state) -> [] int32``, 0 or 1, who is to move.
        symmetries: of the board; None where there are none to speak of.
        show: ``(state) -> str``, the state in text for a terminal. On the host, not traced.
        recipe: how it was made (:mod:`purerl.recipes`), for the record of a run.
        deals: ``() -> (probability [K], (obs, state))``, all states that a reset may lead to, with a leading axis K,
            where that is chance and no other chance follows; None where a reset tosses for nothing that matters.
    """

    name: str
    reset: Callable
    step: Callable
    observation_space: Box
    action_space: Discrete
    legal: Callable
    player: Callable
    symmetries: Symmetries | None
    show: Callable
    recipe: Recipe | None = None
    deals: Callable | None = None


def turn(game: Game, state: PyTree, next_state: PyTree, terminated: jax.Array) -> jax.Array:
    """Sign and discount of the next position's value for the player who moved: ``q = r + turn * v(next_state)``.

    Args:
        game: the game.
        state: before the move.
        next_state: after it.
        terminated: ``[]`` bool, whether the move ended the game.

    Returns:
        ``[]`` float32: 0 at the end, 1 where the same player moves again, -1 where the other one does.
    """
    again = game.player(next_state) == game.player(state)
    return jnp.where(terminated, 0.0, jnp.where(again, 1.0, -1.0)).astype(jnp.float32)


def apply(symmetries: Symmetries, index: jax.Array, obs: jax.Array, policy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A position and what is known of its moves, as they look under a symmetry.

    Args:
        symmetries: of the game.
        index: ``[]`` int, which one, 0 .. K-1; 0 changes nothing.
        obs: ``[H, W, C]``.
        policy: ``[A]``, anything there is one of for each move: probabilities, visits, legality.

    Returns:
        ``(obs, policy)``, of the same shapes.
    """
    cells, actions = jnp.asarray(symmetries.cells)[index], jnp.asarray(symmetries.actions)[index]
    return obs.reshape(-1, obs.shape[-1])[cells].reshape(obs.shape), policy[actions]


def of_square(side: int) -> np.ndarray:
    """The 8 permutations of the cells of a square board, ``[8, side^2]``: four quarter turns, the same transposed.

    Every second of them keeps both diagonals where they are.
    """
    board = np.arange(side * side, dtype=np.int32).reshape(side, side)
    turns = [np.rot90(board, quarters) for quarters in range(4)]
    return np.stack([image.ravel() for image in turns + [image.T for image in turns]])


def of_cells(cells: np.ndarray, num_others: int = 0) -> Symmetries:
    """Symmetries of a game whose moves are the cells, and then some that no symmetry changes, such as passing.

    Args:
        cells: ``[K, H*W]`` permutations.
        num_others: moves that are no cells.
    """
    others = cells.shape[1] + np.arange(num_others, dtype=np.int32)
    return Symmetries(cells, np.concatenate([cells, np.tile(others, (len(cells), 1))], axis=1))


def of_columns(height: int, width: int) -> Symmetries:
    """Symmetries of a game whose moves are the columns of the board: as it is, and left and right exchanged."""
    board = np.arange(height * width, dtype=np.int32).reshape(height, width)
    columns = np.arange(width, dtype=np.int32)
    return Symmetries(np.stack([board.ravel(), board[:, ::-1].ravel()]), np.stack([columns, columns[::-1]]))
