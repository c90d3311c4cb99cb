"""Search in games with known rules, against exact play."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.games import exhaustive, planners
from tests.oracles import connect_four, tic_tac_toe
from tests.support.cut_game import REWARD, cut_game
from tests.support.positions import actions_of, after, game_of, sequence_to

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def game():
    return game_of("tic_tac_toe")


def test_the_rules_as_a_model(game):
    """A winning move has reward 1 and discount 0; another has reward 0, and discount -1 as the turn passes."""
    board = (1, 1, 0, -1, -1, 0, 0, 0, 0)  # X to move wins at 2
    state = after(game, [sequence_to(board)] * 2).env_state

    def evaluate_leaf(params, key, obs, state):
        return jnp.zeros((2, 9)), jnp.array([0.25, 0.5])

    output, _ = planners.model(game, evaluate_leaf)((), KEY, jnp.array([2, 8]), state)
    np.testing.assert_array_equal(output.reward, [1, 0])
    np.testing.assert_array_equal(output.discount, [0, -1])
    np.testing.assert_array_equal(output.value, [0, 0.5])
    np.testing.assert_array_equal(jnp.isfinite(output.logits[1]), [0, 0, 1, 0, 0, 1, 1, 1, 0])


@pytest.mark.covers("dt-plan")
def test_playouts_return_what_random_play_does(game):
    """From the empty board X scores 737/1260 - 121/420 on average; after a move the same is counted from O's side."""
    num_games = 1000
    value = jax.jit(planners.playout(game, 9))
    for board in (tic_tac_toe.EMPTY, tic_tac_toe.play(tic_tac_toe.EMPTY, 4)):
        returns = np.asarray(value(KEY, after(game, [sequence_to(board)] * num_games).env_state))
        chances = tic_tac_toe.outcomes(tic_tac_toe.uniform, tic_tac_toe.uniform, board)
        exact = float(chances[0] - chances[2]) * tic_tac_toe.to_move(board)
        assert abs(returns.mean() - exact) < 4 * returns.std() / num_games**0.5


@pytest.mark.parametrize("behind", [1.0, -1.0])
def test_nothing_behind_a_truncation_reaches_a_playout_or_a_search(behind):
    """A game that is cut off in its third move: playouts, searches from every position and their values see the reward
    of that move, and of the position after it what the leaf evaluator thinks."""
    game = cut_game(behind)
    state = jnp.arange(3, dtype=jnp.int32)
    np.testing.assert_array_equal(planners.playout(game, 9)(KEY, state), [REWARD, -REWARD, REWARD])

    def evaluate_leaf(params, key, obs, state):
        return jnp.zeros((len(state), 2)), jnp.where(state == 3, 0.25, 0.0)  # of whoever would be to move there

    root = planners.root(game, evaluate_leaf, (), KEY, jax.vmap(lambda moves: jax.nn.one_hot(moves, 5))(state), state)
    decision = jax.jit(functools.partial(search.uct, model=planners.model(game, evaluate_leaf), num_simulations=6))(
        (), KEY, root
    )
    assert decision.tree.child[0, 2].tolist() == [-1, -1]  # it is not expanded
    np.testing.assert_allclose(decision.tree.value[0, 2, 0], REWARD - 0.25)


def test_evaluations_name_the_opponent():
    """In words beside a result, with the simulations of a search."""
    assert planners.describe_games("one_ply", 100) == "evaluation games against one_ply"
    assert planners.describe_games("uct", 100) == "evaluation games against uct with 100 simulations a move"


@pytest.mark.deep
@pytest.mark.covers("mcts")
def test_uct_never_loses_tic_tac_toe(game):
    """With 1600 simulations a move, in every line that an opponent can choose, on both sides."""
    player = planners.uct_player(game, num_simulations=1600)
    for begins in (True, False):
        lines = exhaustive.every_line(game, player, begins, KEY, batch_size=32)
        assert lines.losses == 0 and lines.wins > 0, (begins, lines)


@pytest.mark.covers("mcts")
def test_uct_finds_every_forced_win_and_block(game):
    """On a sixth of all boards with five and six stones: only optimal moves, and values near those of minimax."""
    boards = [
        board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board) and 9 - board.count(0) in (5, 6)
    ][::6]
    seen = after(game, [sequence_to(board) for board in boards])
    exact = np.array([tic_tac_toe.value(board) for board in boards])
    evaluate_leaf = planners.playout_evaluator(game, 9)
    root = planners.root(game, evaluate_leaf, (), KEY, *seen)
    run_search = functools.partial(search.uct, model=planners.model(game, evaluate_leaf), num_simulations=400)
    decision = jax.jit(run_search)((), KEY, root)
    wrong = [
        board
        for board, move in zip(boards, decision.action.tolist(), strict=True)
        if move not in tic_tac_toe.optimal_moves(board)
    ]
    assert not wrong
    assert np.abs(decision.value - exact).mean() < 0.1


@pytest.mark.deep
def test_uct_solves_endgames_of_connect_four():
    """With at most eight cells left, on random positions, its move is one that an alpha-beta search calls best."""
    game = game_of("connect_four")
    rng = np.random.default_rng(0)
    sequences = []
    while len(sequences) < 24:
        columns = rng.permutation(np.repeat(np.arange(7), 6))[: rng.integers(34, 37)].tolist()
        own, taken = connect_four.from_moves(columns)
        stones = [connect_four.from_moves(columns[:t]) for t in range(len(columns) + 1)]
        if not any(connect_four.is_over(*position) for position in stones):
            sequences.append((columns + [-1] * (42 - len(columns)), connect_four.optimal_moves(own, taken)))
    seen = after(game, [moves for moves, _ in sequences])
    action = actions_of(planners.uct_player(game, num_simulations=600), seen, KEY[None])
    for move, (_, best) in zip(action[:, 0].tolist(), sequences, strict=True):
        assert move in best
