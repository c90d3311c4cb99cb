"""Statistics over runs, as Agarwal et al. 2021 (arXiv 2108.13264) recommend them.

Scores are one number per run (a seed) and task: a matrix ``[S, M]``, or ``[S]`` where there is one task. Statistics
reduce the last two axes and keep whatever stands before them, ``[..., S, M] -> [...]``, which is how
:func:`stratified_bootstrap` computes all its resamples at once.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A point estimate with its confidence interval, and what it rests on.

    Numbers, or arrays of one shape where the statistic is an array, such as a performance profile. Of 2, 3 and 4 scores
    drawn from a normal distribution, 51 %, 72 % and 88 % of these bootstrap intervals hold the mean, where 95 % are
    meant; of 5 it is 89 %, of 8 and of 10 it is 93 %. So below :data:`ENOUGH` an interval says that it has too few.
    """

    estimate: float
    low: float  # NaN where one score is all there is
    high: float
    num_scores: int | None = None  # scores that it rests on; None where that is not known
    num_missing: int = 0  # of those who have no score, and are left out

    @property
    def is_wide_enough(self) -> bool:
        """Whether it rests on so many scores that it may be called by its confidence."""
        return self.num_scores is None or self.num_scores >= ENOUGH

    def text(self, missing: str = "without a score") -> str:
        """``"20.5 [19, 22] (2 of 8 seeds without a score)"``.

        Args:
            missing: what those are whom it leaves out, such as "diverged".
        """
        total = (self.num_scores or 0) + self.num_missing
        left_out = [f"{self.num_missing} of {total} seeds {missing}"] if self.num_missing else []
        if np.isnan(self.estimate):
            return f"nan ({', '.join(left_out) or 'no score'})"
        if np.isnan(self.low):
            return f"{self.estimate:.4g} ({', '.join(['one seed: no interval', *left_out])})"
        few = [] if self.is_wide_enough else [f"{self.num_scores} seeds: too few for 95 %"]
        notes = f" ({', '.join([*few, *left_out])})" if few or left_out else ""
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]{notes}"

    def __str__(self) -> str:
        return self.text()

    @classmethod
    def of_record(cls, record: Mapping[str, float | None], num_scores: int | None = None) -> "Interval":
        """The interval that a ``summary.json`` holds, where what is not finite is null.

        Args:
            record: its values by name; of older versions the first three.
            num_scores: what a record of an older version does not say.
        """
        estimate, low, high = (
            np.nan if record[name] is None else float(record[name])  # type: ignore[arg-type]
            for name in ("estimate", "low", "high")
        )
        counts = {name: record[name] for name in ("num_scores", "num_missing") if name in record}
        return cls(estimate, low, high, **({"num_scores": num_scores} | counts))  # type: ignore[arg-type]


ENOUGH = 5  # scores that an interval needs to be called by its confidence


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> np.ndarray:
    """Mean of the middle half: a quarter of the scores is dropped at each end, ``floor(n / 4)`` of them.

    Args:
        scores: ``[..., S, M]`` or ``[S]``.
        axis: the one axis to average over; None: runs and tasks together. Agarwal et al. 2021, section 4.3.
    """
    from scipy import stats  # half a second, which `import purerl` need not pay

    scores = np.asarray(scores, np.float64)
    if axis is None and scores.ndim > 1:
        scores = scores.reshape(*scores.shape[:-2], -1)
    return stats.trim_mean(scores, 0.25, axis=-1 if axis is None else axis)


def mean(scores: ArrayLike) -> np.ndarray:
    """Mean over runs and tasks, ``[..., S, M] -> [...]``."""
    return _matrix(scores).mean(axis=(-2, -1))


def median(scores: ArrayLike) -> np.ndarray:
    """Median over tasks of the mean over runs, ``[..., S, M] -> [...]``; of a single task that is its mean.

    What papers call the median score of a benchmark; Agarwal et al. 2021, section 3.
    """
    return np.median(_matrix(scores).mean(axis=-2), axis=-1)


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> np.ndarray:
    """How far runs stay below a target: ``target - mean(min(score, target))``, so 0 is best.

    Args:
        scores: ``[..., S, M]`` or ``[S]``, in the unit of the target.
        target: the score that counts as solved, beyond which better does not matter.

    Returns:
        ``[...]``. Agarwal et al. 2021, section 4.3.
    """
    return target - mean(np.minimum(scores, target))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """How likely a run of X scores higher than one of Y: ``mean over tasks of P(X > Y) + P(X = Y) / 2``.

    The Mann-Whitney statistic of each task over its number of pairs.

    Args:
        x: ``[..., S, M]`` or ``[S]``.
        y: ``[..., S', M]`` or ``[S']``: as many tasks, any number of runs.

    Returns:
        ``[...]`` in [0, 1]. Agarwal et al. 2021, section 4.3.
    """
    from scipy import stats

    x, y = _matrix(x), _matrix(y)
    num_x, num_y = x.shape[-2], y.shape[-2]
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x has {x.shape[-1]} tasks and y has {y.shape[-1]}: compare runs on the same tasks.")
    ranks = stats.rankdata(np.concatenate([x, y], axis=-2), axis=-2)[..., :num_x, :]
    wins = ranks.sum(axis=-2) - num_x * (num_x + 1) / 2  # ranks of X among all, less those of X among itself
    return np.mean(wins / (num_x * num_y), axis=-1)


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """The fraction of runs that score above each threshold: ``F(tau) = mean over tasks and runs of [score > tau]``.

    Args:
        scores: ``[..., S, M]`` or ``[S]``.
        thresholds: ``[K]``, in the unit of the scores.

    Returns:
        ``[..., K]`` in [0, 1], falling. The run-score distribution of Agarwal et al. 2021, section 4.2.
    """
    scores = _matrix(scores)
    return np.stack([np.mean(scores > tau, axis=(-2, -1)) for tau in np.asarray(thresholds)], axis=-1)


def stratified_bootstrap(
    statistic: Callable[..., Any],
    *scores: ArrayLike,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic with its percentile-bootstrap interval; runs are resampled within each task.

    Args:
        statistic: ``([..., S, M], ...) -> [...]``, or ``[..., K]`` for a curve; all of this module are such.
        scores: one matrix ``[S, M]`` or ``[S]`` for each argument of the statistic; they are resampled independently.
        confidence: coverage of the interval, in (0, 1); pointwise, for a curve.
        num_resamples: how many; the ends of the interval are that many resamples' percentiles.
        seed: of the resamples: same scores in whatever order, same interval.

    Raises:
        ValueError: for a matrix without runs, or with a hole (NaN).
    """
    matrices = [_checked(_matrix(one)) for one in scores]
    estimate = statistic(*matrices)
    if min(len(matrix) for matrix in matrices) == 1:
        nothing = estimate * np.nan
        return Interval(estimate, nothing, nothing, 1)
    random = np.random.default_rng(seed)
    resamples = [_resample(random, matrix, num_resamples) for matrix in matrices]
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = np.percentile(statistic(*resamples), tails, axis=0)
    return Interval(estimate, low, high, min(len(matrix) for matrix in matrices))


def interval(scores: ArrayLike, confidence: float = 0.95, num_resamples: int = 2000) -> Interval:
    """Interquartile mean over seeds with a percentile-bootstrap interval.

    Args:
        scores: one per seed, ``[S]``; NaN (a seed that has no score) is left out.
        confidence: coverage of the interval, in (0, 1).
        num_resamples: bootstrap resamples of the seeds. Their random numbers are fixed: same scores, same interval.
    """
    scores = np.asarray(scores, np.float64)
    there = scores[~np.isnan(scores)]
    num_missing = scores.size - there.size
    if there.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0, num_missing)
    found = stratified_bootstrap(interquartile_mean, there, confidence=confidence, num_resamples=num_resamples)
    estimate, low, high = map(float, found[:3])
    return Interval(estimate, low, high, there.size, num_missing)


def mann_whitney(x: ArrayLike, y: ArrayLike) -> float:
    """How likely runs of one kind differ as much as X and Y in who scores higher: the two-sided p-value.

    Exact, by trying every way to call as many of all runs "X", so that ties are no matter; where these are more than
    200,000 (beyond ten runs each), the normal approximation with its correction for ties. It tests what
    :func:`probability_of_improvement` measures, on one task.

    Args:
        x: ``[S]``.
        y: ``[S']``.

    Returns:
        NaN where either has fewer than two runs; else at least
        ``2 / C(S + S', S)`` where no two scores are equal. Mann and Whitney 1947.
    """
    from scipy import stats

    def wins(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return probability_of_improvement(np.moveaxis(x, axis, -1)[..., None], np.moveaxis(y, axis, -1)[..., None])

    x, y = (np.asarray(scores, np.float64) for scores in (x, y))
    if min(len(x), len(y)) < 2:
        return math.nan
    all_ways = math.comb(len(x) + len(y), len(x))
    if all_ways > 200_000:
        return float(stats.mannwhitneyu(x, y, method="asymptotic").pvalue)
    return float(stats.permutation_test((x, y), wins, vectorized=True, n_resamples=all_ways, batch=10_000).pvalue)


def holm(p_values: ArrayLike) -> np.ndarray:
    """P-values of many tests, corrected so that any false alarm among them all is as unlikely as they say.

    ``max over tests j with p_j <= p_i of min(1, p_j (m - rank_j + 1))``, with ranks from 1.

    Args:
        p_values: ``[m]``; NaN for a test that could not be made, which counts as one and stays NaN.

    Returns:
        ``[m]``. Holm 1979.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values)  # NaN last
    corrected = np.fmax.accumulate(np.minimum(1.0, p_values[order] * np.arange(len(order), 0, -1)))
    return np.where(np.isnan(p_values), np.nan, corrected[np.argsort(order)])


def _matrix(scores: ArrayLike) -> np.ndarray:
    """Scores as ``[..., S, M]``; a vector is the runs of one task."""
    scores = np.asarray(scores, np.float64)
    return scores[:, None] if scores.ndim == 1 else scores


def _checked(matrix: np.ndarray) -> np.ndarray:
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            f"scores have the shape {list(matrix.shape)}: give one number per run and task, [S, M] or [S]."
        )
    if np.isnan(matrix).any():
        run, task = np.argwhere(np.isnan(matrix))[0]
        raise ValueError(
            f"the score of run {run} on task {task} is NaN: leave out the run, or give it its worst score."
        )
    return matrix


def _resample(random: np.random.Generator, matrix: np.ndarray, num_resamples: int) -> np.ndarray:
    """Runs drawn with replacement for each task by itself, ``[S, M] -> [R, S, M]``."""
    num_runs, num_tasks = matrix.shape
    runs = random.integers(num_runs, size=(num_resamples, num_runs, num_tasks))
    return np.sort(matrix, axis=0)[runs, np.arange(num_tasks)]
