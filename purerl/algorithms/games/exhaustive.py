"""Every game that a player may get into: for small games, a proof and not a sample."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.games.players import Player
from purerl.envs.games import Game
from purerl.types import PyTree


class Lines(NamedTuple):
    """How all lines of a game end for a player."""

    wins: int
    draws: int
    losses: int


def every_line(
    game: Game, player: Player, begins: bool, key: jax.Array, batch_size: int = 256, max_positions: int = 1_000_000
) -> Lines:
    """Let a player that does not play at random meet every reply to each of its moves.

    Positions are taken level by level, in compiled batches; the host keeps a level.

    Args:
        game: without chance.
        player: whose moves do not depend on its key.
        begins: whether it makes the first move.
        key: handed to the game and the player.
        batch_size: positions that are looked at together.
        max_positions: on one level.

    Returns:
        The number of lines that it wins, draws and loses.

    Raises:
        ValueError: if there are more positions than that.
    """
    num_actions = game.action_space.n
    everything = jnp.arange(num_actions, dtype=game.action_space.dtype)

    @jax.jit
    def follow(obs: PyTree, state: PyTree) -> tuple:
        """All that may come next, ``[B, A, ...]``, and which of it does."""
        choice = jax.nn.one_hot(player(obs, state, key), num_actions, dtype=bool)
        mine = ((jax.vmap(game.player)(state) == 0) == begins)[:, None]
        played = jnp.where(mine, choice, jax.vmap(game.legal)(state))
        step = jax.vmap(jax.vmap(game.step, (None, None, 0)), (None, 0, None))
        obs, state, reward, over, _, _ = step(key, state, everything)
        return (obs, state), jnp.where(mine, reward, -reward), played, over

    def followed(level: PyTree, start: int, size: int) -> tuple[PyTree, np.ndarray]:
        """What one batch of a level leads to: positions that go on, and the rewards of games that ended."""
        rows = np.minimum(np.arange(start, start + batch_size), size - 1)
        after, reward, played, over = jax.device_get(follow(*jax.tree.map(lambda x: x[rows], level)))
        played = played & (np.arange(start, start + batch_size) < size)[:, None]
        return jax.tree.map(lambda x: x[played & ~over], after), reward[played & over]

    level = jax.tree.map(lambda x: np.asarray(x)[None], game.reset(key))
    tally = np.zeros(3, int)
    while (size := len(jax.tree.leaves(level)[0])) > 0:
        if size > max_positions:
            raise ValueError(f"{game.name}: {size} positions on one level, more than max_positions = {max_positions}.")
        parts, ends = zip(*(followed(level, start, size) for start in range(0, size, batch_size)), strict=True)
        level = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        end = np.concatenate(ends)
        tally += [np.sum(end > 0), np.sum(end == 0), np.sum(end < 0)]
    return Lines(*tally.tolist())
