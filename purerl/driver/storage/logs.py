"""Logs of metrics: kept in memory as arrays, appended to ``metrics.csv``, TensorBoard and Weights & Biases."""

import contextlib
import csv
import importlib.util
import io
import operator
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from purerl import notices
from purerl.driver.storage import folder as folders

MAX_TENSORBOARD_RUNS = 64
NUM_DIVERGED = "num_diverged"  # of a trial 0 or 1, of several their number


class Columns(NamedTuple):
    """What tells the trials of a run apart in its log, M of them: point-major, P points of S seeds."""

    num_seeds: int
    swept: dict[str, np.ndarray]  # [P] by field; empty without a sweep

    @property
    def num_points(self) -> int:
        """P; 1 without a sweep."""
        return len(next(iter(self.swept.values()))) if self.swept else 1

    @property
    def num_trials(self) -> int:
        """M = P S."""
        return self.num_points * self.num_seeds

    def header(self) -> list[str]:
        """Names of the columns of ``metrics.csv``."""
        sweep = ["point", *self.swept] if self.swept else []
        return [*sweep, "seed", "step", "name", "value"]

    def prefix(self, trial: int) -> tuple[Any, ...]:
        """A row's first values, up to the seed."""
        point, seed = divmod(trial, self.num_seeds)
        sweep = (point, *(values[point] for values in self.swept.values())) if self.swept else ()
        return (*sweep, seed)

    def describe(self, trial: int) -> str:
        """``"Seed 3"``, or ``"Seed 3 of point 5 (gamma=0.9)"``."""
        point, seed = divmod(trial, self.num_seeds)
        values = " ".join(f"{name}={values[point]}" for name, values in self.swept.items())
        return f"Seed {seed} of point {point} ({values})" if self.swept else f"Seed {seed}"


class Log:
    """What is logged, ``{metric: [M]}`` at a step. NaN stands for no data: no row is written for it."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.curves: dict[str, tuple[list[int], list[np.ndarray]]] = {}
        self._sinks: list[CsvFile | TensorBoard | WeightsAndBiases] = []
        self._unwritten: list[tuple[int, dict[str, np.ndarray]]] = []

    def attach(self, sink: "CsvFile | TensorBoard | WeightsAndBiases") -> None:
        """Have everything that is added from now on written to ``sink`` too."""
        self._sinks.append(sink)

    def add(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Add metrics at an environment step. They are in the curves at once, and in the sinks by :meth:`write`."""
        values = {name: np.asarray(row, np.float64) for name, row in values.items()}
        values = {name: row for name, row in values.items() if not np.isnan(row).all()}
        for name, row in values.items():
            steps, rows = self.curves.setdefault(name, ([], []))
            steps.append(step)
            rows.append(row)
        self._unwritten.append((step, values))

    def write(self) -> None:
        """Hand what has been added to the sinks. One that fails is reported and left; the others go on."""
        entries, self._unwritten = self._unwritten, []
        for step, values in entries:
            self._each(operator.methodcaller("add", step, values))

    def flush(self) -> None:
        """Have every sink write what it buffers: a checkpoint does not bring it back."""
        self.write()
        self._each(operator.methodcaller("flush"))

    def close(self) -> None:
        """Write what is left and close every sink."""
        self.write()
        self._each(operator.methodcaller("close"))
        self._sinks.clear()

    def _each(self, action: "Callable[[CsvFile | TensorBoard | WeightsAndBiases], None]") -> None:
        for sink in list(self._sinks):
            try:
                action(sink)
            except OSError as error:
                self._sinks.remove(sink)
                notices.warn(f"{sink.name} cannot be written ({error}); the run goes on without it.")

    def arrays(self, names: Iterable[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Steps ``[K]`` at which any of the metrics was logged, and their values ``[K, M]`` by name."""
        curves = {name: dict(zip(*self.curves[name], strict=True)) for name in names}
        steps = sorted(set().union(*curves.values()))
        nothing = np.full(self.columns.num_trials, np.nan)
        return np.array(steps, int), {
            name: np.array([curve.get(step, nothing) for step in steps]).reshape(len(steps), -1)
            for name, curve in curves.items()
        }

    def last(self, name: str) -> np.ndarray:
        """The last value of a metric that each trial has, ``[M]``; NaN where it has none."""
        last = np.full(self.columns.num_trials, np.nan)
        for row in reversed(self.curves.get(name, ([], []))[1]):
            last = np.where(np.isnan(last), row, last)
            if not np.isnan(last).any():
                break
        return last

    def latest_returns(self, step: int | None = None) -> np.ndarray:
        """The latest return of each trial, ``[M]``: of evaluation if there is any, else of training; NaN without.

        Args:
            step: that of these is wanted, where it was logged: then a trial without one has NaN, not an older one.
        """
        name = "eval_return" if "eval_return" in self.curves else "episode_return"
        if step is not None and name in self.curves and self.curves[name][0][-1] == step:
            return self.curves[name][1][-1]
        return self.last(name)


class CsvFile:
    """``metrics.csv``: tidy rows, appended as they come. What a full disk refuses is kept and tried again."""

    def __init__(self, path: pathlib.Path, columns: Columns) -> None:
        self.name = str(path)
        self._prefixes = [columns.prefix(trial) for trial in range(columns.num_trials)]
        self._pending = b""
        self._failed = False
        self._file = path.open("ab", buffering=0)  # what is written is with the system, whatever happens to us
        if self._file.tell() == 0:
            self._write([columns.header()])

    def add(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Append an entry."""
        self._write(
            (*prefix, step, name, value)
            for name, row in values.items()
            for prefix, value in zip(self._prefixes, row.tolist(), strict=True)
            if value == value  # not NaN
        )

    def size(self) -> int:
        """Bytes written, all of them safe on the disk when this returns.

        Raises:
            OSError: if there are rows that could not be written.
        """
        self._write([])
        if self._pending:
            raise OSError(f"{self.name} could not be written.")
        os.fsync(self._file.fileno())
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is buffered; what could not be written is tried again by :meth:`size`."""

    def close(self) -> None:
        """Write what is left, if that is possible now."""
        self._write([])
        self._file.close()

    def _write(self, rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._pending += text.getvalue().encode()
        try:
            while self._pending:  # a disk that fills up takes a part first
                self._pending = self._pending[self._file.write(self._pending) :]
            self._failed = False
        except OSError as error:
            if not self._failed:
                notices.warn(
                    f"{self.name} cannot be written ({error.strerror}). The run goes on and keeps its metrics until "
                    "there is room again; until then there are no new checkpoints."
                )
            self._failed = True


class TensorBoard:
    """One TensorBoard run per trial; per point, with the mean of its seeds, where trials are many."""

    name = "The TensorBoard log"

    def __init__(self, path: pathlib.Path, columns: Columns, purge_step: int | None) -> None:
        # Not its SummaryWriter, whose thread would die of a full disk and leave the run waiting for it.
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        each = columns.num_trials <= MAX_TENSORBOARD_RUNS
        names = [_run_name(columns, trial, each) for trial in range(columns.num_trials)]
        self._trials = {name: [i for i, other in enumerate(names) if other == name] for name in names}
        if len(self._trials) > MAX_TENSORBOARD_RUNS:
            notices.warn(f"{len(self._trials)} points are too many for TensorBoard: {folders.METRICS} has them all.")
            self._trials = {}
        self._files = {}
        for name in self._trials:
            (path / name).mkdir(parents=True, exist_ok=True)
            self._files[name] = RecordWriter(str(path / name / f"events.out.tfevents.{time.time_ns()}"))
            self._write(name, file_version="brain.Event:2")
            if purge_step is not None:
                self._write(name, step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Append an entry: one event for each run."""
        from tensorboardX.proto.summary_pb2 import Summary

        with self._closed_by_errors():
            for name, trials in self._trials.items():
                means = _means({metric: row[trials] for metric, row in values.items()})
                summary = Summary(value=[Summary.Value(tag=metric, simple_value=x) for metric, x in means.items()])
                self._write(name, step=step, summary=summary)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._closed_by_errors():
            for file in self._files.values():
                file.flush()

    def close(self) -> None:
        """Write what is buffered."""
        with contextlib.ExitStack() as stack:  # all of them, also if one fails
            for file in self._files.values():
                stack.callback(file.close)

    @contextlib.contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        """Nobody comes back to a log that cannot be written: let go of its files."""
        try:
            yield
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise

    def _write(self, name: str, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._files[name].write(Event(wall_time=time.time(), **content).SerializeToString())


def check_installed(wandb: str | None) -> None:
    """Nothing, if what logs to this project of Weights & Biases is installed, or there is none to log to.

    Raises:
        ValueError: with what to install.
    """
    if wandb is not None and importlib.util.find_spec("wandb") is None:
        raise ValueError(f"Logging to the project {wandb!r} needs Weights & Biases: pip install 'purerl[wandb]'.")


class WeightsAndBiases:
    """One run of Weights & Biases: every metric's mean over the trials, and each trial's own."""

    name = "The Weights & Biases log"

    def __init__(self, project: str, columns: Columns, config: Mapping[str, Any], folder: pathlib.Path) -> None:
        import wandb

        self._columns = columns
        # The name of the folder is the run's identity there, so that a resumed run goes on in place.
        name = folder.resolve().name
        self._run = wandb.init(
            project=project, name=name, id=name, resume="allow", config=dict(config), dir=str(folder)
        )

    def add(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Append an entry."""
        entry = _means(values)
        for metric, row in values.items():
            entry |= {
                f"{_run_name(self._columns, trial, True)}/{metric}": float(value)
                for trial, value in enumerate(row)
                if value == value and len(row) <= MAX_TENSORBOARD_RUNS
            }
        self._run.log({"env_steps": step, **entry}, step=step)

    def flush(self) -> None:
        """It sends what it has by itself."""

    def close(self) -> None:
        """Send what is buffered."""
        self._run.finish()


def _means(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of each metric the mean over the trials that have it; of those that have diverged, their number."""
    there = {metric: row[~np.isnan(row)] for metric, row in values.items()}
    return {
        metric: float(row.sum() if metric == NUM_DIVERGED else row.mean()) for metric, row in there.items() if row.size
    }


def _run_name(columns: Columns, trial: int, each: bool) -> str:
    point, seed = divmod(trial, columns.num_seeds)
    parts: Sequence[str] = ([f"point_{point}"] if columns.swept else []) + ([f"seed_{seed}"] if each else [])
    return "/".join(parts) or "mean"
