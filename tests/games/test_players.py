"""Random and one-ply players against plain search and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.games.players import one_ply, random_player
from purerl.types import Seen
from tests.oracles import connect_four, tic_tac_toe
from tests.support.cut_game import cut_game
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


# Connect Four: what the one-ply player may play after these moves.
CASES = {
    (0, 6, 0, 6, 0, 6): {0},  # both have three in a column: win, rather than block
    (0, 6, 0, 5, 0): {0},
    (0, 6, 1, 6, 2): {3},
    (0, 6, 1, 6, 2, 5): {3},
    (0, 1, 1, 2, 2, 3, 2, 3, 3, 5): {3},  # x has the diagonal, and a place to stand on in column 3
    (0, 1, 1, 2, 2, 3, 2, 3, 3): {4},  # the same, but o has three in the lowest row and is to move
    (2, 0, 0, 1, 1, 6, 2): {0, 1, 2, 4, 5, 6},  # x would win in column 3 on top of a stone
}
NUM_DRAWS = 32


@pytest.fixture(scope="module")
def played():
    """Positions and moves of the one-ply player: each case many times, then those of random games."""
    game, length = game_of("connect_four"), 42
    cases = [[*moves, *[-1] * (length - len(moves))] for moves in CASES]
    rng = np.random.default_rng(0)
    random = np.argsort(rng.random((400, length)), axis=1) % 7  # no column more than six times
    random[np.arange(length) >= rng.integers(4, length, (400, 1))] = -1
    seen = after(game, np.concatenate([np.repeat(cases, NUM_DRAWS, axis=0), random]))
    actions = np.asarray(actions_of(one_ply(game), seen, KEY[None]))[:, 0]
    return [connect_four.from_obs(obs) for obs in np.asarray(seen.obs)], actions


def test_one_ply_wins_and_blocks_by_hand(played):
    """Three of its own in a row, it makes four; three of the other's, it stops them, in a column, a row and a diagonal;
    it does not play below a cell where the other would win."""
    positions, actions = played
    size = len(CASES) * NUM_DRAWS
    assert positions[:size:NUM_DRAWS] == [connect_four.from_moves(moves) for moves in CASES]
    assert [set(some) for some in actions[:size].reshape(-1, NUM_DRAWS).tolist()] == list(CASES.values())


def test_one_ply_never_loses_in_one_where_that_can_be_helped(played):
    """Positions of 400 random games: it wins if the solver's bits show a win, and else leaves no win to the other if
    there is such a move."""
    positions, actions = (x[len(CASES) * NUM_DRAWS :] for x in played)
    met = dict.fromkeys(("won", "safe", "lost"), 0)
    for (own, taken), action in zip(positions, actions, strict=True):
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


def test_one_ply_fears_nothing_behind_a_truncation():
    """One move cuts the game off, after the other the opponent wins at once: the first is drawn, always."""
    game = cut_game(1.0, forced=False)
    moves = jnp.full(1, 2, jnp.int32)
    drawn = actions_of(one_ply(game), Seen(jax.nn.one_hot(moves, 5), moves), jax.random.split(KEY, 64))
    assert set(drawn.ravel().tolist()) == {0}


def test_one_ply_plays_by_the_rules_where_nothing_punishes_another_move():
    """A game in which a move that is not legal would go on like any other: it is never drawn."""
    game = cut_game(0.0)
    moves = jnp.zeros(1, jnp.int32)
    drawn = actions_of(one_ply(game), Seen(jax.nn.one_hot(moves, 5), moves), jax.random.split(KEY, 64))
    assert set(drawn.ravel().tolist()) == {0}
