"""Compare runs: one figure of what they left in their folders, and a table of their last returns.

purerl plot runs/ppo/*-CartPole-v1 --out curves.png
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import tyro

from purerl.analysis import plots, statistics
from purerl.analysis.statistics import Interval, interval
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.driver.command_line.report import with_diverged
from purerl.driver.running.result import plain
from purerl.driver.storage.runs import Run, read_run
from purerl.ranges import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw, and where."""

    folders: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """Folders of runs, finished or not, such as runs/ppo/TIME-ENV."""
    out: pathlib.Path
    """Image to write; its ending says of which kind: .png, .pdf, .svg."""
    metric: str | None = None
    """Metric to draw; None: eval_return where every run has it, else episode_return."""
    labels: tuple[str, ...] = ()
    """Names of the runs in the figure, one for each folder; none: their titles, or their folders' names."""
    kind: Literal["curves", "profiles", "intervals", "sweep"] = "curves"
    """Learning curves; performance profiles or interval estimates of the last values; the last values of one sweep
    against its swept fields."""
    smooth: int = setting(1, low=1)
    """Draw each value of a curve as the mean of so many entries up to it."""
    max_points: int = setting(6, low=1)
    """Points of a sweep to show, those with the highest last values."""

    def __post_init__(self) -> None:
        check_options(self)
        if not self.folders:
            raise ValueError("give the folder of at least one run, such as runs/ppo/TIME-ENV.")
        if self.labels and len(self.labels) != len(self.folders):
            raise ValueError(f"{len(self.labels)} labels for {len(self.folders)} folders: give one for each, or none.")


class Curve(NamedTuple):
    """One metric of a run, or of a point of a sweep, over its seeds."""

    label: str
    steps: np.ndarray  # [K]
    values: np.ndarray  # [K, S]
    of_each: np.ndarray  # [S] the last value of each seed; NaN for one that has none, or diverged
    num_diverged: int

    @property
    def last(self) -> np.ndarray:
        """The last value of each seed that has one, ``[S']``."""
        return self.of_each[~np.isnan(self.of_each)]

    @property
    def estimate(self) -> Interval:
        """Interquartile mean of the last values."""
        return interval(self.of_each)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    about = f"{__doc__}\n\nA sweep's folder gives one curve for each of its best points."
    with one_line_errors("plot", flags=[Options]):
        options = parse_record(Options, arguments, "purerl plot", about)
        plots.check_can_save(options.out)
        print(compare(options))


def compare(options: Options) -> str:
    """Draw the figure, write it, and say what was found.

    Raises:
        ValueError: if a folder is no run's, a run has no such metric, or the runs do not suit the kind of figure.
    """
    runs = [read_run(folder) for folder in options.folders]
    metric = options.metric or (
        "eval_return" if all("eval_return" in run.metrics for run in runs) else "episode_return"
    )
    labels = options.labels or _labels(runs)
    curves, notes = [], []
    for run, label in zip(runs, labels, strict=True):
        points = _curves(run, metric, label if len(runs) > 1 or options.labels else "")
        if len(points) > options.max_points:
            notes.append(
                f"{run.folder}: a sweep of {len(points)} points, of which the {options.max_points} with the highest "
                f"last values are shown; --max-points {len(points)} shows all."
            )
        curves += _highest(points)[: options.max_points]
    _check_distinct(curves)
    plots.save(_figure(options, runs, metric, curves), options.out)
    return "\n".join([*_table(metric, curves), *notes, f"wrote {options.out}"])


def _labels(runs: Sequence[Run]) -> Sequence[str]:
    """The first of title, folder's name and path that tells all runs apart."""
    candidates = ([run.title for run in runs], [run.folder.name for run in runs])
    paths = [str(run.folder) for run in runs]
    return next((labels for labels in candidates if len(set(labels)) == len(runs)), paths)


def _curves(run: Run, metric: str, label: str) -> list[Curve]:
    """The curves of a run: one, or one for each point of a sweep, called by what tells it from the others."""
    steps, values = run.metric(metric)
    last = run.metric(metric).last()
    diverged = run.diverged()
    last = np.where(diverged, np.nan, last)  # what it had before it diverged is not how it ended
    fields = run.became() or run.sweep
    settings = [" ".join(f"{field}={_short(points[p])}" for field, points in fields.items()) for p in range(len(last))]
    # Points of a random search may read alike.
    names = [
        setting if settings.count(setting) == 1 else f"{setting} (point {p})" for p, setting in enumerate(settings)
    ]
    labels = [": ".join(part for part in (label, name) if part) or run.title for name in names]
    return [Curve(labels[p], steps, values[:, p], last[p], int(diverged[p].sum())) for p in range(len(last))]


def _highest(curves: list[Curve]) -> list[Curve]:
    """Those with the highest estimates first, those without one last."""
    return sorted(curves, key=lambda curve: np.nan_to_num(-curve.estimate.estimate, nan=np.inf))


def _short(value) -> str:
    return plain(value) if isinstance(value, np.ndarray | float) else str(value)


def _check_distinct(curves: Sequence[Curve]) -> None:
    labels = [curve.label for curve in curves]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"two curves are called {label!r}: give other --labels, or each folder once.")


def _figure(options: Options, runs: Sequence[Run], metric: str, curves: Sequence[Curve]):
    titles = {run.title for run in runs}
    title = titles.pop() if len(titles) == 1 else ""
    name = metric.replace("_", " ")
    if options.kind == "sweep":
        if len(runs) > 1 or not runs[0].sweep:
            raise ValueError("--kind sweep draws one sweep: give the folder of one run that was started with --sweep.")
        (run,) = runs
        last = np.where(run.diverged(), np.nan, run.metric(metric).last())
        fields = dict(run.sweep)
        if became := run.became():  # every trial stands where it has come to
            fields, last = {field: values.ravel() for field, values in became.items()}, last.reshape(-1, 1)
        return plots.sweep_plot(fields, last, title, f"last {name}", int(run.diverged().sum()))
    if options.kind == "curves":
        smoothed = {curve.label: (curve.steps, plots.smooth(curve.values, options.smooth)) for curve in curves}
        return plots.compare(smoothed, title, name, {curve.label: curve.num_diverged for curve in curves})
    scores = {curve.label: curve.last for curve in curves}
    for label, last in scores.items():
        if len(last) == 0:
            raise ValueError(f"{label} has no value of {metric} yet: leave it out, or choose another --metric.")
    draw = plots.performance_profiles if options.kind == "profiles" else plots.interval_estimates
    return draw(scores, title=title, xlabel=f"last {name}")


def _table(metric: str, curves: Sequence[Curve]) -> list[str]:
    """A line a curve: seeds, steps, the interquartile mean of the last values. Of two curves, which one is better."""
    width = max(len("run"), *(len(curve.label) for curve in curves))
    lines = [f"{'run':<{width}}  {'seeds':>5}  {'steps':>12}  last {metric}: interquartile mean [95 % interval]"]
    lines += [
        f"{curve.label:<{width}}  {curve.last.size:>5}  {max(curve.steps, default=0):>12,}  "
        f"{with_diverged(curve.estimate, curve.num_diverged)}"
        for curve in curves
    ]
    if len(curves) == 2 and all(curve.last.size for curve in curves):
        first, second = curves
        improvement = statistics.stratified_bootstrap(statistics.probability_of_improvement, first.last, second.last)
        lines.append(f"probability that a seed of {first.label} ends higher than one of {second.label}: {improvement}")
    return lines


if __name__ == "__main__":
    main()
