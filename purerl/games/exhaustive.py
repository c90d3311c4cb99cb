"""Exhaustive search of small games: every line against a deterministic player, and minimax over all positions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.agent import Agent, reactive
from purerl.envs.games import Game
from purerl.games.levels import Step, TooLargeError, first_level, follower, joined, num_positions
from purerl.types import PyTree, Seen


class Lines(NamedTuple):
    """Outcome counts of all lines of a game, for one player."""

    wins: int
    draws: int
    losses: int


class Solution(NamedTuple):
    """Minimax solution of a game: all N non-terminal positions, by number of moves, with their values."""

    obs: PyTree  # [N, ...]
    state: PyTree  # [N, ...]
    mover: np.ndarray  # [N] who is to move
    value: np.ndarray  # [N] from the perspective of the mover
    q: np.ndarray  # [N, A] the same of the position's moves, -inf where one is not legal

    @property
    def best(self) -> np.ndarray:
        """Which moves are perfect, ``[N, A]``."""
        return self.q == self.value[:, None]


def every_line(
    game: Game, player: Agent, begins: bool, key: jax.Array, batch_size: int = 256, max_positions: int = 1_000_000
) -> Lines:
    """Exhaustive play: a deterministic player against every reply to each of its moves.

    Positions are taken level by level, in compiled batches; the host keeps a level.

    Args:
        game: without chance.
        player: a reactive agent whose moves do not depend on its key.
        begins: whether it makes the first move.
        key: handed to the game and the player.
        batch_size: positions that are looked at together.
        max_positions: on one level.

    Returns:
        The number of lines that it wins, draws and loses.

    Raises:
        TooLargeError: if there are more positions than that.
    """

    def played(obs: PyTree, state: PyTree) -> jax.Array:
        _, action = player.policy(player.start(), Seen(obs, state), key)
        choice = jax.nn.one_hot(action, game.action_space.n, dtype=bool)
        mine = (jax.vmap(game.player)(state) == 0) == begins
        return jnp.where(mine[:, None], choice, jax.vmap(game.legal)(state))

    follow = follower(game, played, key, batch_size)
    level, tally = first_level(game, key), np.zeros(3, int)
    while (size := num_positions(level)) > 0:
        _check_size(game, size, max_positions)
        parts = []
        for step in follow(level):
            mine = (step.mover[:, None] == 0) == begins
            end = np.where(mine, step.reward, -step.reward)[step.played & step.over]
            tally += [np.sum(end > 0), np.sum(end == 0), np.sum(end < 0)]
            parts.append(step.going_on())
        level = joined(parts)
    return Lines(*tally.tolist())


def solve(game: Game, key: jax.Array, batch_size: int = 256, max_positions: int = 100_000) -> Solution:
    """Minimax by backward induction over every position: ``q(s, a) = r + turn v(s')``, ``v(s) = max_a q(s, a)``.

    Positions after as many moves that look alike to the same player are one.

    Args:
        game: without chance, with observations that hide nothing.
        key: handed to the game.
        batch_size: positions that are looked at together.
        max_positions: on one level.

    Raises:
        TooLargeError: if there are more positions than that.
    """
    follow = follower(game, lambda obs, state: jax.vmap(game.legal)(state), key, batch_size)
    level, levels = first_level(game, key), []
    while (size := num_positions(level)) > 0:
        _check_size(game, size, max_positions)
        # Batch by batch only what is new to the batch is kept, as the same position comes up many times.
        steps = [step._replace(after=step.going_on()) for step in follow(level)]
        step = joined(steps)
        seen, index = _distinct(game, step.after)
        child = np.full(step.played.shape, -1)
        child[step.played & ~step.over] = index
        levels.append((level, step._replace(after=None), child))
        level = seen
    return _backed_up(levels)


def perfect_player(game: Game, solution: Solution) -> Agent:
    """Minimax player: uniform over the optimal moves.

    It compares what it sees with all positions of the solution, so it is for small games.
    """
    known = jnp.asarray(solution.obs.reshape(len(solution.value), -1))
    mover, best = jnp.asarray(solution.mover), jnp.asarray(solution.best)

    def policy(seen: Seen, key: jax.Array) -> jax.Array:
        alike = jnp.all(seen.obs.reshape(len(seen.obs), 1, -1) == known, axis=-1)
        row = jnp.argmax(alike & (jax.vmap(game.player)(seen.env_state)[:, None] == mover), axis=-1)
        return jax.random.categorical(key, jnp.where(best[row], 0.0, -jnp.inf)).astype(jnp.int32)

    return reactive(policy)


def _distinct(game: Game, level: PyTree) -> tuple[PyTree, np.ndarray]:
    """The different positions of a level, and which of them each one is."""
    obs, state = level
    if not len(obs):
        return level, np.zeros(0, int)
    mover = np.asarray(jax.vmap(game.player)(state))
    looks = np.concatenate([obs.reshape(len(obs), -1), mover[:, None]], axis=1)
    _, first, index = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    return jax.tree.map(lambda x: x[first], level), index.reshape(-1)


def _backed_up(levels: list[tuple[PyTree, Step, np.ndarray]]) -> Solution:
    """Values from the last level to the first."""
    parts, below = [], np.zeros(1)
    for (obs, state), step, child in reversed(levels):
        follows = np.where(child >= 0, below[child], 0)
        q = np.where(step.played, step.reward + step.turn * follows, -np.inf)
        below = q.max(axis=1)
        parts.append(Solution(obs, state, step.mover, below, q))
    return joined(parts[::-1])


def _check_size(game: Game, size: int, max_positions: int) -> None:
    if size > max_positions:
        raise TooLargeError(f"{game.name}: {size} positions on one level, more than max_positions = {max_positions}.")
