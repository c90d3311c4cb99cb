"""Read the folder of a run, finished or not: ``config.json``, ``metrics.csv``, ``summary.json``."""

import json
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_TRIAL = ["seed", "step", "name", "value"]  # the columns of metrics.csv; of a sweep, the last ones


class Metric(NamedTuple):
    """One metric of all trials of a run: points P of its sweep (1 where there is none) times seeds S."""

    steps: np.ndarray  # [K] environment steps at which any trial has a value
    values: np.ndarray  # [K, P, S] NaN where a trial has none

    def last(self) -> np.ndarray:
        """The last value of every trial, ``[P, S]``; NaN for one that never had any."""
        present = ~np.isnan(self.values)
        last = len(self.steps) - 1 - np.argmax(present[::-1], axis=0)
        return np.take_along_axis(self.values, last[None], axis=0)[0]


class Run(NamedTuple):
    """What is in the folder of a run."""

    folder: pathlib.Path
    config: dict[str, Any]  # config.json
    summary: dict[str, Any] | None  # summary.json; None while the run is unfinished
    sweep: dict[str, np.ndarray]  # swept field -> its value at each point, [P]: numbers, or text; empty without a sweep
    metrics: dict[str, Metric]

    @property
    def title(self) -> str:
        """Algorithm and environment."""
        if self.summary is not None and "title" in self.summary:
            return self.summary["title"]
        settings = self.config.get("settings", {})
        return f"{self.config.get('algorithm', self.folder.name)} on {settings.get('env', 'its environment')}"

    def became(self) -> dict[str, np.ndarray]:
        """Of a population, what the swept and evolved fields have become, ``[P, S]`` each; of other runs nothing."""
        if not self.config.get("population"):
            return {}
        names = dict.fromkeys([*self.sweep, *self.config["population"]["names"]])
        return {name: self.metrics[f"hyper_{name}"].last() for name in names if f"hyper_{name}" in self.metrics}

    def diverged(self) -> np.ndarray:
        """Which trials diverged, ``[P, S]``: as the summary says, else those that the last two entries lack."""
        num_points = max([1, *map(len, self.sweep.values())])
        if self.summary is not None and "diverged" in self.summary:
            return np.array(self.summary["diverged"], bool).reshape(num_points, -1)
        last = sorted(set().union(*(metric.steps.tolist() for metric in self.metrics.values())))[-2:]
        shape = next((metric.values.shape[1:] for metric in self.metrics.values()), (num_points, 0))
        alive = np.zeros(shape, bool)
        for metric in self.metrics.values():
            alive |= ~np.isnan(metric.values[np.isin(metric.steps, last)]).all(axis=0)
        return ~alive

    def metric(self, name: str) -> Metric:
        """A metric by name.

        Raises:
            ValueError: if the run has no such metric; the message has those that there are.
        """
        if name not in self.metrics:
            known = ", ".join(sorted(self.metrics)) or "none yet: it has not logged anything"
            raise ValueError(f"{self.folder} has no metric {name!r}. It has {known}.")
        return self.metrics[name]


def read_run(folder: str | os.PathLike) -> Run:
    """Read ``config.json``, ``metrics.csv`` and, where the run is finished, ``summary.json``.

    Args:
        folder: of a run, such as ``runs/ppo/TIME-ENV``. A run that is going on, or was killed, can be read too: a last
            line that is not finished is left out. Where a trial has two values at one step, the last line counts.

    Raises:
        ValueError: if the folder is not a run's, or a file in it is not what a run writes.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the folder of a run, with config.json and metrics.csv in it.")
    for name in ("config.json", "metrics.csv"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: give the folder of a run, such as runs/ppo/TIME-ENV.")
    finished = (folder / "summary.json").is_file()
    config = _read_json(folder / "config.json")
    sweep, metrics = _read_metrics(folder / "metrics.csv", config)
    return Run(
        folder=folder,
        config=config,
        summary=_read_json(folder / "summary.json") if finished else None,
        sweep=sweep,
        metrics=metrics,
    )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): restore it, or run the experiment again.") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no settings by name: restore it, or run the experiment again.")
    return data


def _read_metrics(path: pathlib.Path, config: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Metric]]:
    """The swept fields and the metrics of a ``metrics.csv``.

    A trial that diverged at once has no rows: how many there are is for ``config`` to say, where it does.
    """
    with path.open(encoding="utf-8") as file:
        lines = (line for line in file if line.endswith("\n"))  # the last one may be cut off in the middle of a number
        header = next(lines, "").rstrip().split(",")
        fields = header[1:-4] if header[0] == "point" else []
        if header != ["point", *fields, *_TRIAL] and header != _TRIAL:
            raise ValueError(
                f"{path} begins with {','.join(header)[:80]!r}, but a run writes 'seed,step,name,value', after "
                f"'point,FIELD,...' for a sweep: give the folder of a run of this version."
            )
        # Text becomes numbers while it is read: a table of numbers is small, and NumPy reads it fast.
        words: dict[str, int] = {}
        as_numbers: dict[int | str, Callable[[str], int]] = {
            header.index(name): lambda word: words.setdefault(word, len(words)) for name in (*fields, "name")
        }
        try:
            table = _read_table(lines, len(header), as_numbers)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): restore it, or run the experiment again.") from None
    columns = dict(zip(header, table.T, strict=True))
    vocabulary = np.array([*words, ""])

    point, seed = columns.get("point", np.zeros(len(table))), columns["seed"]
    first = np.unique(point, return_index=True)[1]
    given = config.get("sweep") or {}
    sweep = {
        field: np.asarray(given[field]) if field in given else _numbers(vocabulary[columns[field][first].astype(int)])
        for field in fields
    }
    points = np.union1d(point, np.arange(max([1, *map(len, sweep.values())])))
    seeds = np.union1d(seed, np.arange(config.get("num_seeds", 1)))
    point, seed = np.searchsorted(points, point), np.searchsorted(seeds, seed)
    metrics = {}
    for name in np.unique(columns["name"]).astype(int):
        rows = np.flatnonzero(columns["name"] == name)
        steps, step = np.unique(columns["step"][rows], return_inverse=True)
        values = np.full((len(steps), len(points), len(seeds)), np.nan)
        values[step, point[rows], seed[rows]] = columns["value"][rows]
        metrics[str(vocabulary[name])] = Metric(steps.astype(int), values)
    return sweep, metrics


def _read_table(
    lines: Iterable[str], num_columns: int, converters: Mapping[int | str, Callable[[str], Any]]
) -> np.ndarray:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that there are no rows
        table = np.loadtxt(lines, delimiter=",", converters=converters, quotechar='"', ndmin=2, comments=None)
    if table.size and table.shape[1] != num_columns:
        raise ValueError(f"rows have {table.shape[1]} columns, the header {num_columns}")
    return table.reshape(-1, num_columns)


def _numbers(texts: np.ndarray) -> np.ndarray:
    """Numbers where all of them are, else the text as it is."""
    try:
        return texts.astype(float)
    except ValueError:
        return texts
