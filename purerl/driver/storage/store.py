"""Writing and resuming the folder of a run: settings, logs, checkpoints, results."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from purerl import files, notices
from purerl.driver.options import RunOptions
from purerl.driver.running import devices, program
from purerl.driver.running.engine import Engine
from purerl.driver.running.job import Job
from purerl.driver.running.plan import Plan
from purerl.driver.running.result import TrainResult
from purerl.driver.storage import folder, logs, records
from purerl.driver.storage.checkpoint import Checkpoints, Saved
from purerl.driver.storage.folder import FolderError
from purerl.driver.storage.runs import read_run
from purerl.ranges import initial_names


class Origin(NamedTuple):
    """The run, and the moment, from which another is forked."""

    folder: pathlib.Path
    update: int | None = None  # None: the last checkpoint

    @classmethod
    def of(cls, options: RunOptions, plan: Plan) -> "Origin | None":
        """Where to fork from, if anywhere.

        Raises:
            ValueError: for options that contradict each other.
            FileNotFoundError: if there is no such folder.
        """
        out_dir, fork, step = options.out_dir, options.fork, options.from_step
        if out_dir is None and (options.resume or fork is not None or options.overwrite or options.wandb is not None):
            raise ValueError("resume, fork, overwrite and wandb need an out_dir.")
        if options.resume and options.overwrite:
            raise ValueError("resume goes on with a run, overwrite begins anew: choose one.")
        if fork is None:
            if step is not None:
                raise ValueError(f"from_step = {step} says where to fork: give the folder of a run as fork, too.")
            return None
        update = None if step is None else plan.update(step)
        if step is not None and update is None:
            after = f" after the first {plan.first_step}" if plan.first_step else ""
            raise ValueError(
                f"from_step = {step} is not a multiple of an update's {plan.steps_per_update} steps{after}."
            )
        if not fork.is_dir():
            raise FileNotFoundError(f"No run to fork at {fork}.")
        if out_dir is not None and fork.resolve() == out_dir.resolve():
            raise ValueError(f"A fork of {fork} needs a folder of its own: choose another out_dir.")
        return cls(fork, update)


class Store:
    """A run's folder, open for writing."""

    def __init__(
        self,
        path: pathlib.Path,
        checkpoints: Checkpoints,
        log: logs.Log,
        csv: logs.CsvFile | None,
        saved: int,
        forked_from: dict[str, Any] | None,
    ) -> None:
        self.path, self.forked_from = path, forked_from
        self.saved_at = time.monotonic()
        self._checkpoints, self._log, self._csv, self._saved = checkpoints, log, csv, saved
        self._was_refused = False

    @property
    def seconds_since_save(self) -> float:
        """Age of the last checkpoint of this process, or of the run where there is none yet."""
        return time.monotonic() - self.saved_at

    def save(self, engine: Engine, score: float | None, wait: bool = False) -> bool:
        """Write a checkpoint of this moment. If the disk refuses, the run goes on with those that there are.

        Returns:
            Whether it is begun; with ``wait``, whether it is whole.
        """
        if self._saved != engine.update:
            self._try(self._checkpoints.wait)  # what became of the last one is no reason to leave out this one
            if not self._try(lambda: self._begin(engine, score)):
                return False
        return not wait or self._try(self._checkpoints.wait)

    def _begin(self, engine: Engine, score: float | None) -> None:
        self.saved_at = time.monotonic()
        self._log.flush()
        meta = {
            "trials_on_device": engine.blocks.per_device,
            "frozen": {str(trial): frozen.report for trial, frozen in engine.frozen.items()},
            "metrics_bytes": devices.by_writer(lambda: 0 if self._csv is None else self._csv.size()),
        }
        self._checkpoints.save(engine.update, engine.whole(), meta, score)
        self._saved = engine.update

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether the disk let us; that it did not is said once."""
        try:
            action()
        except OSError as error:
            self._saved = -1
            if not self._was_refused:
                notices.warn(f"{error} The run goes on; the checkpoints that are there stay.")
            self._was_refused = True
            return False
        return True

    def finish(self, result: TrainResult) -> None:
        """Write the picture and the summary, in this order: where a summary is, the rest is.

        Raises:
            OSError: if they cannot be written, or the last checkpoint could not.
        """
        if not devices.is_writer():
            return
        if self._saved < 0:
            raise OSError("its end is not saved")
        if result.has_returns:
            result.plot(self.path / folder.CURVE)
        if result.sweep is not None:
            result.plot_sweep(self.path / folder.SWEEP)
        files.write_json(self.path / folder.SUMMARY, result.summary)


@contextlib.contextmanager
def open_store(
    options: RunOptions,
    job: Job,
    log: logs.Log,
    settings: dict[str, Any],
    origin: Origin | None,
    say: Callable[[str], None],
) -> Iterator[tuple[Callable[[], Store], Saved | None]]:
    """Claim a folder, and read the checkpoint to go on from, if there is one.

    Nothing is written, and nothing that is there removed, before the run is ready to begin: what is refused until then,
    or does not compile, leaves the folder as it was.

    Args:
        options: of the run; there is an ``out_dir``.
        job: what is run.
        log: gets what the folder has logged, and writes there from now on.
        settings: for ``config.json``.
        origin: what to fork from.
        say: tells the user something.

    Returns:
        ``begin() -> Store``, which removes what is to be replaced, writes the settings and opens the logs; and the
        checkpoint.

    Raises:
        ValueError: if the folder may not be used, or its settings are others.
        FileNotFoundError: if there is no checkpoint to fork from.
    """
    path = options.out_dir
    assert path is not None
    logs.check_installed(options.wandb)
    with contextlib.ExitStack() as stack:
        devices.by_writer(lambda: stack.enter_context(folder.claim(path, options.resume, options.overwrite)))
        config = files.plain(settings | records.versions())
        goes_on = options.resume and (path / folder.CONFIG).exists()
        if goes_on:
            then = folder.read_config(path)
            config["forked_from"] = then.get("forked_from")
            _compare(path, then, config, say)
        fork = None if goes_on else origin
        saved = _read_own(path, job, say) if goes_on else None if fork is None else _read_fork(fork, job)
        if saved is not None and fork is not None:
            config["forked_from"] = {"folder": str(fork.folder), "step": job.plan.step(saved.step)}

        def begin() -> Store:
            devices.by_writer(lambda: _make_room(path, None if fork is None else fork.folder, options.overwrite))
            checkpoints = stack.enter_context(Checkpoints(path / folder.CHECKPOINTS, options.keep_checkpoints))
            csv = _attached_logs(path, job, log, saved, config, options.wandb)
            done = -1 if saved is None or fork is not None else saved.step
            return Store(path, checkpoints, log, csv, done, config.get("forked_from"))

        yield begin, saved


def _make_room(path: pathlib.Path, fork: pathlib.Path | None, overwrite: bool) -> None:
    """Remove the run that is to be replaced; give a fork the log that it goes on with."""
    if overwrite:
        folder.clear(path)
    if fork is not None:
        text = (fork / folder.METRICS).read_bytes()
        with files.atomic_path(path / folder.METRICS) as copy:
            copy.write_bytes(text)


def _read_own(path: pathlib.Path, job: Job, say: Callable[[str], None]) -> Saved | None:
    """The last checkpoint of a run that is resumed; None where there is none yet."""
    if (path / folder.CHECKPOINTS).is_dir():
        with Checkpoints(path / folder.CHECKPOINTS, read_only=True) as checkpoints:
            if checkpoints.steps():
                saved = checkpoints.load(_like(job), None)
                if saved.step >= job.plan.num_updates:
                    say(
                        f"The run in {path} is finished: it has all of its {job.plan.num_env_steps:,} steps. To go on, "
                        f"give a larger num_env_steps (--num-env-steps)."
                    )
                return saved
    say(f"{path} has no checkpoint yet: starting from the beginning.")
    return None


def _attached_logs(
    path: pathlib.Path, job: Job, log: logs.Log, saved: Saved | None, config: dict[str, Any], wandb: str | None
) -> logs.CsvFile | None:
    """Have the first process write what is logged; all of them know what was logged before.

    Raises:
        FolderError: if the folder cannot be written to.
    """
    try:
        csv = devices.by_writer(lambda: _open_logs(path, job, log, saved, config, wandb))
    except OSError as error:
        raise FolderError(f"Cannot write to {path} ({error.strerror}): make room, or choose another folder.") from error
    if saved is not None and not devices.is_writer():
        _take_up(path / folder.METRICS, log)
    return csv


def _open_logs(
    path: pathlib.Path, job: Job, log: logs.Log, saved: Saved | None, config: dict[str, Any], wandb: str | None
) -> logs.CsvFile:
    """Settings, and logs that end where the checkpoint stands."""
    (path / folder.SUMMARY).unlink(missing_ok=True)  # where it is, a run is finished
    files.write_json(path / folder.CONFIG, config)
    metrics, columns = path / folder.METRICS, job.trials.columns
    if saved is None:
        metrics.unlink(missing_ok=True)
    else:
        _cut(metrics, saved.meta["metrics_bytes"])
        _take_up(metrics, log)
    csv = logs.CsvFile(metrics, columns)
    log.attach(csv)
    purge_step = None if saved is None else job.plan.step(saved.step) + 1
    log.attach(logs.TensorBoard(path / folder.TENSORBOARD, columns, purge_step))
    if wandb is not None:
        log.attach(logs.WeightsAndBiases(wandb, columns, config, path))
    return csv


def _take_up(metrics: pathlib.Path, log: logs.Log) -> None:
    """Fill a log with what is in the file, if there is one."""
    for name, metric in (read_run(metrics.parent).metrics if metrics.exists() else {}).items():
        log.curves[name] = (metric.steps.tolist(), list(metric.values.reshape(len(metric.steps), -1)))


def _compare(path: pathlib.Path, then: dict[str, Any], now: dict[str, Any], say: Callable[[str], None]) -> None:
    """Refuse to resume what has other settings; say what else has changed."""
    found = folder.differences(then, now)
    longer = now["num_env_steps"] - then["num_env_steps"]
    if longer < 0 or (longer > 0 and now["schedules"]):
        found.append(f"num_env_steps: {then['num_env_steps']} then, {now['num_env_steps']} now")
    if found:
        raise FolderError(
            f"The run in {path} had other settings ({'; '.join(found)}). Resume it with those, or fork it."
        )
    changed = folder.changed_code(then, now)
    if changed:
        more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
        say(
            f"Changed since {path} was written: {'; '.join(changed[:6])}{more}. "
            "The run goes on, but need not become what it would have been."
        )


def _read_fork(fork: Origin, job: Job) -> Saved:
    """The checkpoint of another run.

    Raises:
        ValueError: if nothing would be left to do after it, or the run has other seeds or points.
        FileNotFoundError: if there is no such checkpoint.
    """
    _check_columns(fork.folder, job)
    with Checkpoints(fork.folder / folder.CHECKPOINTS, read_only=True) as checkpoints:
        steps = checkpoints.steps()
        if fork.update is not None and fork.update not in steps:
            there = ", ".join(str(job.plan.step(step)) for step in steps) or "no step"
            raise FileNotFoundError(
                f"{fork.folder} has no checkpoint of step {job.plan.step(fork.update)}; it has those of {there}."
            )
        saved = checkpoints.load(_like(job), fork.update)
    if saved.step >= job.plan.num_updates:
        step = job.plan.step(saved.step)
        raise FolderError(
            f"A fork of {fork.folder} begins at its step {step:,}, and all the {job.plan.num_env_steps:,} steps "
            f"asked for are done by then: give a num_env_steps (--num-env-steps) above {step:,}, or a from_step "
            "(--from-step) before it."
        )
    _check_initial_hypers(fork, saved, job)
    # A fork goes on with its own hyperparameters, unless a population has evolved them.
    return saved if job.population else saved._replace(state=saved.state.replace(hypers=job.trials.hypers))


def _check_columns(path: pathlib.Path, job: Job) -> None:
    """Refuse to fork a run of other seeds or points, in whose place nothing could go on."""
    then, columns = folder.read_config(path), job.trials.columns
    num_seeds = then.get("num_seeds", columns.num_seeds)
    if num_seeds != columns.num_seeds:
        raise FolderError(
            f"{path} has {num_seeds} seeds, and a fork has as many: num_seeds (--num-seeds) {columns.num_seeds} cannot "
            "be. Leave it out, or start a new run."
        )
    header = ",".join(columns.header())
    with (path / folder.METRICS).open() as metrics:
        if metrics.readline().strip() != header:
            raise FolderError(f"{path} logged other columns than {header}: fork it with the swept fields that it has.")


def _check_initial_hypers(fork: Origin, saved: Saved, job: Job) -> None:
    """A fork has the hyperparameters of its origin where only ``init`` reads them."""
    for name in initial_names(job.trials.base):
        if not np.array_equal(getattr(saved.state.hypers, name), getattr(job.trials.hypers, name)):
            raise FolderError(
                f"{fork.folder} began with another {name}, which is read at the beginning and never again: fork it "
                "with the one it has, or begin a new run."
            )


def _like(job: Job):
    """Shapes of all trials, and where they are to lie."""
    like = jax.eval_shape(lambda: program.init(job.algorithm, job.trials.hypers, job.trials.keys))
    sharding = devices.split_if_even(job.mesh, job.trials.num_trials)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like)


def _cut(path: pathlib.Path, size: int) -> None:
    """Shorten a log to what it was when the checkpoint was written; to whole lines where a part of that is lost."""
    there = path.stat().st_size if path.exists() else 0
    if there < size:
        notices.warn(f"{path} is shorter than it was: a part of what was logged before is lost.")
        size = path.read_bytes().rfind(b"\n") + 1 if there else 0
    if there > size:
        os.truncate(path, size)
    if size == 0:
        path.unlink(missing_ok=True)
