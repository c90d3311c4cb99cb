"""Who wins: whole games of two players, many at a time.

outcomes = jax.jit(lambda key: both_sides(game, (mine, random_player(game)), key, 1000, max_moves=42))(key)
print(score(outcomes))            # 731 won, 20 drawn, 249 lost: score 0.741 [0.713, 0.767]
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.games import Game
from purerl.envs.wrappers import Exposed
from purerl.games.players import Player
from purerl.types import Episodes, Mean, Metrics, PyTree, Transition

Players = tuple[Player, Player]


class Outcomes(NamedTuple):
    """How games went. Leading axis: game."""

    reward: jax.Array  # [N] what the first of the two players earned in all; the other earned the negative
    length: jax.Array  # [N] int32 moves
    finished: jax.Array  # [N] bool, whether the game came to its end within the moves allowed


class _Table(NamedTuple):
    """Games in progress, one a row."""

    move: jax.Array  # []
    obs: PyTree  # [N, ...]
    state: PyTree  # [N, ...]
    outcomes: Outcomes


def match(game: Game, players: Players, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Games that the first of two players begins.

    Args:
        game: the game.
        players: who begins, and who answers.
        key: typed key.
        num_games: N, static.
        max_moves: both players' moves together after which a game is broken off, each having what it earned so far,
            which before the end is nothing in most games.

    Returns:
        The games' outcomes for ``players[0]``.
    """
    return _games(game, players, jnp.int32(0), key, num_games, max_moves)


def both_sides(game: Game, players: Players, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Games of which each of two players begins one half.

    Args:
        game: the game.
        players: the two.
        key: typed key.
        num_games: N, even, static.
        max_moves: as in :func:`match`.

    Returns:
        The games' outcomes for ``players[0]``; in the first half of the N it began.

    Raises:
        ValueError: if N is odd.
    """
    if num_games % 2:
        raise ValueError(f"both_sides: num_games = {num_games} cannot be halved; choose an even number.")

    def half(begins_and_key: tuple[jax.Array, jax.Array]) -> Outcomes:
        begins, key = begins_and_key
        return _games(game, players, begins, key, num_games // 2, max_moves)

    # One half after the other, so that the players are compiled once and only one of them thinks at a time.
    halves = jax.lax.map(half, (jnp.arange(2, dtype=jnp.int32), jax.random.split(key)))
    return jax.tree.map(jnp.ravel, halves)


def evaluation(game: Game, act: Callable, opponent: Player, max_moves: int) -> Callable:
    """``Spec.evaluate`` of an agent against an opponent, each beginning half of the games.

    Args:
        game: the game.
        act: ``(hypers, state, obs, key, sample) -> action``, over a batch of :class:`~purerl.envs.wrappers.Exposed`.
        opponent: the other.
        max_moves: as in :func:`match`.

    Returns:
        What evaluates; a return is the reward of the agent.
    """

    def evaluate(hypers: PyTree, state: PyTree, key: jax.Array, num_episodes: int, sample: bool = False) -> Episodes:
        def agent(obs: PyTree, position: PyTree, key: jax.Array) -> jax.Array:
            return act(hypers, state, Exposed(obs, position), key, sample)

        outcomes = both_sides(game, (agent, opponent), key, num_episodes + num_episodes % 2, max_moves)
        return Episodes(returns=outcomes.reward[:num_episodes], lengths=outcomes.length[:num_episodes])

    return evaluate


def self_play_metrics(steps: Transition) -> Metrics:
    """What who begins earned, and the share of draws, in the games that ended in a rollout.

    Args:
        steps: ``[T, B]``, with ``info["player"]``, who moved.
    """
    ended, reward = steps.terminated, steps.reward * jnp.where(steps.info["player"] == 0, 1, -1)
    count = jnp.sum(ended, dtype=jnp.float32)
    return {
        "first_player_return": Mean(jnp.sum(jnp.where(ended, reward, 0)), count),
        "drawn": Mean(jnp.sum(ended & (reward == 0), dtype=jnp.float32), count),
    }


def _games(game: Game, players: Players, begins: jax.Array, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Outcomes for ``players[0]`` of games that ``players[begins]`` begins."""

    def start(key: jax.Array) -> _Table:
        obs, state = jax.vmap(game.reset)(jax.random.split(key, num_games))
        outcomes = Outcomes(jnp.zeros(num_games), jnp.zeros(num_games, jnp.int32), jnp.zeros(num_games, bool))
        return _Table(jnp.int32(0), obs, state, outcomes)

    def choose(table: _Table, mover: jax.Array, key: jax.Array) -> jax.Array:
        """Each game's move; a player that is to move in no game is not run."""

        def ask(i: int, key: jax.Array) -> jax.Array:
            asked = (mover == i) & ~table.outcomes.finished
            nothing = jnp.zeros(num_games, game.action_space.dtype)
            return jax.lax.cond(
                asked.any(),
                lambda: players[i](table.obs, table.state, key).astype(nothing.dtype),
                lambda: nothing,
            )

        first, second = map(ask, range(2), jax.random.split(key))
        return jnp.where(mover == 0, first, second)

    def move(table: _Table) -> _Table:
        choice_key, step_key = jax.random.split(jax.random.fold_in(play_key, table.move))
        mover = jax.vmap(game.player)(table.state) ^ begins
        action = choose(table, mover, choice_key)
        # The step of a game that is over changes nothing and earns nothing.
        obs, state, reward, terminated, _, _ = jax.vmap(game.step)(
            jax.random.split(step_key, num_games), table.state, action
        )
        total, length, finished = table.outcomes
        outcomes = Outcomes(total + jnp.where(mover == 0, reward, -reward), length + ~finished, finished | terminated)
        return _Table(table.move + 1, obs, state, outcomes)

    def unfinished(table: _Table) -> jax.Array:
        return (table.move < max_moves) & ~table.outcomes.finished.all()

    start_key, play_key = jax.random.split(key)
    return jax.lax.while_loop(unfinished, move, start(start_key)).outcomes


class Score(NamedTuple):
    """A match in numbers, for the first player."""

    wins: int
    draws: int  # and games broken off without a winner
    losses: int
    points: float  # (wins + draws / 2) / games
    low: float  # of the interval
    high: float

    def __str__(self) -> str:
        result = f"{self.wins} won, {self.draws} drawn, {self.losses} lost"
        return f"{result}: score {self.points:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score(outcomes: Outcomes, confidence: float = 0.95) -> Score:
    """Games won, drawn and lost, and the share of points with Wilson's interval. On the host.

    ``(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)``, with ``p`` the points per game: 1, 1/2 or 0

    Of all results with mean ``p``, wins and losses alone have the largest variance, ``p (1 - p)``; with draws the
    interval is wider than it need be.

    Args:
        outcomes: of at least one game.
        confidence: of the interval, in (0, 1).

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, (4).
    """
    from scipy.stats import norm  # half a second, which `import purerl` need not pay

    reward = np.asarray(outcomes.reward)
    wins, losses, n = int((reward > 0).sum()), int((reward < 0).sum()), reward.size
    draws = n - wins - losses
    p, z = (wins + draws / 2) / n, norm.ppf((1 + confidence) / 2)
    centre = p + z**2 / (2 * n)
    width = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre + np.array([-width, width])) / (1 + z**2 / n)
    return Score(wins, draws, losses, p, float(low), float(high))
