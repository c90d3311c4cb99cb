"""Matches against exact probabilities and games played one at a time, and their scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from purerl.agent import Agent, no_carry, reactive
from purerl.games.match import Outcomes, both_sides, evaluation, match, score, self_play_metrics
from purerl.games.players import one_ply, random_player
from purerl.types import Transition
from tests.oracles import tic_tac_toe
from tests.support.cut_game import REWARD, cut_game
from tests.support.positions import by_preference, game_of

KEY = jax.random.key(0)


def within_four_standard_errors(counts, chances):
    """Whether frequencies are as chances have them."""
    n, chances = sum(counts), np.array(chances, float)
    return np.abs(counts - n * chances) <= 4 * np.sqrt(n * chances * (1 - chances))


def results(outcomes):
    """Games won, drawn and lost."""
    return np.array([(outcomes.reward == result).sum() for result in (1, 0, -1)])


# --- matches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("players", "policies"),
    [
        pytest.param((random_player, random_player), ("uniform", "uniform"), marks=pytest.mark.deep),
        ((one_ply, random_player), ("one_ply", "uniform")),
    ],
    ids=["random-random", "one_ply-random"],
)
def test_results_are_as_likely_as_by_enumeration(players, policies):
    """Tic-tac-toe, 1000 games of two players, begun by the first and then by the second: wins, draws and losses are
    within four standard errors of their exact probabilities. No game is truncated; none has fewer than 5 moves."""
    game = game_of("tic_tac_toe")
    both = tuple(player(game) for player in players)
    outcomes = jax.jit(lambda key: both_sides(game, both, key, 1000, max_moves=9))(KEY)
    first, second = (getattr(tic_tac_toe, policy) for policy in policies)
    began = jax.tree.map(lambda x: x[:500], outcomes)
    answered = jax.tree.map(lambda x: x[500:], outcomes)
    assert within_four_standard_errors(results(began), tic_tac_toe.outcomes(first, second)).all()
    assert within_four_standard_errors(results(answered), tic_tac_toe.outcomes(second, first)[::-1]).all()
    assert outcomes.finished.all() and set(np.asarray(outcomes.length)) == {5, 6, 7, 8, 9}


def alone(lists, begins):
    """One game of tic-tac-toe between two lists: reward of the first, and the number of moves."""
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
        truncated = jax.jit(lambda key: match(game, players, key, 64, max_moves=6))(jax.random.key(2))
    expected = np.array([[alone(lists[:, i], begins) for i in range(64)] for begins in range(2)])
    return found, truncated, expected


def test_games_side_by_side_are_games_played_alone(scripted):
    """Every game of a batch, each with moves of its own, has the result and length of the same game played alone; those
    that end early go on unchanged beside the others. Whoever begins, the reward is that of the first player."""
    found, _, expected = scripted
    np.testing.assert_array_equal(found.reward.reshape(2, 64), expected[..., 0])
    np.testing.assert_array_equal(found.length.reshape(2, 64), expected[..., 1])
    assert found.finished.all() and len(set(expected[..., 1].ravel())) == 5


def test_a_game_of_too_many_moves_is_truncated(scripted):
    """After six moves: games that ended by then have their result, the others have reward 0 and are not finished."""
    _, found, expected = scripted
    reward, length = expected[0].T
    np.testing.assert_array_equal(found.finished, length <= 6)
    np.testing.assert_array_equal(found.reward, np.where(length <= 6, reward, 0))
    np.testing.assert_array_equal(found.length, np.minimum(length, 6))


@pytest.mark.parametrize("behind", [1.0, -1.0])
def test_nothing_behind_a_truncation_counts(behind):
    """A game that its rules cut off in the third move is over there, without having terminated: that move's reward
    counts and no more moves are made. After two allowed moves it is cut by that limit instead."""
    game = cut_game(behind)
    players = (random_player(game),) * 2
    outcomes = jax.jit(lambda key: both_sides(game, players, key, 4, max_moves=9))(KEY)
    assert outcomes.reward.tolist() == [REWARD] * 2 + [-REWARD] * 2 and outcomes.length.tolist() == [3] * 4
    assert not outcomes.finished.any() and not outcomes.cut.any()
    short = match(game, players, KEY, 2, max_moves=2)
    assert short.cut.all() and short.length.tolist() == [2] * 2 and not short.finished.any()


def test_an_illegal_move_loses():
    """A player that plays the same cell again loses by its second move, whoever begins, and the other wins."""
    game = game_of("tic_tac_toe")

    stubborn = reactive(lambda seen, key: jnp.zeros(len(seen.obs), jnp.int32))
    players = (stubborn, by_preference(game, jnp.tile(jnp.arange(8, -1, -1, dtype=jnp.int32), (2, 1))))
    outcomes = both_sides(game, players, KEY, 4, max_moves=9)
    assert outcomes.reward.tolist() == [-1] * 4 and outcomes.length.tolist() == [3, 3, 4, 4]


def test_moves_and_rewards_are_the_movers_where_turns_do_not_alternate():
    """Leduc: one player always raises if it can; in half of the games the other only calls. If the caller begins, it
    moves twice in a row when the second round starts; each game moves the same 7 chips, or none when the cards are
    alike, one in five. In the other half it folds as soon as it can: the raiser gets 1, after 2 or 3 moves."""
    game = game_of("leduc_holdem")
    call, bet, fold = 0, 1, 2
    raises, calls, folds = (
        jnp.tile(jnp.array(moves, jnp.int32), (500, 1))
        for moves in ([bet, call, fold], [call, bet, fold], [fold, call, bet])
    )
    players = (
        by_preference(game, jnp.concatenate([raises, raises])),
        by_preference(game, jnp.concatenate([calls, folds])),
    )
    outcomes = jax.jit(lambda key: both_sides(game, players, key, 2000, max_moves=20))(KEY)
    length, reward = (np.asarray(x).reshape(2, 2, 500) for x in (outcomes.length, outcomes.reward))
    np.testing.assert_array_equal(length, np.broadcast_to([[[4], [2]], [[6], [3]]], length.shape))
    counts = np.array([(reward[:, 0] == chips).sum() for chips in (7, 0, -7)])
    assert within_four_standard_errors(counts, [0.4, 0.2, 0.4]).all()
    assert (reward[:, 1] == 1).all()


def test_one_player_at_a_time_is_run():
    """Where turns alternate, nine moves of tic-tac-toe ask the first player five times and the second four, though both
    are in the program."""
    game, asked = game_of("tic_tac_toe"), []

    def counting(name):
        def policy(seen, key):
            jax.debug.callback(lambda: asked.append(name))
            draw = jnp.array([0, 2, 1, 3, 5, 4, 6, 8, 7])  # nobody wins if both play these in turn
            return draw[(seen.obs.sum((1, 2, 3))) % 9]

        return reactive(policy)

    players = (counting("a"), counting("b"))
    outcomes = jax.jit(lambda key: match(game, players, key, 3, max_moves=9))(KEY)
    jax.effects_barrier()
    assert outcomes.length.tolist() == [9] * 3 and (asked.count("a"), asked.count("b")) == (5, 4)


def in_order(cells):
    """Plays these cells one after another: how many it has played is its carry."""
    return Agent(lambda: jnp.int32(0), lambda carry, seen, key: (carry + 1, jnp.asarray(cells, jnp.int32)[carry]))


def test_carries_advance_with_own_moves_and_begin_anew_with_every_game():
    """Players that remember how many moves they made: one fills a row, in its third move, before the other blocks it
    or, if it answers, after; whoever begins, in every one of 6 games side by side."""
    game = game_of("tic_tac_toe")
    players = (in_order([0, 1, 2]), in_order([3, 4, 6, 5]))
    outcomes = jax.jit(lambda key: both_sides(game, players, key, 6, max_moves=9))(KEY)
    assert outcomes.reward.tolist() == [1] * 6 and outcomes.length.tolist() == [5] * 3 + [6] * 3


def test_evaluation_is_a_match_against_the_opponent():
    """Returns and lengths of an odd number of episodes are those of games played alone, the agent beginning the first
    two of three; hypers, state and ``sample`` reach it."""
    game = game_of("tic_tac_toe")
    lists = np.random.default_rng(2).permuted(np.tile(np.arange(9, dtype=np.int32), (2, 2, 1)), axis=-1)

    def act(hypers, state, carry, seen, key, sample=False):
        return carry, by_preference(game, (hypers + state + (1 if sample else 0)) % 9).policy((), seen, key)[1]

    evaluate = evaluation(game, no_carry, act, by_preference(game, jnp.asarray(lists[1])), max_moves=9)
    episodes = jax.jit(evaluate, static_argnums=(3, 4))(jnp.asarray(lists[0] + 6), 2, KEY, 3, True)
    expected = [alone(lists[:, i], begins) for begins, i in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(episodes.returns, [result for result, _ in expected])
    np.testing.assert_array_equal(episodes.lengths, [length for _, length in expected])
    assert episodes.cut.tolist() == [False] * 3


def test_self_play_metrics_count_the_games_that_ended():
    """By hand: four games end, two won by the first player, one by the second, one drawn; other rewards are ignored."""
    ended = jnp.array([[True, False], [True, True], [False, True]])
    steps = Transition(
        obs=(),
        action=(),
        reward=jnp.array([[1.0, 7.0], [-1.0, 1.0], [7.0, 0.0]]),
        terminated=ended,
        truncated=~ended,
        next_obs=(),
        info={},
    )
    metrics = self_play_metrics(steps, jnp.array([[0, 0], [1, 1], [0, 1]]))
    assert metrics == {"first_player_return": (1, 4), "drawn": (1, 4)}


def test_both_sides_must_be_equal():
    """An odd number of games is refused."""
    game = game_of("tic_tac_toe")
    with pytest.raises(ValueError, match=r"num_games = 7.*even"):
        both_sides(game, (random_player(game), random_player(game)), KEY, 7, max_moves=9)


# --- scores -----------------------------------------------------------------------------------------------


def outcomes_of(wins, draws, losses):
    reward = jnp.repeat(jnp.array([3.0, 0.0, -0.5]), jnp.array([wins, draws, losses]))
    yes = jnp.ones(len(reward), bool)
    return Outcomes(reward, jnp.ones(len(reward), jnp.int32), yes, ~yes)


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
