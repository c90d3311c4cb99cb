"""Ratings against scipy, against the rates that they stand for, and against players whom no rating describes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.games import ratings
from tests.oracles import ratings as oracle

RPS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])  # rock, paper, scissors: paper beats rock
FIT = jax.jit(ratings.fit)  # what must be refused is given to ratings.fit itself


def results(seed: int, num_players: int, most: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Random tables of wins and draws, in which everyone has won against everyone."""
    rng = np.random.default_rng(seed)
    wins, draws = rng.integers(1, most, (2, num_players, num_players))
    return wins * (1 - np.eye(num_players, dtype=int)), np.triu(draws, 1) + np.triu(draws, 1).T


def replayed(rating: np.ndarray, game: np.ndarray, score: np.ndarray) -> jax.Array:
    """Online ratings after games between pairs ``[T, 2]``, in this order."""

    def step(rating, played):
        (a, b), s = played
        return ratings.elo_update(rating, a, b, s, 32.0), None

    return jax.lax.scan(step, jnp.asarray(rating), (jnp.asarray(game), jnp.asarray(score)))[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_gap_and_score_are_each_others_inverse():
    """400 points are 10 to 1; a gap made of a win rate gives it back, and so does the fit of games won at that rate;
    both sides' expectations sum to 1, only differences matter, and certainty is infinitely far up."""
    assert ratings.expected_score(1900.0, 1500.0) == pytest.approx(10 / 11, abs=1e-15)
    rate = np.array([0.01, 0.25, 0.5, 0.64, 0.999])
    gap = ratings.rating_gap(rate)
    np.testing.assert_allclose(ratings.expected_score(gap, 0.0), rate, atol=1e-14)
    np.testing.assert_allclose(ratings.expected_score(1500.0, 1500 + gap), 1 - rate, atol=1e-13)
    np.testing.assert_array_equal(ratings.rating_gap(np.array([0.0, 1.0])), [-np.inf, np.inf])

    def gap_of_games(rate):
        wins = jnp.zeros((2, 2)).at[0, 1].set(1000 * rate).at[1, 0].set(1000 * (1 - rate))
        fitted = FIT(wins, jnp.zeros((2, 2)))
        return fitted.rating[0] - fitted.rating[1]

    np.testing.assert_allclose(jax.vmap(gap_of_games)(jnp.asarray(rate)), gap, atol=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_fit_is_the_likeliest():
    """On random results of 3 and 6 players, with and without virtual draws, scipy's maximum to 1e-4 points, the mean at
    the anchor and everyone's expected score equal to the score."""
    for num_players, prior in ((3, 2.0), (6, 0.0)):
        wins, draws = results(num_players, num_players)
        expected = oracle.likeliest(wins, draws, anchor=1500, prior=prior)
        found = FIT(wins, draws, anchor=1500.0, prior=prior)
        np.testing.assert_allclose(found.rating, expected, atol=1e-4)
        assert found.rating.mean() == pytest.approx(1500) and found.residual < 1e-6 and found.num_iterations < 10
        score = wins + draws / 2 + prior / 2 * (1 - np.eye(num_players))
        likely = ratings.expected_score(found.rating[:, None], found.rating)
        np.testing.assert_allclose(((score + score.T) * likely).sum(1), score.sum(1), atol=1e-5)


@pytest.mark.covers("elo")
def test_single_precision_is_enough():
    """In float32 the random results of 3 players are rated within 0.01 points of scipy's maximum, in few iterations."""
    wins, draws = results(3, 3)
    found = FIT(wins, draws, anchor=1500.0)
    assert found.rating.dtype == jnp.float32
    np.testing.assert_allclose(found.rating, oracle.likeliest(wins, draws, anchor=1500), atol=0.01)
    assert found.num_iterations < 10 and found.residual < 1e-4


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_fit_climbs_from_far_away():
    """Ten players, each of whom beats the next 999 times in 1000 and no one else plays: gaps of 400 log10(999). Five
    players with results so lopsided that full Newton steps never settle: expected scores still become the scores."""
    wins = np.diag(np.full(9, 999.0), 1) + np.diag(np.full(9, 1.0), -1)
    found = FIT(wins, np.zeros((10, 10)))
    np.testing.assert_allclose(found.rating[:-1] - found.rating[1:], 400 * np.log10(999), atol=1e-4)
    lopsided = np.array(
        [[0, 0, 0, 1, 0], [1000, 0, 1, 1, 0], [1, 1, 0, 1, 1000], [1000, 0, 1, 0, 1], [0, 0, 1, 1000, 0]]
    )
    rating = FIT(lopsided, np.zeros((5, 5))).rating
    likely = ratings.expected_score(rating[:, None], rating)
    np.testing.assert_allclose(((lopsided + lopsided.T) * likely).sum(1), lopsided.sum(1), atol=1e-5)
    assert found.residual < 1e-6
    stopped = FIT(wins, np.zeros((10, 10)), max_iterations=2)
    assert stopped.num_iterations == 2 and stopped.residual > 1


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_online_ratings_keep_their_sum_and_depend_on_the_order():
    """1000 random games move ratings about and leave their sum; backwards they end elsewhere, while the fit sees only
    how often each won, and renaming the players renames their ratings."""
    rng = np.random.default_rng(0)
    game = np.array([rng.choice(5, 2, replace=False) for _ in range(1000)])
    score = rng.choice([0.0, 0.5, 1.0], 1000)
    start = 1500 + 100 * rng.normal(size=5)
    forwards, backwards = replayed(start, game, score), replayed(start, game[::-1], score[::-1])
    assert forwards.sum() == pytest.approx(start.sum(), abs=1e-8)
    assert np.abs(forwards - backwards).max() > 5

    wins, draws = results(1, 5)
    order = rng.permutation(5)
    renamed = FIT(wins[np.ix_(order, order)], draws[np.ix_(order, order)]).rating
    np.testing.assert_allclose(renamed, FIT(wins, draws).rating[order], atol=1e-8)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_one_update_by_hand():
    """Equal players, k = 32: the winner takes 16 points; a draw against one 400 points up gains 32 (1/2 - 1/11)."""
    np.testing.assert_allclose(ratings.elo_update(jnp.full(3, 1500.0), 0, 2, 1.0, 32.0), [1516, 1500, 1484])
    gain = 32 * (1 / 2 - 1 / 11)
    drawn = ratings.elo_update(jnp.array([1000.0, 1400.0]), 0, 1, 0.5, 32.0)
    np.testing.assert_allclose(drawn, [1000 + gain, 1400 - gain])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_without_a_maximum_virtual_draws_or_an_error():
    """A player who won all, and two groups who never met: refused by name, NaN under jit; with c virtual draws the
    winner of n games is 400 log10(1 + 2 n / c) up, and groups that never met are level."""
    winner = np.array([[0.0, 10.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="player 1 never scored against player 0"):
        ratings.fit(winner, np.zeros((2, 2)))
    inside = FIT(winner, jnp.zeros((2, 2)))
    assert np.isnan(inside.rating).all() and inside.residual == np.inf and inside.num_iterations == 0
    cured = FIT(winner, np.zeros((2, 2)), prior=0.5).rating
    assert cured[0] - cured[1] == pytest.approx(400 * np.log10(1 + 2 * 10 / 0.5), abs=1e-6)

    groups = np.kron(np.eye(2), [[0, 3], [1, 0]])
    with pytest.raises(ValueError, match="player 0 never scored against player 2"):
        ratings.fit(groups, np.zeros((4, 4)))
    cured = FIT(groups, np.zeros((4, 4)), prior=0.1).rating
    np.testing.assert_allclose(cured[:2], cured[2:], atol=1e-6)
    through_others = np.array([[0, 5, 0], [0, 0, 5], [5, 0, 0]])  # everyone reaches everyone: no draws needed
    np.testing.assert_allclose(FIT(through_others, np.zeros((3, 3))).rating, 0, atol=1e-6)


@pytest.mark.covers("elo")
@pytest.mark.parametrize(
    "wins, draws, prior, message",
    [
        (np.ones((2, 3)), np.ones((2, 3)), 0.0, r"shape \[2, 3\]"),
        (np.ones((2, 2)), np.ones((3, 3)), 0.0, r"draws \[3, 3\]"),
        (np.ones((1, 1)), np.ones((1, 1)), 0.0, "N at least 2"),
        (np.array([[0, 1], [-1, 0]]), np.zeros((2, 2)), 0.0, r"wins\[1, 0\] = -1"),
        (np.ones((2, 2)), np.array([[0, np.nan], [0, 0]]), 0.0, r"draws\[0, 1\] = nan"),
        (np.ones((2, 2)), np.array([[0, 2], [1, 0]]), 0.0, r"draws\[0, 1\] = 2 and draws\[1, 0\] = 1"),
        (np.ones((2, 2)), np.zeros((2, 2)), -1.0, "prior = -1.0"),
    ],
    ids=["not-square", "two-sizes", "alone", "negative", "nan", "one-sided-draw", "negative-prior"],
)
def test_tables_that_are_none_are_refused(wins, draws, prior, message):
    """Each by what is wrong with it, from the fit and from the bootstrap."""
    with pytest.raises(ValueError, match=message):
        ratings.fit(wins, draws, prior=prior)
    with pytest.raises(ValueError, match=message):
        ratings.bootstrap(jax.random.key(0), wins, draws, 2, prior=prior)


@pytest.mark.deep
@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_bootstrap_intervals_cover_the_truth():
    """200 ladders of 3 players, 100 games a pair, half of them drawn at even strength. The 95 % interval of each gap to
    the weakest holds the true gap at 0.95 within 4 standard errors (and .01, as 100 games are not many), and is as wide
    as the estimates' spread over the ladders says, again within 4 standard errors."""
    truth = np.array([200.0, 60.0, 0.0])
    likely = np.asarray(ratings.expected_score(truth[:, None], truth))
    drawn = np.minimum(likely, likely.T)
    first, second = np.triu_indices(3, 1)
    shares = np.stack([likely - drawn / 2, drawn, likely.T - drawn / 2], -1)[first, second]
    rng = np.random.default_rng(0)
    played = np.stack([rng.multinomial(100, p, size=200) for p in shares], axis=1)  # [ladders, pairs, 3]
    wins, draws = np.zeros((2, 200, 3, 3))
    wins[:, first, second], wins[:, second, first] = played[..., 0], played[..., 2]
    draws[:, first, second] = draws[:, second, first] = played[..., 1]

    @jax.jit
    def intervals(keys, wins, draws):
        rating = jax.vmap(lambda key, w, d: ratings.bootstrap(key, w, d, 100))(keys, wins, draws)
        return jnp.quantile(rating - rating[..., 2:], jnp.array([0.025, 0.975]), axis=1)

    low, high = np.asarray(intervals(jax.random.split(jax.random.key(0), 200), wins, draws))
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)[:2]
    standard_error = np.sqrt(0.95 * 0.05 / 200)
    assert np.all(np.abs(covered - 0.95) < 4 * standard_error + 0.01), covered
    spread = ((low + high) / 2).std(axis=0)[:2]
    width = (high - low).mean(axis=0)[:2] / (2 * 1.96)
    assert np.all(np.abs(width / spread - 1) < 4 / np.sqrt(2 * 200)), width / spread


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_bootstrap_is_never_certain():
    """Two who drew 400 times stay close in every sample; after 50 wins of 50 virtual draws leave other results
    possible, and a pair that never met does not hinder; the mean is the anchor."""
    draws = np.array([[0, 400, 0], [400, 0, 0], [0, 0, 0]])
    wins = np.array([[0, 0, 50], [0, 0, 0], [0, 0, 0]])
    sample = jax.jit(lambda key: ratings.bootstrap(key, wins, draws, 64, anchor=1000.0, prior=1.0))(jax.random.key(1))
    assert sample.shape == (64, 3) and np.all(np.isfinite(sample))
    np.testing.assert_allclose(sample.mean(1), 1000)
    gap = sample[:, 0] - sample[:, 2]
    assert gap.min() > 0 and gap.max() > gap.min() + 50
    assert np.abs(sample[:, 0] - sample[:, 1]).max() < 3  # the prior alone ties the second to the third


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_rock_paper_scissors_is_all_cycle():
    """Its table of payoffs comes back from its games; ratings are equal and the remainder is everything, while in gaps
    that ratings make there is no remainder; payoffs of players who never met are 0."""
    wins = 7 * (RPS > 0) + 1
    draws = 2 * (1 - np.eye(3))
    np.testing.assert_allclose(ratings.payoff(wins, draws), 7 * RPS / 11)
    np.testing.assert_allclose(FIT(wins, draws).rating, 0, atol=1e-9)
    cycles = ratings.cyclic(jnp.asarray(RPS))
    np.testing.assert_allclose(cycles.rating, 0, atol=1e-15)
    np.testing.assert_allclose(cycles.remainder, RPS, atol=1e-15)
    assert cycles.share == 1

    rating = np.array([300.0, -20.0, 0.0, 90.0])
    likely = ratings.expected_score(rating[:, None], rating)
    straight = ratings.cyclic(ratings.rating_gap(likely))
    np.testing.assert_allclose(straight.rating, rating - rating.mean(), atol=1e-10)
    assert straight.share < 1e-20
    assert 0 < ratings.cyclic(2 * likely - 1).share < 0.1  # payoffs bend differences
    np.testing.assert_array_equal(ratings.payoff(np.zeros((2, 2)), np.zeros((2, 2))), 0)
    assert ratings.cyclic(jnp.zeros((3, 3))).share == 0


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("elo")
def test_parts_of_a_payoff_are_orthogonal_and_add_up():
    """A random antisymmetric table: the ratings are least squares', both parts add up to it, their squares too, and no
    player gains from the remainder on average."""
    table = np.random.default_rng(2).normal(size=(5, 5))
    table = table - table.T
    cycles = ratings.cyclic(jnp.asarray(table))
    np.testing.assert_allclose(cycles.rating, oracle.best_fit(table), atol=1e-12)
    straight = np.asarray(cycles.rating[:, None] - cycles.rating)
    np.testing.assert_allclose(straight + cycles.remainder, table, atol=1e-12)
    np.testing.assert_allclose(cycles.remainder.sum(1), 0, atol=1e-12)
    assert (straight**2).sum() / (table**2).sum() + cycles.share == pytest.approx(1)
