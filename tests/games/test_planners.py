"""Search in games with known rules, against exact play."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs, search
from purerl.games import exhaustive, planners
from tests.games.test_match import after, sequence_to
from tests.oracles import connect_four, tic_tac_toe

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def game():
    return envs.make("pgx/tic_tac_toe")


@functools.cache
def best_moves():
    """The first best move by minimax on each of the 3^9 boards that can be reached."""
    table = np.zeros(3**9, np.int32)
    for board in tic_tac_toe.positions():
        if not tic_tac_toe.is_over(board):
            mine, others = (np.array(board) == sign * tic_tac_toe.to_move(board) for sign in (1, -1))
            table[(mine + 2 * others) @ 3 ** np.arange(9)] = tic_tac_toe.optimal_moves(board)[0]
    return table


def perfect(obs, state, key):
    cells = obs.reshape(-1, 9, 2).astype(jnp.int32)
    return jnp.asarray(best_moves())[(cells[..., 0] + 2 * cells[..., 1]) @ 3 ** jnp.arange(9)]


def lines_by_recursion(board, mine):
    """Wins, draws and losses of the first legal move, playing ``mine``, against all replies."""
    if tic_tac_toe.is_over(board):
        return np.array([tic_tac_toe.winner(board) == outcome * mine for outcome in (1, 0, -1)], int)
    moves = tic_tac_toe.moves(board)
    moves = moves[:1] if tic_tac_toe.to_move(board) == mine else moves
    return sum(lines_by_recursion(tic_tac_toe.play(board, cell), mine) for cell in moves)


def test_every_line_is_met(game):
    """A perfect player loses none; the first legal move loses some, as many as plain recursion finds."""

    def first_legal(obs, state, key):
        return jnp.argmax(jax.vmap(game.legal)(state), axis=-1)

    for begins, mine in ((True, 1), (False, -1)):
        assert exhaustive.every_line(game, perfect, begins, KEY).losses == 0
        found = exhaustive.every_line(game, first_legal, begins, KEY, batch_size=64)
        np.testing.assert_array_equal(found, lines_by_recursion(tic_tac_toe.EMPTY, mine))
        assert found.losses > 0
    with pytest.raises(ValueError, match="more than max_positions = 5"):
        exhaustive.every_line(game, first_legal, False, KEY, max_positions=5)


def test_the_rules_as_a_model(game):
    """A move that wins earns 1 and nothing follows; one that does not earns 0 and what follows is the other's."""
    board = (1, 1, 0, -1, -1, 0, 0, 0, 0)  # X to move wins at 2
    _, state = after(game, [sequence_to(board)] * 2)

    def evaluate_leaf(params, key, obs, state):
        return jnp.zeros((2, 9)), jnp.array([0.25, 0.5])

    output, _ = planners.model(game, evaluate_leaf)((), KEY, jnp.array([2, 8]), state)
    np.testing.assert_array_equal(output.reward, [1, 0])
    np.testing.assert_array_equal(output.discount, [0, -1])
    np.testing.assert_array_equal(output.value, [0, 0.5])
    np.testing.assert_array_equal(jnp.isfinite(output.logits[1]), [0, 0, 1, 0, 0, 1, 1, 1, 0])


@pytest.mark.covers("dt-plan")
def test_playouts_are_worth_what_random_play_is(game):
    """From the empty board X scores 737/1260 - 121/420 on average; after a move the same is counted from O's side."""
    num_games = 4000
    value = jax.jit(planners.playout(game, 9))
    for board in (tic_tac_toe.EMPTY, tic_tac_toe.play(tic_tac_toe.EMPTY, 4)):
        _, state = after(game, [sequence_to(board)] * num_games)
        returns = np.asarray(value(KEY, state))
        chances = tic_tac_toe.outcomes(tic_tac_toe.uniform, tic_tac_toe.uniform, board)
        exact = float(chances[0] - chances[2]) * tic_tac_toe.to_move(board)
        assert abs(returns.mean() - exact) < 4 * returns.std() / num_games**0.5


@pytest.mark.covers("mcts")
def test_uct_never_loses_tic_tac_toe(game):
    """With 1600 simulations a move, in every line that an opponent can choose, on both sides."""
    player = planners.uct_player(game, num_simulations=1600)
    for begins in (True, False):
        lines = exhaustive.every_line(game, player, begins, KEY, batch_size=32)
        assert lines.losses == 0 and lines.wins > 0, (begins, lines)


@pytest.mark.covers("mcts")
def test_uct_finds_every_forced_win_and_block(game):
    """On all boards with five and six stones: only moves that minimax calls best; values near minimax's, and the nearer
    the longer the search."""
    boards = [
        board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board) and 9 - board.count(0) in (5, 6)
    ]
    obs, state = after(game, [sequence_to(board) for board in boards])
    exact = np.array([tic_tac_toe.value(board) for board in boards])
    evaluate_leaf = planners.playout_evaluator(game, 9)
    root = planners.root(game, evaluate_leaf, (), KEY, obs, state)
    errors = []
    for num_simulations in (50, 400):
        think = jax.jit(
            functools.partial(search.uct, model=planners.model(game, evaluate_leaf), num_simulations=num_simulations)
        )
        decision = think((), KEY, root)
        errors.append(np.abs(decision.value - exact).mean())
    wrong = [
        board
        for board, move in zip(boards, decision.action.tolist(), strict=True)
        if move not in tic_tac_toe.optimal_moves(board)
    ]
    assert not wrong
    assert errors[1] < errors[0] / 2 and errors[1] < 0.1, errors


def test_uct_solves_endgames_of_connect_four():
    """With at most eight cells left, on random positions, its move is one that an alpha-beta search calls best."""
    game = envs.make("pgx/connect_four")
    rng = np.random.default_rng(0)
    sequences = []
    while len(sequences) < 24:
        columns = rng.permutation(np.repeat(np.arange(7), 6))[: rng.integers(34, 37)].tolist()
        own, taken = connect_four.from_moves(columns)
        stones = [connect_four.from_moves(columns[:t]) for t in range(len(columns) + 1)]
        if not any(connect_four.is_over(*position) for position in stones):
            sequences.append((columns + [-1] * (42 - len(columns)), connect_four.optimal_moves(own, taken)))
    obs, state = after(game, [moves for moves, _ in sequences])
    action = jax.jit(planners.uct_player(game, num_simulations=600))(obs, state, KEY)
    for move, (_, best) in zip(action.tolist(), sequences, strict=True):
        assert move in best
