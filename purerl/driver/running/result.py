"""Result of a training run: final states, metrics, returns with their interval, the points of a sweep ranked."""

import dataclasses
import functools
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
    values: dict[str, Any]  # of the swept fields; of a population's member what they have become, of each seed [S]
    hypers: PyTree  # as the last update used them
    final_return: Interval  # over the seeds that did not diverge
    returns: np.ndarray  # [S] final return of each seed; NaN for one that diverged
    num_diverged: int
    states: PyTree  # [S, ...]

    @property
    def label(self) -> str:
        """Values in words: ``"learning_rate=0.001 gamma=0.9"``; of a population ``"learning_rate=0.001..0.004"``."""
        return " ".join(f"{name}={plain(value)}" for name, value in self.values.items())


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
            hypers, states = _at((self.hypers, self.states), i)
            hypers = _at(hypers, 0) if "population" not in self.summary else hypers
            returns = self.final_returns[i]
            return Point(i, self._values(i), hypers, self._intervals[i], returns, int(diverged[i].sum()), states)

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
            num_diverged = self.summary.get("num_diverged", 0)
            figure = plots.learning_curve(steps, returns, title, num_diverged, self._marks(), self._what())
        else:
            shown = self.table()[:MAX_CURVES]
            labels = _distinct(shown)
            curves = {label: (steps, returns[:, point.number]) for label, point in zip(labels, shown, strict=True)}
            diverged = {label: point.num_diverged for label, point in zip(labels, shown, strict=True)}
            figure = plots.compare(curves, title, self._what(), diverged, self._marks())
        return _saved(figure, path)

    def plot_sweep(self, path: str | pathlib.Path | None = None):
        """The final return against every swept field, as a figure; also written to ``path`` where one is given.

        Raises:
            ValueError: if the run was no sweep.
        """
        sweep, returns = self._sweep(), self.final_returns
        num_diverged, values = int(np.sum(self.summary["diverged"])), dict(sweep.values)
        if self._evolved:  # every trial stands where it has come to
            became = [self._values(i) for i in range(sweep.num_points)]
            values = {name: np.concatenate([np.ravel(one[name]) for one in became]) for name in became[0]}
            returns = returns.reshape(-1, 1)
        return _saved(plots.sweep_plot(values, returns, self.summary["title"], num_diverged=num_diverged), path)

    @property
    def _evolved(self) -> bool:
        """Whether a population has moved hyperparameters away from where the sweep began."""
        return "population" in self.summary

    def _values(self, i: int) -> dict[str, Any]:
        """The values of a point: as they were swept, or what they have become in a population, ``[S]``."""
        swept = self._sweep().values
        if not self._evolved:
            return {name: column[i].item() for name, column in swept.items()}
        names = dict.fromkeys([*swept, *self.summary["population"].get("names", ())])
        return {name: np.asarray(getattr(self.hypers, name)[i]) for name in names}

    def _what(self) -> str:
        """What the curve shows: of a game, against whom."""
        what = self.summary.get("final_return_is")
        return f"episode return\n({what})" if what else "episode return"

    def _marks(self) -> dict[str, int]:
        """Where the curve has a seam, by what is to be written there."""
        fork = self.summary.get("forked_from")
        return {f"forked at step {fork['step']:,}": fork["step"]} if fork else {}

    @functools.cached_property
    def _intervals(self) -> list[Interval]:
        """Of every point; a table, a picture and a summary ask for them all, and each is a bootstrap."""
        return [interval(returns) for returns in self.final_returns]

    def _sweep(self) -> Sweep:
        if self.sweep is None:
            raise ValueError("This run was no sweep: it has one point. Its result is final_return.")
        return self.sweep


MAX_CURVES = 6  # what one picture can hold


def plain(value: Any) -> str:
    """A value in words that a flag takes: short numbers, sizes as ``64x64``; several values as their range."""
    if isinstance(value, np.ndarray):
        ends = [plain(end.item()) for end in (value.min(), value.max())]
        return "..".join(dict.fromkeys(ends))
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct(points: list[Point]) -> list[str]:
    """Labels that tell points apart, with their numbers where their values do not."""
    labels = [point.label for point in points]
    alike = len(set(labels)) < len(labels)
    return [f"{label} ({point.number})" if alike else label for label, point in zip(labels, points, strict=True)]


@jax.jit
def _at(tree: PyTree, i: jax.Array | int) -> PyTree:
    """Leaves ``[P, ...]`` at one index; one program for all of them."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _saved(figure, path: str | pathlib.Path | None):
    if path is not None:
        plots.save(figure, path)
    return figure
