"""Exhaustive play and minimax solutions of tic-tac-toe, against plain recursion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.agent import reactive
from purerl.games import exhaustive
from purerl.games.players import random_player
from purerl.types import Seen
from tests.oracles import tic_tac_toe
from tests.support.cut_game import REWARD, cut_game
from tests.support.positions import actions_of, game_of

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def game():
    return game_of("tic_tac_toe")


@pytest.fixture(scope="module")
def solution(game):
    return exhaustive.solve(game, KEY)


@pytest.mark.covers("dt-plan")
def test_solution_is_minimax(solution):
    """All 4520 boards that are not terminal, each once, with the values, the values of moves and the best moves
    that plain recursion finds."""
    boards = [tic_tac_toe.from_obs(obs) for obs in solution.obs]
    assert sorted(boards) == sorted(board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board))
    np.testing.assert_array_equal(solution.value, [tic_tac_toe.value(board) for board in boards])
    np.testing.assert_array_equal(solution.mover, [(1 - tic_tac_toe.to_move(board)) // 2 for board in boards])
    for board, q, best in zip(boards, solution.q, solution.best, strict=True):
        moves = tic_tac_toe.moves(board)
        np.testing.assert_array_equal(np.flatnonzero(np.isfinite(q)), moves)
        np.testing.assert_array_equal(q[moves], [-tic_tac_toe.value(tic_tac_toe.play(board, cell)) for cell in moves])
        np.testing.assert_array_equal(np.flatnonzero(best), tic_tac_toe.optimal_moves(board))


def test_games_that_are_too_large_are_given_up(game):
    """Nine positions after the first move are more than five."""
    with pytest.raises(exhaustive.TooLargeError, match="pgx/tic_tac_toe: 9 positions on one level, more than"):
        exhaustive.solve(game, KEY, max_positions=5)


@pytest.mark.covers("dt-plan")
def test_perfect_player_makes_all_perfect_moves(game, solution):
    """On 61 boards, 64 draws each: exactly the moves are drawn that are best."""
    rows = np.arange(0, len(solution.value), 75)
    seen = Seen(*jax.tree.map(lambda x: jnp.asarray(x[rows]), (solution.obs, solution.state)))
    drawn = actions_of(exhaustive.perfect_player(game, solution), seen, jax.random.split(KEY, 64))
    for board, actions in zip(solution.obs[rows], drawn.tolist(), strict=True):
        assert {*actions} == {*tic_tac_toe.optimal_moves(tic_tac_toe.from_obs(board))}


@functools.cache
def best_moves():
    """The first best move by minimax on each of the 3^9 boards that can be reached."""
    table = np.zeros(3**9, np.int32)
    for board in tic_tac_toe.positions():
        if not tic_tac_toe.is_over(board):
            mine, others = (np.array(board) == sign * tic_tac_toe.to_move(board) for sign in (1, -1))
            table[(mine + 2 * others) @ 3 ** np.arange(9)] = tic_tac_toe.optimal_moves(board)[0]
    return table


@reactive
def perfect(seen, key):
    cells = seen.obs.reshape(-1, 9, 2).astype(jnp.int32)
    return jnp.asarray(best_moves())[(cells[..., 0] + 2 * cells[..., 1]) @ 3 ** jnp.arange(9)]


def test_every_line_is_met(game):
    """A perfect second player loses no line; the first legal move, as the first player, loses some, as many as plain
    recursion finds."""
    assert exhaustive.every_line(game, perfect, False, KEY).losses == 0
    first_legal = reactive(lambda seen, key: jnp.argmax(jax.vmap(game.legal)(seen.env_state), axis=-1))
    found = exhaustive.every_line(game, first_legal, True, KEY, batch_size=64)
    np.testing.assert_array_equal(found, tic_tac_toe.lines_of_first_legal(1))
    assert found.losses > 0


@pytest.mark.parametrize("behind", [1.0, -1.0])
def test_no_line_goes_on_behind_a_truncation(behind):
    """A game that is cut off in its third move has three positions, with that move's reward for a value."""
    game = cut_game(behind)
    solution = exhaustive.solve(game, KEY)
    assert solution.value.tolist() == [REWARD, -REWARD, REWARD]
    assert exhaustive.every_line(game, random_player(game), True, KEY) == (1, 0, 0)
