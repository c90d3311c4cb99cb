"""Statistics over seeds, as Agarwal et al. 2021 (arXiv 2108.13264) recommend them."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A point estimate with its confidence interval; ``low`` and ``high`` are NaN where one run is all there is."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.estimate:.4g} (one seed: no interval)"
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interquartile_mean(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half: a quarter of the scores is dropped at each end, ``floor(n / 4)`` of them."""
    from scipy import stats  # half a second, which `import purerl` need not pay

    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: np.ndarray, confidence: float = 0.95, num_resamples: int = 2000) -> Interval:
    """Interquartile mean over seeds with a percentile-bootstrap interval.

    Args:
        scores: one per seed, ``[S]``; NaN (a seed that has no score) is left out.
        confidence: coverage of the interval, in (0, 1).
        num_resamples: bootstrap resamples of the seeds. Their random numbers are fixed: same scores, same interval.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[~np.isnan(scores)]
    if scores.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(interquartile_mean(scores))
    if scores.size == 1:
        return Interval(estimate, np.nan, np.nan)
    resamples = np.random.default_rng(0).choice(scores, (num_resamples, scores.size))
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = np.percentile(interquartile_mean(resamples, axis=1), tails)
    return Interval(estimate, float(low), float(high))
