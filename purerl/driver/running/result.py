"""Result of a training run: final states, metrics, returns with their interval, the points of a sweep ranked."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from purerl.analysis import plots
from purerl.analysis.statistics import Interval, interval
from purerl.driver.hypers.sweep import Sweep
from purerl.types import PyTree


class Point(NamedTuple):
    """One point of a sweep and how its seeds ended."""

    number: int  # which of the sweep's
    values: dict[str, Any]  # of the swept fields
    hypers: PyTree  # as the last update used them
    final_return: Interval  # over the seeds that did not diverge
    returns: np.ndarray  # [S] final return of each seed; NaN for one that diverged
    num_diverged: int
    states: PyTree  # [S, ...]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind. A sweep adds the axis P of its points before the axis S of seeds.

    Attributes:
        states: the algorithm's final states, ``[S, ...]``, of a sweep ``[P, S, ...]``.
        hypers: hyperparameters at the end, leaves like ``states``.
        steps: environment steps at which metrics were logged, ``[K]``.
        metrics: by name, ``[K, S]`` or ``[K, P, S]``: the mean since the last log, NaN where there was no data.
        eval_steps: environment steps at which the agent was evaluated, ``[E]``.
        eval_returns: mean return of each evaluation, ``[E, S]`` or ``[E, P, S]``.
        summary: the run in numbers, as ``summary.json`` has them.
        sweep: what was swept; None where nothing was.
    """

    states: PyTree
    hypers: PyTree
    steps: np.ndarray
    metrics: dict[str, np.ndarray]
    eval_steps: np.ndarray
    eval_returns: np.ndarray
    summary: dict[str, Any]
    sweep: Sweep | None = None

    @property
    def final_returns(self) -> np.ndarray:
        """The last return of each seed, ``[S]`` or ``[P, S]``; NaN for one that has none, or that diverged."""
        returns = self.summary["final_return_of_each_seed"]
        return np.array(returns, float) if self.sweep is None else np.array(returns, float).reshape(len(returns), -1)

    @property
    def final_return(self) -> Interval:
        """Interquartile mean over seeds of the last return, with its 95 % interval; of a sweep, its best point's."""
        return interval(self.final_returns) if self.sweep is None else self.best().final_return

    @property
    def has_returns(self) -> bool:
        """Whether there is anything to plot: evaluations, or the returns of training's own episodes."""
        return len(self.eval_steps) > 0 or "episode_return" in self.metrics

    def table(self) -> list[Point]:
        """The points of a sweep, best first: by interquartile mean, those with a diverged seed after all others.

        Raises:
            ValueError: if the run was no sweep.
        """
        sweep = self._sweep()
        diverged = np.array(self.summary["diverged"])

        def point(i: int) -> Point:
            hypers, states = jax.tree.map(lambda leaf: leaf[i], (self.hypers, self.states))
            hypers = jax.tree.map(lambda leaf: leaf[0], hypers) if "population" not in self.summary else hypers
            returns = self.final_returns[i]
            values = {name: column[i].item() for name, column in sweep.values.items()}
            return Point(i, values, hypers, interval(returns), returns, int(diverged[i].sum()), states)

        def rank(point: Point) -> tuple[bool, float]:
            estimate = point.final_return.estimate
            return point.num_diverged > 0, np.inf if np.isnan(estimate) else -estimate

        return sorted((point(i) for i in range(sweep.num_points)), key=rank)

    def best(self) -> Point:
        """The first of :meth:`table`."""
        return self.table()[0]

    def plot(self, path: str | pathlib.Path | None = None):
        """The learning curve, as a ``matplotlib.figure.Figure``; also written to ``path`` where one is given.

        Of a sweep, the curves of its best points.

        Raises:
            ValueError: if the run has no returns: no evaluation, and no metric ``episode_return``.
        """
        if not self.has_returns:
            raise ValueError("Neither an evaluation nor the metric episode_return: there is no curve to draw.")
        steps, returns = (
            (self.eval_steps, self.eval_returns)
            if len(self.eval_steps)
            else (self.steps, self.metrics["episode_return"])
        )
        title = self.summary["title"]
        if self.sweep is None:
            figure = plots.learning_curve(steps, returns, title)
        else:
            shown = self.table()[:MAX_CURVES]
            curves = {self.sweep.describe(point.number): (steps, returns[:, point.number]) for point in shown}
            figure = plots.compare(curves, title)
        return _saved(figure, path)

    def plot_sweep(self, path: str | pathlib.Path | None = None):
        """The final return against every swept field, as a figure; also written to ``path`` where one is given.

        Raises:
            ValueError: if the run was no sweep.
        """
        figure = plots.sweep_plot(self._sweep().values, self.final_returns, self.summary["title"])
        return _saved(figure, path)

    def _sweep(self) -> Sweep:
        if self.sweep is None:
            raise ValueError("This run was no sweep: it has one point. Its result is final_return.")
        return self.sweep


MAX_CURVES = 6  # what one picture can hold


def _saved(figure, path: str | pathlib.Path | None):
    if path is not None:
        plots.save(figure, path)
    return figure
