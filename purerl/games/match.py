"""Matches: complete games of two agents, many at a time, and their scores.

outcomes = jax.jit(lambda key: both_sides(game, (mine, random_player(game)), key, 1000, max_moves=42))(key)
print(score(outcomes))            # 731 won, 20 drawn, 249 lost: score 0.741 [0.713, 0.767]
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.agent import Agent
from purerl.envs.games import Game
from purerl.types import Episodes, Mean, Metrics, PyTree, Seen, Transition

Players = tuple[Agent, Agent]


class Outcomes(NamedTuple):
    """Results of games. Leading axis: game."""

    reward: jax.Array  # [N] return of the first of the two players; the other's is the negative
    length: jax.Array  # [N] int32 moves
    finished: jax.Array  # [N] bool, whether the game terminated, within the moves allowed
    cut: jax.Array  # [N] bool, whether it was still going on after these


class _Table(NamedTuple):
    """Games in progress, one a row."""

    move: jax.Array  # []
    obs: PyTree  # [N, ...]
    state: PyTree  # [N, ...]
    over: jax.Array  # [N] bool, terminated or truncated
    carries: tuple[PyTree, PyTree]  # [N, ...] of each player
    outcomes: Outcomes


def match(game: Game, players: Players, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Match in which the first of two players begins every game.

    Args:
        game: the game.
        players: who moves first, and who second.
        key: typed key.
        num_games: N, static.
        max_moves: both players' moves together after which a game is truncated, each player keeping its rewards so
            far, which are 0 before the end in most games.

    Returns:
        The games' outcomes for ``players[0]``.
    """
    return _games(game, players, jnp.int32(0), key, num_games, max_moves)


def both_sides(game: Game, players: Players, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Match in which each of two players begins half of the games.

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

    # One half after the other, so that the players are compiled once and only one of them acts at a time.
    halves = jax.lax.map(half, (jnp.arange(2, dtype=jnp.int32), jax.random.split(key)))
    return jax.tree.map(jnp.ravel, halves)


def evaluation(game: Game, start: Callable, act: Callable, opponent: Agent, max_moves: int) -> Callable:
    """``Spec.evaluate`` by match play against an opponent, each side beginning half of the games.

    Args:
        game: the game.
        start: of :class:`~purerl.algorithm.Algorithm`.
        act: likewise.
        opponent: the other player.
        max_moves: as in :func:`match`.

    Returns:
        ``(hypers, state, key, num_episodes, sample=False) -> Episodes``; returns are the agent's.
    """

    def evaluate(hypers: PyTree, state: PyTree, key: jax.Array, num_episodes: int, sample: bool = False) -> Episodes:
        how = {"sample": True} if sample else {}  # an agent that is deployed in one way alone takes no such argument
        agent = Agent(start, lambda carry, seen, key: act(hypers, state, carry, seen, key, **how))
        outcomes = both_sides(game, (agent, opponent), key, num_episodes + num_episodes % 2, max_moves)
        first = slice(num_episodes)
        return Episodes(returns=outcomes.reward[first], lengths=outcomes.length[first], cut=outcomes.cut[first])

    return evaluate


def self_play_metrics(steps: Transition, player: jax.Array) -> Metrics:
    """Self-play metrics: mean return of the first player, and share of draws, over the games that ended in a rollout.

    Args:
        steps: ``[T, B]``.
        player: ``[T, B]``, 0 or 1: who moved.
    """
    ended, reward = steps.terminated, steps.reward * jnp.where(player == 0, 1, -1)
    count = jnp.sum(ended, dtype=jnp.float32)
    return {
        "first_player_return": Mean(jnp.sum(jnp.where(ended, reward, 0)), count),
        "drawn": Mean(jnp.sum(ended & (reward == 0), dtype=jnp.float32), count),
    }


def _games(game: Game, players: Players, begins: jax.Array, key: jax.Array, num_games: int, max_moves: int) -> Outcomes:
    """Outcomes for ``players[0]`` of games that ``players[begins]`` begins."""

    def start(key: jax.Array) -> _Table:
        obs, state = jax.vmap(game.reset)(jax.random.split(key, num_games))
        no, yes = jnp.zeros(num_games, bool), jnp.ones(num_games, bool)
        outcomes = Outcomes(jnp.zeros(num_games), jnp.zeros(num_games, jnp.int32), finished=no, cut=yes)
        first, second = (_repeat(player.start(), num_games) for player in players)
        return _Table(jnp.int32(0), obs, state, no, (first, second), outcomes)

    def move(table: _Table) -> _Table:
        choice_key, step_key = jax.random.split(jax.random.fold_in(play_key, table.move))
        mover = jax.vmap(game.player)(table.state) ^ begins
        (first, first_action), (second, second_action) = (
            _act(game, players[i], table.carries[i], table, (mover == i) & ~table.over, key)
            for i, key in enumerate(jax.random.split(choice_key))
        )
        action = jnp.where(mover == 0, first_action, second_action)
        obs, state, reward, terminated, truncated, _ = jax.vmap(game.step)(
            jax.random.split(step_key, num_games), table.state, action
        )
        total, length, finished, _ = table.outcomes
        playing, over = ~table.over, table.over | terminated | truncated
        outcomes = Outcomes(
            total + jnp.where(playing, jnp.where(mover == 0, reward, -reward), 0),
            length + playing,
            finished | (playing & terminated),
            ~over,
        )
        return _Table(table.move + 1, obs, state, over, (first, second), outcomes)

    def unfinished(table: _Table) -> jax.Array:
        return (table.move < max_moves) & ~table.over.all()

    start_key, play_key = jax.random.split(key)
    return jax.lax.while_loop(unfinished, move, start(start_key)).outcomes


def _act(
    game: Game, player: Agent, carry: PyTree, table: _Table, to_move: jax.Array, key: jax.Array
) -> tuple[PyTree, jax.Array]:
    """A player's carry and actions ``[N]`` after it acted where it is to move; it is not run where that is nowhere."""
    dtype = game.action_space.dtype

    def act() -> tuple[PyTree, jax.Array]:
        after, action = player.policy(carry, Seen(table.obs, table.state), key)
        return jax.tree.map(functools.partial(_where, to_move), after, carry), action.astype(dtype)

    return jax.lax.cond(to_move.any(), act, lambda: (carry, jnp.zeros(len(to_move), dtype)))


def _repeat(carry: PyTree, num_games: int) -> PyTree:
    """A carry for each game, ``[N, ...]``."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_games, *jnp.shape(x))), carry)


def _where(flag: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(flag.reshape(flag.shape + (1,) * (yes.ndim - 1)), yes, no)


class Score(NamedTuple):
    """Match score of the first player, with its interval."""

    wins: int
    draws: int  # and games truncated without a winner
    losses: int
    points: float  # (wins + draws / 2) / games
    low: float  # of the interval
    high: float

    def __str__(self) -> str:
        result = f"{self.wins} won, {self.draws} drawn, {self.losses} lost"
        return f"{result}: score {self.points:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score(outcomes: Outcomes, confidence: float = 0.95) -> Score:
    """Match score with Wilson's interval: games won, drawn and lost, and the share of points. On the host.

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
