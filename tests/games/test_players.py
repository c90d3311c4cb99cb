"""Random and one-ply players against plain search and by hand."""

import jax
import numpy as np
import pytest

from purerl.games.players import one_ply, random_player
from tests.oracles import connect_four, tic_tac_toe
from tests.support.positions import actions_of, after, game_of, sequence_to

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("player", "policy"), [(random_player, "uniform"), (one_ply, "one_ply")], ids=["random", "one_ply"]
)
def test_players_choose_among_the_right_moves(player, policy):
    """Tic-tac-toe, 302 boards, 64 draws each: exactly the moves are drawn that a plain search finds."""
    game = game_of("tic_tac_toe")
    boards = [board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board)][::15]
    seen = after(game, [sequence_to(board) for board in boards])
    assert [tic_tac_toe.from_obs(obs) for obs in seen.obs] == boards
    drawn = actions_of(player(game), seen, jax.random.split(KEY, 64))
    for board, actions in zip(boards, drawn.tolist(), strict=True):
        assert set(actions) == set(getattr(tic_tac_toe, policy)(board))


def test_one_ply_wins_and_blocks_by_hand():
    """Connect Four: three of its own in a row, it makes four; three of the other's, it stops them, in a column, a row
    and a diagonal; it does not play below a cell where the other would win."""
    game = game_of("connect_four")
    cases = {
        (0, 6, 0, 6, 0, 6): {0},  # both have three in a column: win, rather than block
        (0, 6, 0, 5, 0): {0},
        (0, 6, 1, 6, 2): {3},
        (0, 6, 1, 6, 2, 5): {3},
        (0, 1, 1, 2, 2, 3, 2, 3, 3, 5): {3},  # x has the diagonal, and a place to stand on in column 3
        (0, 1, 1, 2, 2, 3, 2, 3, 3): {4},  # the same, but o has three in the lowest row and is to move
        (2, 0, 0, 1, 1, 6, 2): {0, 1, 2, 4, 5, 6},  # x would win in column 3 on top of a stone
    }
    length = max(map(len, cases))
    seen = after(game, [[*moves, *[-1] * (length - len(moves))] for moves in cases])
    drawn = actions_of(one_ply(game), seen, jax.random.split(KEY, 32)).tolist()
    assert [connect_four.from_obs(obs) for obs in seen.obs] == [connect_four.from_moves(moves) for moves in cases]
    assert [set(actions) for actions in drawn] == list(cases.values())


def test_one_ply_never_loses_in_one_where_that_can_be_helped():
    """Connect Four, 200 positions of random games: it wins if the solver's bits show a win, and else leaves no win to
    the other if there is such a move."""
    game = game_of("connect_four")
    rng = np.random.default_rng(0)
    sequences = np.argsort(rng.random((400, 42)), axis=1) % 7  # no column more than six times
    sequences[np.arange(42) >= rng.integers(4, 42, (400, 1))] = -1
    seen = after(game, sequences)
    actions = actions_of(one_ply(game), seen, KEY[None])[:, 0]
    positions = [connect_four.from_obs(obs) for obs in seen.obs]
    met = dict.fromkeys(("won", "safe", "lost"), 0)
    for (own, taken), action in zip(positions, np.asarray(actions), strict=True):
        if connect_four.is_over(own, taken):
            continue
        children = {
            column: connect_four.play(own, taken, connect_four.landing(taken, column))
            for column in connect_four.legal_moves(taken)
        }
        safe = {column for column, child in children.items() if not connect_four.winning_moves(*child)}
        if wins := connect_four.winning_moves(own, taken):
            met["won"] += 1
            assert action in wins
        else:
            met["safe" if safe else "lost"] += 1
            assert action in (safe or children)
    assert met["won"] > 20 and met["safe"] > 100 and met["lost"] > 0
