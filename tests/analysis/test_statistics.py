"""Statistics over runs and their bootstrap intervals, against hand results, SciPy, and what rliable computed."""

import json
import pathlib
from functools import partial

import numpy as np
import pytest
from scipy import stats

from purerl.analysis.statistics import (
    Interval,
    holm,
    interquartile_mean,
    interval,
    mann_whitney,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

RLIABLE = json.loads((pathlib.Path(__file__).parents[1] / "oracles" / "rliable_values.json").read_text())
X, Y = (np.array(RLIABLE["scores"][name]) for name in "xy")
STATISTICS = {
    "interquartile_mean": (interquartile_mean, X),
    "mean": (mean, X),
    "median": (median, X),
    "optimality_gap": (optimality_gap, X),
    "performance_profile": (partial(performance_profile, thresholds=RLIABLE["thresholds"]), X),
    "probability_of_improvement": (probability_of_improvement, X, Y),
}


# --- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 10))
def test_interquartile_mean_drops_a_quarter_at_each_end(n):
    """For any number of scores: sort, drop floor(n / 4) at both ends, average the rest."""
    scores = np.random.default_rng(n).normal(size=n)
    expected = np.mean(np.sort(scores)[n // 4 : n - n // 4])
    np.testing.assert_allclose(interquartile_mean(scores), expected, rtol=1e-12)


def test_interquartile_mean_ignores_outliers():
    """Two of eight seeds at the ends may be anything."""
    assert interquartile_mean(np.array([-1e9, 1, 2, 3, 4, 5, 6, 1e9])) == 3.5
    table = np.array([[1.0, 10.0], [2.0, 20.0]])
    assert interquartile_mean(table) == 6.0  # of runs and tasks together: the middle two of four
    np.testing.assert_array_equal(interquartile_mean(table, axis=0), [1.5, 15.0])
    np.testing.assert_array_equal(interquartile_mean(table, axis=1), [5.5, 11.0])


def test_aggregates_by_hand():
    """Three runs of two tasks: the mean of all, the median of the task means 2 and 6, the clipped shortfall from 4."""
    scores = np.array([[1.0, 3.0], [2.0, 6.0], [3.0, 9.0]])
    assert mean(scores) == 4.0
    assert median(scores) == 4.0 and median(np.c_[scores, [0.0, 0.0, 0.0]]) == 2.0
    assert optimality_gap(scores, target=4.0) == pytest.approx((3 + 1 + 2 + 0 + 1 + 0) / 6)
    assert optimality_gap(scores + 10) == 0.0  # more than the target earns nothing


def test_probability_of_improvement_by_counting_pairs():
    """Wins plus half the ties over all pairs, averaged over tasks; swapped it is the complement; equal runs tie."""
    beats = (X[:, None] > Y).mean(axis=(0, 1)) + (X[:, None] == Y).mean(axis=(0, 1)) / 2
    assert (X[:, None] == Y).any()
    assert probability_of_improvement(X, Y) == pytest.approx(beats.mean(), abs=1e-12)
    assert probability_of_improvement(X, Y) + probability_of_improvement(Y, X) == pytest.approx(1.0, abs=1e-12)
    assert probability_of_improvement([1.0, 1.0], [1.0]) == 0.5
    assert probability_of_improvement([2.0, 3.0], [1.0]) == 1.0
    with pytest.raises(ValueError, match="x has 5 tasks and y has 4"):
        probability_of_improvement(X, Y[:, :4])


def test_performance_profile_by_hand():
    """Scores 1, 2, 2, 4: the fraction strictly above each threshold."""
    np.testing.assert_array_equal(performance_profile([1, 2, 2, 4], [0, 1, 2, 3, 4]), [1.0, 0.75, 0.25, 0.25, 0.0])


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_agree_with_rliable(name):
    """Point estimates to rounding, for a matrix of scores with ties and outliers."""
    statistic, *scores = STATISTICS[name]
    np.testing.assert_allclose(
        np.atleast_1d(statistic(*scores)), RLIABLE["values"][name]["estimate"], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_keep_leading_axes(name):
    """A stack of matrices gives the stack of results, which is how resamples are computed; a vector is one task."""
    statistic, *scores = STATISTICS[name]
    stacks = [np.stack([matrix, matrix[::-1] ** 3, -matrix]) for matrix in scores]
    each = [statistic(*(stack[i] for stack in stacks)) for i in range(3)]
    np.testing.assert_allclose(statistic(*stacks), each, rtol=1e-12)
    vectors = [matrix[:, 0] for matrix in scores]
    np.testing.assert_array_equal(statistic(*vectors), statistic(*(vector[:, None] for vector in vectors)))


# --- intervals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_agree_with_rliable(name):
    """Both ends of the 95 % interval, up to the noise of the resamples.

    The percentile p of R resamples has the standard error sqrt(p (1 - p) / R) / density. Near the ends of a normal
    distribution that is 0.3 % of the interval's width for rliable's 50 000 resamples, 0.5 % for our 20 000 and 0.6 %
    for the difference; five of these are 3 %. Fractions of n move in grains of 1 / n, and an end can fall on either
    side of one.
    """
    statistic, *scores = STATISTICS[name]
    expected = {end: np.array(values) for end, values in RLIABLE["values"][name].items()}
    found = stratified_bootstrap(statistic, *scores, num_resamples=20_000)
    grain = 1 / X.size if name == "performance_profile" else 0.0
    tolerance = 0.03 * (expected["high"] - expected["low"]) + grain + 1e-9
    assert np.all(np.abs(found.low - expected["low"]) <= tolerance)
    assert np.all(np.abs(found.high - expected["high"]) <= tolerance)


def test_tasks_are_strata():
    """Runs are resampled within their task: where the runs of a task agree, however much tasks differ, no width."""
    assert stratified_bootstrap(mean, [[0.0, 100.0]] * 3) == Interval(50.0, 50.0, 50.0, 3)
    _, low, high, *_ = stratified_bootstrap(mean, [0.0, 100.0] * 3)
    assert low < 20 and high > 80


def test_bootstrap_depends_on_scores_seed_and_confidence_alone():
    """The order of the runs changes nothing; another seed moves the ends a little; more confidence is wider."""
    found = stratified_bootstrap(interquartile_mean, X)
    np.testing.assert_allclose(stratified_bootstrap(interquartile_mean, X[::-1]), found, rtol=1e-12)
    other = stratified_bootstrap(interquartile_mean, X, seed=1)
    assert other != found and other.low == pytest.approx(found.low, abs=0.1 * (found.high - found.low))
    narrow = stratified_bootstrap(interquartile_mean, X, confidence=0.5)
    assert found.low < narrow.low < found.estimate < narrow.high < found.high


def test_interval_covers_the_truth():
    """Of 300 samples of 20 normal scores, about 95 % have an interval around the true mean.

    The percentile bootstrap covers a little less than it says for so few runs. Chance moves the number by 1.5 %, and
    the bounds leave three of these on either side of 92 %.
    """
    random = np.random.default_rng(0)
    samples = 3.0 + random.normal(size=(300, 20))
    found = [interval(sample, num_resamples=500) for sample in samples]
    assert 0.87 < np.mean([low < 3.0 < high for _, low, high, *_ in found]) < 0.97


def test_bootstrap_of_one_run_has_no_interval():
    """One run of either side: the estimate stands, the ends are NaN, of a curve all of them."""
    np.testing.assert_array_equal(stratified_bootstrap(mean, [[1.0, 2.0]])[:3], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(stratified_bootstrap(probability_of_improvement, [1.0, 2.0], [1.5])[1:3], np.nan)
    profile = stratified_bootstrap(partial(performance_profile, thresholds=[0, 2]), [1.0])
    np.testing.assert_array_equal(profile.estimate, [1.0, 0.0])
    np.testing.assert_array_equal([profile.low, profile.high], np.full((2, 2), np.nan))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 3)), r"shape \[0, 3\]: give one number per run and task"),
        (np.zeros((2, 2, 2)), r"shape \[2, 2, 2\]"),
        ([[0.0, 1.0], [0.0, np.nan]], "run 1 on task 1 is NaN: leave out the run"),
    ],
)
def test_scores_that_are_no_matrix_are_refused(scores, message):
    """No runs, too many axes, or a hole: one line that says where."""
    with pytest.raises(ValueError, match=message):
        stratified_bootstrap(mean, scores)


def test_interval_of_two_scores_by_hand():
    """Resamples of {0, 1} average 0, 1/2 or 1, the ends a quarter of the time each: the 95 % interval is [0, 1],
    and one that leaves out more than a quarter on each side shrinks to the middle."""
    assert interval(np.array([0.0, 1.0])) == Interval(0.5, 0.0, 1.0, 2)
    assert interval(np.array([0.0, 1.0]), confidence=0.4) == Interval(0.5, 0.5, 0.5, 2)


def test_interval_agrees_with_scipys_percentile_bootstrap():
    """Both ends, up to the noise of the resamples, for 12 scores; more confidence is wider."""
    scores = np.random.default_rng(1).normal(100.0, 10.0, size=12)
    expected = stats.bootstrap(
        (scores,), interquartile_mean, n_resamples=8000, method="percentile", vectorized=False, random_state=2
    ).confidence_interval
    estimate, low, high, *_ = interval(scores, num_resamples=8000)
    np.testing.assert_allclose([low, high], expected, atol=0.4)
    assert low < estimate < high
    assert interval(scores, 0.5).low > low and interval(scores, 0.5).high < high


def test_interval_is_reproducible_and_leaves_out_what_is_missing():
    """Same scores, same interval; NaN entries are as if they were not there."""
    scores = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    assert interval(scores) == interval(scores)
    with_holes = interval(np.array([3.0, np.nan, 1.0, 4.0, 1.0, np.nan, 5.0]))
    assert with_holes == interval(scores)._replace(num_missing=2)


@pytest.mark.parametrize(("scores", "estimate"), [([2.0], 2.0), ([np.nan, 2.0], 2.0), ([np.nan], np.nan), ([], np.nan)])
def test_too_few_scores_have_no_interval(scores, estimate):
    """One score is an estimate without bounds; none is nothing."""
    np.testing.assert_array_equal(interval(np.array(scores))[:3], [estimate, np.nan, np.nan])


def test_how_it_reads():
    """Four digits and the bounds, or that there are none, or nothing to bound: a run may end before any episode."""
    assert str(Interval(1.23456, 1.0, 2.0)) == "1.235 [1, 2]"
    assert str(Interval(1.0, np.nan, np.nan)) == "1 (one seed: no interval)"
    assert str(Interval(np.nan, np.nan, np.nan)) == "nan (no score)"


def test_an_interval_says_what_it_rests_on():
    """Fewer than five seeds are too few for 95 %; those without a score stand beside the mean that leaves them out."""
    nan = np.nan
    assert str(interval([1.0] * 5)) == "1 [1, 1]"
    assert str(interval([1.0] * 4)) == "1 [1, 1] (4 seeds: too few for 95 %)"
    assert interval([20.0, 21.0, *[nan] * 6]).text("diverged") == (
        "20.5 [20, 21] (2 seeds: too few for 95 %, 6 of 8 seeds diverged)"
    )
    assert str(interval([1.0] * 6 + [nan] * 2)) == "1 [1, 1] (2 of 8 seeds without a score)"
    assert str(interval([1.0, nan])) == "1 (one seed: no interval, 1 of 2 seeds without a score)"
    assert interval([nan] * 8).text("diverged") == "nan (8 of 8 seeds diverged)"
    assert stratified_bootstrap(probability_of_improvement, [1.0, 2.0, 3.0], [1.0] * 9).num_scores == 3


def test_an_interval_comes_back_from_its_record():
    """As JSON has it, null for NaN; a record of an older version does not say how many scores there were."""
    for scores in ([1.0, 2.0, np.nan], [np.nan], [3.0]):
        found = interval(scores)
        record = {name: None if value != value else value for name, value in found._asdict().items()}
        np.testing.assert_equal(Interval.of_record(json.loads(json.dumps(record))), found)
    assert Interval.of_record({"estimate": 1.0, "low": 0.0, "high": 2.0}, 3) == Interval(1.0, 0.0, 2.0, 3)


# --- tests ------------------------------------------------------------------------------------------------


def test_mann_whitney_agrees_with_scipy_and_with_counting():
    """SciPy's exact distribution where no scores are equal; of three against three that do not overlap, 2 of the 20
    ways to choose are as far apart; equal scores are no difference."""
    random = np.random.default_rng(0)
    for num_x, num_y in ((5, 5), (4, 7)):
        x, y = random.normal(size=num_x), 0.7 + random.normal(size=num_y)
        expected = stats.mannwhitneyu(x, y, method="exact").pvalue
        np.testing.assert_allclose(mann_whitney(x, y), expected, rtol=1e-9)
    assert mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert mann_whitney([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert np.isnan(mann_whitney([1.0], [2.0, 3.0]))
    many = mann_whitney(np.arange(20.0), np.arange(20.0) + 4.5)  # too many ways to try them all
    assert many == pytest.approx(stats.mannwhitneyu(np.arange(20.0), np.arange(20.0) + 4.5).pvalue, rel=0.1)


def test_holm_by_hand():
    """The smallest of three counts three times, the next twice, and none falls below one before it; in any order."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.001, 0.9]), [1.0, 0.003, 1.0])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.01]), [1.0, np.nan, 0.03])


def test_holm_raises_false_alarms_seldom():
    """Of 4000 times ten tests in which nothing differs, one in twenty has any p-value below .05, where without the
    correction four in ten have."""
    p_values = np.random.default_rng(0).uniform(size=(4000, 10))
    alarms = np.mean([holm(row).min() < 0.05 for row in p_values])
    assert 0.035 < alarms < 0.065 < np.mean(p_values.min(axis=1) < 0.05)
