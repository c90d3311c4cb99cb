"""Players that do not learn, and matches, against exact probabilities and games played one at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from purerl.envs import from_pgx
from purerl.games.match import Outcomes, both_sides, match, score
from purerl.games.players import one_ply, random_player
from tests.oracles import connect_four, tic_tac_toe

KEY = jax.random.key(0)
game_of = functools.cache(from_pgx)


def within_four_standard_errors(counts, chances):
    """Whether frequencies are as chances have them."""
    n, chances = sum(counts), np.array(chances, float)
    return np.abs(counts - n * chances) <= 4 * np.sqrt(n * chances * (1 - chances))


def results(outcomes):
    """Games won, drawn and lost."""
    return np.array([(outcomes.reward == result).sum() for result in (1, 0, -1)])


# --- players ----------------------------------------------------------------------------------------------


def after(game, sequences):
    """What is seen, and the states, after sequences of moves ``[N, T]``; a negative move is none."""

    def move(carry, action):
        obs, state, *_ = game.step(KEY, carry[1], action)
        return jax.tree.map(lambda new, old: jnp.where(action < 0, old, new), (obs, state), carry), None

    @jax.jit
    @jax.vmap
    def play(sequence):
        return jax.lax.scan(move, game.reset(KEY), sequence)[0]

    return play(jnp.asarray(sequences, jnp.int32))


def sequence_to(board):
    """Moves that lead to a board of tic-tac-toe on which nobody has won, to which every order leads."""
    cells = [[cell for cell in range(9) if board[cell] == mark] for mark in (1, -1)]
    moves = [cells[t % 2][t // 2] for t in range(9 - board.count(0))]
    return moves + [-1] * (9 - len(moves))


@pytest.mark.parametrize(
    ("player", "policy"), [(random_player, "uniform"), (one_ply, "one_ply")], ids=["random", "one_ply"]
)
def test_players_choose_among_the_right_moves(player, policy):
    """Tic-tac-toe, 302 boards, 64 draws each: exactly the moves are drawn that a plain search finds."""
    game = game_of("tic_tac_toe")
    boards = [board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board)][::15]
    obs, states = after(game, [sequence_to(board) for board in boards])
    assert [tic_tac_toe.from_obs(seen) for seen in obs] == boards
    draw = jax.jit(lambda key: player(game)(obs, states, key))
    drawn = np.stack([draw(key) for key in jax.random.split(KEY, 64)], axis=1)
    for board, actions in zip(boards, drawn, strict=True):
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
    obs, states = after(game, [[*moves, *[-1] * (length - len(moves))] for moves in cases])
    draw = jax.jit(lambda key: one_ply(game)(obs, states, key))
    drawn = np.stack([draw(key) for key in jax.random.split(KEY, 32)], axis=1)
    assert [connect_four.from_obs(seen) for seen in obs] == [connect_four.from_moves(moves) for moves in cases]
    assert [set(actions) for actions in drawn] == list(cases.values())


def test_one_ply_never_loses_in_one_where_that_can_be_helped():
    """Connect Four, 200 positions of random games: it wins if the solver's bits show a win, and else leaves no win to
    the other if there is such a move."""
    game = game_of("connect_four")
    rng = np.random.default_rng(0)
    sequences = np.argsort(rng.random((400, 42)), axis=1) % 7  # no column more than six times
    sequences[np.arange(42) >= rng.integers(4, 42, (400, 1))] = -1
    obs, states = after(game, sequences)
    actions = jax.jit(one_ply(game))(obs, states, KEY)
    positions = [connect_four.from_obs(seen) for seen in obs]
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


# --- matches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("players", "policies"),
    [((random_player, random_player), ("uniform", "uniform")), ((one_ply, random_player), ("one_ply", "uniform"))],
    ids=["random-random", "one_ply-random"],
)
def test_results_are_as_likely_as_by_enumeration(players, policies):
    """Tic-tac-toe, 4000 games of two players, begun by the first and then by the second: wins, draws and losses are
    within four standard errors of their exact probabilities. No game is broken off; none has fewer than 5 moves."""
    game = game_of("tic_tac_toe")
    both = tuple(player(game) for player in players)
    outcomes = jax.jit(lambda key: both_sides(game, both, key, 4000, max_moves=9))(KEY)
    first, second = (getattr(tic_tac_toe, policy) for policy in policies)
    began = jax.tree.map(lambda x: x[:2000], outcomes)
    answered = jax.tree.map(lambda x: x[2000:], outcomes)
    assert within_four_standard_errors(results(began), tic_tac_toe.outcomes(first, second)).all()
    assert within_four_standard_errors(results(answered), tic_tac_toe.outcomes(second, first)[::-1]).all()
    assert outcomes.finished.all() and set(np.asarray(outcomes.length)) == {5, 6, 7, 8, 9}


def by_preference(game, preferences):
    """Plays, in game i, the first legal move of the list ``preferences[i]``."""

    def play(obs, state, key):
        legal = jax.vmap(game.legal)(state)
        listed = jnp.take_along_axis(legal, preferences, axis=1)
        return jnp.take_along_axis(preferences, listed.argmax(1)[:, None], axis=1)[:, 0]

    return play


def alone(lists, begins):
    """One game of tic-tac-toe between two lists: what the first earns, and the number of moves."""
    board, length = tic_tac_toe.EMPTY, 0
    while not tic_tac_toe.is_over(board):
        turn = (length + begins) % 2
        board = tic_tac_toe.play(board, next(cell for cell in lists[turn] if board[cell] == 0))
        length += 1
    return tic_tac_toe.winner(board) * (1 if begins == 0 else -1), length


@pytest.fixture(scope="module")
def scripted():
    """64 games side by side, each with players of its own, and the same games one at a time. Shape ``[2, 64]``: who
    begins, game."""
    game = game_of("tic_tac_toe")
    lists = np.argsort(np.random.default_rng(1).random((2, 64, 9)), axis=-1).astype(np.int32)
    players = tuple(by_preference(game, jnp.asarray(each)) for each in lists)
    with jax.debug_key_reuse(True):
        found = jax.jit(lambda key: both_sides(game, players, key, 128, max_moves=9))(jax.random.key(1))
        broken_off = jax.jit(lambda key: match(game, players, key, 64, max_moves=6))(jax.random.key(2))
    expected = np.array([[alone(lists[:, i], begins) for i in range(64)] for begins in range(2)])
    return found, broken_off, expected


def test_games_side_by_side_are_games_played_alone(scripted):
    """Every game of a batch, each with moves of its own, has the result and length of the same game played alone; those
    that end early go on unchanged beside the others. Whoever begins, the reward is that of the first player."""
    found, _, expected = scripted
    np.testing.assert_array_equal(found.reward.reshape(2, 64), expected[..., 0])
    np.testing.assert_array_equal(found.length.reshape(2, 64), expected[..., 1])
    assert found.finished.all() and len(set(expected[..., 1].ravel())) == 5


def test_a_game_of_too_many_moves_is_broken_off(scripted):
    """After six moves: games that ended by then have their result, the others earned nothing and are not finished."""
    _, found, expected = scripted
    reward, length = expected[0].T
    np.testing.assert_array_equal(found.finished, length <= 6)
    np.testing.assert_array_equal(found.reward, np.where(length <= 6, reward, 0))
    np.testing.assert_array_equal(found.length, np.minimum(length, 6))


def test_an_illegal_move_loses():
    """A player that plays the same cell again loses by its second move, whoever begins, and the other wins."""
    game = game_of("tic_tac_toe")

    def stubborn(obs, state, key):
        return jnp.zeros(len(obs), jnp.int32)

    players = (stubborn, by_preference(game, jnp.tile(jnp.arange(8, -1, -1, dtype=jnp.int32), (2, 1))))
    outcomes = both_sides(game, players, KEY, 4, max_moves=9)
    assert outcomes.reward.tolist() == [-1] * 4 and outcomes.length.tolist() == [3, 3, 4, 4]


def test_moves_and_rewards_are_the_movers_where_turns_do_not_alternate():
    """Leduc: one player always raises if it can, the other only calls. If the caller begins, it moves twice in a row
    when the second round starts; each game moves the same 7 chips, or none when the cards are alike, one in five. If
    the other folds as soon as it can, the raiser earns 1, after 2 or 3 moves."""
    game = game_of("leduc_holdem")
    call, bet, fold = 0, 1, 2
    raises, calls, folds = (
        by_preference(game, jnp.tile(jnp.array(moves, jnp.int32), (1000, 1)))
        for moves in ([bet, call, fold], [call, bet, fold], [fold, call, bet])
    )
    outcomes = jax.jit(lambda key: both_sides(game, (raises, calls), key, 2000, max_moves=20))(KEY)
    assert outcomes.length.tolist() == [4] * 1000 + [6] * 1000
    counts = np.array([(outcomes.reward == chips).sum() for chips in (7, 0, -7)])
    assert within_four_standard_errors(counts, [0.4, 0.2, 0.4]).all()
    outcomes = jax.jit(lambda key: both_sides(game, (raises, folds), key, 2000, max_moves=20))(KEY)
    assert outcomes.reward.tolist() == [1] * 2000 and outcomes.length.tolist() == [2] * 1000 + [3] * 1000


def test_one_player_at_a_time_is_run():
    """Where turns alternate, nine moves of tic-tac-toe ask the first player five times and the second four, though both
    are in the program."""
    game, asked = game_of("tic_tac_toe"), []

    def counting(name):
        def play(obs, state, key):
            jax.debug.callback(lambda: asked.append(name))
            draw = jnp.array([0, 2, 1, 3, 5, 4, 6, 8, 7])  # nobody wins if both play these in turn
            return draw[(obs.sum((1, 2, 3))) % 9]

        return play

    players = (counting("a"), counting("b"))
    outcomes = jax.jit(lambda key: match(game, players, key, 3, max_moves=9))(KEY)
    jax.effects_barrier()
    assert outcomes.length.tolist() == [9] * 3 and (asked.count("a"), asked.count("b")) == (5, 4)


def test_both_sides_must_be_equal():
    """An odd number of games is refused."""
    game = game_of("tic_tac_toe")
    with pytest.raises(ValueError, match=r"num_games = 7.*even"):
        both_sides(game, (random_player(game), random_player(game)), KEY, 7, max_moves=9)


# --- scores -----------------------------------------------------------------------------------------------


def outcomes_of(wins, draws, losses):
    reward = jnp.repeat(jnp.array([3.0, 0.0, -0.5]), jnp.array([wins, draws, losses]))
    return Outcomes(reward, jnp.ones(len(reward), jnp.int32), jnp.ones(len(reward), bool))


@pytest.mark.parametrize(("wins", "losses"), [(0, 5), (3, 2), (40, 0), (731, 269)], ids=str)
def test_intervals_are_wilsons(wins, losses):
    """Without draws, scipy's interval of a proportion, at two levels; the size of a win does not matter."""
    for confidence in (0.95, 0.5):
        found = score(outcomes_of(wins, 0, losses), confidence)
        expected = binomtest(wins, wins + losses).proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=1e-12)
        assert found[:4] == (wins, 0, losses, wins / (wins + losses))


def test_a_draw_is_half_a_win():
    """In points and, as two draws are worth a win and a loss, in the interval; and how a score reads."""
    found = score(outcomes_of(30, 20, 10))
    assert found[:3] == (30, 20, 10) and found[3:] == score(outcomes_of(40, 0, 20))[3:]
    assert str(found) == "30 won, 20 drawn, 10 lost: score 0.667 [0.541, 0.773]"
