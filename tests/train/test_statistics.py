"""Interquartile mean and its bootstrap interval, against hand results and SciPy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from purerl.train.statistics import Interval, interquartile_mean, interval


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
    np.testing.assert_array_equal(interquartile_mean(table), [1.5, 15.0])
    np.testing.assert_array_equal(interquartile_mean(table, axis=1), [5.5, 11.0])


def test_interval_of_two_scores_by_hand():
    """Resamples of {0, 1} average 0, 1/2 or 1, the ends a quarter of the time each: the 95 % interval is [0, 1],
    and one that leaves out more than a quarter on each side shrinks to the middle."""
    assert interval(np.array([0.0, 1.0])) == Interval(0.5, 0.0, 1.0)
    assert interval(np.array([0.0, 1.0]), confidence=0.4) == Interval(0.5, 0.5, 0.5)


def test_interval_agrees_with_scipys_percentile_bootstrap():
    """Both ends, up to the noise of the resamples, for 12 scores; more confidence is wider."""
    scores = np.random.default_rng(1).normal(100.0, 10.0, size=12)
    expected = stats.bootstrap(
        (scores,), interquartile_mean, n_resamples=8000, method="percentile", vectorized=False, random_state=2
    ).confidence_interval
    estimate, low, high = interval(scores, num_resamples=8000)
    np.testing.assert_allclose([low, high], expected, atol=0.4)
    assert low < estimate < high
    assert interval(scores, 0.5).low > low and interval(scores, 0.5).high < high


def test_interval_is_reproducible_and_leaves_out_what_is_missing():
    """Same scores, same interval; NaN entries are as if they were not there."""
    scores = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    assert interval(scores) == interval(scores)
    assert interval(np.array([3.0, np.nan, 1.0, 4.0, 1.0, np.nan, 5.0])) == interval(scores)


@pytest.mark.parametrize(("scores", "estimate"), [([2.0], 2.0), ([np.nan, 2.0], 2.0), ([np.nan], np.nan), ([], np.nan)])
def test_too_few_scores_have_no_interval(scores, estimate):
    """One score is an estimate without bounds; none is nothing."""
    np.testing.assert_array_equal(interval(np.array(scores)), [estimate, np.nan, np.nan])


def test_how_it_reads():
    """Four digits and the bounds, or that there are none."""
    assert str(Interval(1.23456, 1.0, 2.0)) == "1.235 [1, 2]"
    assert str(Interval(1.0, np.nan, np.nan)) == "1 (one seed: no interval)"
