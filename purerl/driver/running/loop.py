"""The training loop, for any :class:`purerl.algorithm.Algorithm`.

It cuts a run into pieces of about a second, so that progress is seen and a request to stop is heeded, and between them
logs, evaluates, lets a population evolve and saves. None of this changes what is computed: see ``program.py``.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from purerl import notices, xla
from purerl.algorithm import Algorithm
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.options import RunOptions
from purerl.driver.running import devices
from purerl.driver.running.engine import Engine
from purerl.driver.running.interruption import Interrupted, StopRequest, stop_request
from purerl.driver.running.job import Job, settings
from purerl.driver.running.plan import Plan
from purerl.driver.running.progress import Progress, waiting
from purerl.driver.running.result import TrainResult
from purerl.driver.running.summary import result_of
from purerl.driver.running.timer import Timer
from purerl.driver.storage.checkpoint import Saved
from purerl.driver.storage.logs import NUM_DIVERGED, Log
from purerl.driver.storage.store import Origin, Store, open_store
from purerl.types import Episodes, PyTree

_PIECE_SECONDS = 1.0  # how long the devices work between two looks at the clock
_SECONDS_BETWEEN_CHECKPOINTS = 60.0
_MAX_REPORTS = 8


def train(
    algorithm: Algorithm,
    hypers: PyTree | Sweep,
    key: jax.Array,
    options: RunOptions | None = None,
    **changes: Any,
) -> TrainResult:
    """Train an algorithm: several seeds, or several seeds of every point of a sweep, at once.

    A *trial* is one seed at one point. Seed ``i`` has the same randomness at every point, whatever ``num_seeds`` is.

    Args:
        algorithm: from a factory such as ``ppo(env, config)``.
        hypers: its hyperparameters, or a sweep over them from ``grid`` or ``random_search``.
        key: typed key; fixes everything random about the run.
        options: how long, how many seeds, what to measure and what to leave behind; None: all are in ``changes``.
        **changes: fields of :class:`purerl.driver.RunOptions` by name, such as ``num_env_steps=100_000, num_seeds=4``.

    Returns:
        Final states, metrics and a summary. A trial whose metrics stop being finite is frozen and reported, and the
        others go on as if nothing had happened.

    Raises:
        ValueError: for arguments that cannot work, a folder that may not be used, settings that differ from those of
            the run that is resumed. All before anything is computed.
        TypeError: for a name that is no option.
        FileNotFoundError: if there is no checkpoint to fork from.
        FloatingPointError: under ``debug_nans``; names the operation.
        Interrupted: after SIGINT or SIGTERM, once the run has been saved.
    """
    options = RunOptions.changed(options, changes)
    job = Job.of(algorithm, hypers, key, options)
    origin = Origin.of(options, job.plan)
    _warn_of_deadlock(job.trials.num_trials)
    say, shows = _notices(options.progress), options.progress and devices.is_writer()
    _say_rounding(job.plan, options.num_env_steps, say)
    timer = Timer(xla.compiler_options(jax.default_backend(), options.optimization_level))
    log = Log(job.trials.columns)
    with contextlib.ExitStack() as stack:
        begin, saved = None, None
        if options.out_dir is not None:
            opened = open_store(options, job, log, settings(job, key, options), origin, say)
            begin, saved = stack.enter_context(opened)
        stack.callback(log.close)  # also an interrupted run keeps what it has measured
        with waiting("compiling", shows):
            at_once = options.trials_at_once or _trials_on_device(saved)
            engine = Engine.compile(job, timer, at_once, say, saved is None)
            _begin(engine, saved)
        store = None if begin is None else begin()  # nothing was written until now
        first_update = engine.update
        with stop_request() as request:
            _run(engine, log, store, request, shows, looked=saved is not None)
        with _interrupted_at_the_end(store):
            result = _conclude(engine, log, store, first_update, options, shows)
    return result


def _conclude(
    engine: Engine, log: Log, store: Store | None, first_update: int, options: RunOptions, shows: bool
) -> TrainResult:
    """Save the end, and write the results."""
    if store is not None:
        with waiting("saving the last checkpoint", shows), engine.timer.on("checkpoint"):
            store.save(engine, _score(engine, log), wait=True)
    forked_from = None if store is None else store.forked_from
    with waiting("collecting the results" if store is None else f"writing the results to {store.path}", shows):
        result = result_of(engine, log, first_update, options.num_env_steps, forked_from)
        if store is not None:
            _finish(store, result)
    for line in result.summary["warnings"]:
        notices.warn(line)
    return result


@contextlib.contextmanager
def _interrupted_at_the_end(store: Store | None) -> Iterator[None]:
    """What is interrupted while its results are written need only be resumed to have them."""
    try:
        yield
    except KeyboardInterrupt:
        if store is None:
            raise
        message = f"interrupted while the results were written to {store.path}; resume it to have them."
        raise Interrupted(message, signal.SIGINT, store.path) from None


def _trials_on_device(saved: Saved | None) -> int | None:
    """How many trials shared a device when the checkpoint was written: as many again round alike."""
    if saved is None:
        return None
    return saved.meta.get("trials_on_device") or saved.meta["members_on_device"]  # as older versions call it


def _begin(engine: Engine, saved: Saved | None) -> None:
    """Initialise the trials, or take them from a checkpoint."""
    if saved is None:
        engine.start()
    else:
        reports = {int(trial): report for trial, report in saved.meta["frozen"].items()}
        engine.restore(saved.step, saved.state, reports)


def _finish(store: Store, result: TrainResult) -> None:
    """Write the results; that the disk does not take them is said, for the run itself is done."""
    try:
        store.finish(result)
    except OSError as error:
        remedy = "make room, and resume the run to have them"
        notices.warn(f"The results cannot be written to {store.path} ({error}): {remedy}.")


def _run(engine: Engine, log: Log, store: Store | None, request: StopRequest, shows: bool, *, looked: bool) -> None:
    """Run the plan from where the engine stands to its end; ``looked``: what is to be done there is done."""
    plan, num_trials, piece = engine.job.plan, engine.job.trials.num_trials, 1
    with Progress(plan.num_env_steps, num_trials, plan.step(engine.update), enabled=shows) as bar:
        while True:
            if not looked:
                bar.say(_look(engine, log, store))
            looked = False
            returns = engine.without_frozen(log.latest_returns())
            bar.update(plan.step(engine.update), _mean(returns), len(engine.frozen))
            if engine.update >= plan.num_updates:
                return
            if len(engine.frozen) == num_trials:
                notices.warn(f"All {num_trials} trials diverged: the run ends here.")
                return
            stopped_by = devices.agree(request.signal or 0, max)
            if stopped_by:
                _stop(engine, log, store, stopped_by)
            stop = min(plan.next_mark(engine.update), engine.update + devices.agree(piece))
            num_updates, start = stop - engine.update, time.perf_counter()
            with engine.timer.on("run"):
                engine.advance(stop)
                log.write()  # while the devices are at work
                engine.wait()
            seconds = (time.perf_counter() - start) / num_updates
            piece = max(1, min(8 * piece, int(_PIECE_SECONDS / max(seconds, 1e-9))))


def _look(engine: Engine, log: Log, store: Store | None) -> list[str]:
    """All that is to be done after this update besides training: log, evaluate, evolve, save. Returns what to say."""
    plan, update, timer, lines = engine.job.plan, engine.update, engine.timer, []
    if update in plan.logs_at:
        with timer.on("log"):
            metrics, diverged = engine.read()
            _report(engine, diverged)
            log.add(plan.step(update), metrics | _diverged(engine))
    if update in plan.evals_at:
        episodes = engine.evaluate()
        with timer.on("log"):
            entry = {name: engine.without_frozen(row) for name, row in _describe(episodes).items()}
            log.add(plan.step(update), entry)
        lines = _words(engine, episodes)
    if update in plan.evolves_at:
        with timer.on("run"):
            _evolve(engine, log)
    overdue = store is not None and store.seconds_since_save > _SECONDS_BETWEEN_CHECKPOINTS
    if store is not None and (update in plan.saves_at or (update in plan.may_save_at and devices.agree(overdue))):
        with timer.on("checkpoint"):
            store.save(engine, _score(engine, log))
    return lines


def _words(engine: Engine, episodes: Episodes) -> list[str]:
    """A few evaluated episodes of the first trial that has not diverged, in words."""
    words = engine.job.algorithm.spec.words
    healthy = [trial for trial in range(engine.job.trials.num_trials) if trial not in engine.frozen]
    if words is None or episodes.shown is None or not healthy:
        return []
    shown = jax.tree.map(lambda x: np.asarray(x)[healthy[0]], episodes.shown)
    return [f"step {engine.job.plan.step(engine.update):,}:", *(f"  {line}" for line in words(shown))]


def _stop(engine: Engine, log: Log, store: Store | None, number: int) -> None:
    """Save and leave.

    Raises:
        Interrupted: always.
    """
    step = engine.job.plan.step(engine.update)
    if store is None:
        raise Interrupted(f"interrupted at step {step}; nothing was saved, for there is no out_dir.", number, None)
    what = "saved" if store.save(engine, _score(engine, log), wait=True) else "this moment could not be saved"
    raise Interrupted(f"interrupted at step {step}; {what} in {store.path}, to be resumed.", number, store.path)


def _evolve(engine: Engine, log: Log) -> None:
    """One selection by the latest returns, and what came of it."""
    parents = engine.evolve(log.latest_returns(engine.job.plan.step(engine.update)))
    assert engine.job.population is not None
    hypers = engine.hypers()
    names = dict.fromkeys([*engine.job.population.names, *engine.job.trials.columns.swept])  # copies bring them all
    entry = {f"hyper_{name}": getattr(hypers, name) for name in names}
    log.add(engine.job.plan.step(engine.update), {"parent": parents, **entry})


def _report(engine: Engine, trials: list[int]) -> None:
    """Warn of trials that have diverged."""
    if not trials:
        return
    reports = [engine.frozen[trial].report for trial in trials]
    lines = [
        f"{report['trial']} at step {report['env_step']} (update {report['update']}, key {report['key']}, "
        f"first leaf not finite: {report['leaf'] or 'none, only a metric'})"
        for report in reports[:_MAX_REPORTS]
    ]
    more = f"; and {len(reports) - _MAX_REPORTS} more" if len(reports) > _MAX_REPORTS else ""
    notices.warn(
        f"Diverged: {'; '.join(lines)}{more}. What diverged is frozen, the others go on. A smaller learning rate, or "
        "normalised observations and rewards, usually help; debug_nans finds the operation."
    )


def _diverged(engine: Engine) -> dict[str, np.ndarray]:
    """From the first divergence on, 1 for each trial that has diverged, ``[M]``: logs count them beside their means."""
    if not engine.frozen:
        return {}
    return {NUM_DIVERGED: np.isin(np.arange(engine.job.trials.num_trials), list(engine.frozen)).astype(float)}


def _describe(episodes: Episodes) -> dict[str, np.ndarray]:
    """Mean, standard deviation and quantiles of an evaluation's episodes ``[M, N]``, ``[M]`` by name."""
    entry: dict[str, np.ndarray] = {}
    for name, values in (("eval_return", episodes.returns), ("eval_length", episodes.lengths)):
        entry |= {name: np.mean(values, axis=1), f"{name}_std": np.std(values, axis=1)}
        quantiles = np.percentile(values, (5, 50, 95), axis=1)
        entry |= {f"{name}_p{percent:02}": row for percent, row in zip((5, 50, 95), quantiles, strict=True)}
    if episodes.solved is not None:
        entry["eval_solved"] = np.mean(episodes.solved, axis=1)
    if episodes.num_cut is not None:
        entry["eval_num_cut"] = np.asarray(episodes.num_cut)
    return entry


def _score(engine: Engine, log: Log) -> float | None:
    """The mean return of the evaluation of these very states; None where there was none."""
    plan, update = engine.job.plan, engine.update
    if update not in plan.evals_at or update in plan.evolves_at:
        return None
    return _mean(engine.without_frozen(log.latest_returns(plan.step(update))))


def _mean(returns: np.ndarray) -> float:
    """Over those that have one; NaN if nobody has."""
    return float(np.nanmean(returns)) if not np.isnan(returns).all() else float("nan")


def _say_rounding(plan: Plan, num_env_steps: int, say: Callable[[str], None]) -> None:
    """Say by how much a run is longer than was asked for, if it is."""
    if plan.num_env_steps != num_env_steps:
        say(
            f"{num_env_steps} environment steps are not whole updates of {plan.steps_per_update}"
            f"{f' after the first {plan.first_step}' if plan.first_step else ''}: "
            f"running {plan.num_updates} updates, {plan.num_env_steps} steps."
        )


def _warn_of_deadlock(num_trials: int) -> None:
    affected = jax.default_backend() == "cpu" and num_trials > 1 and xla.jaxlib_can_deadlock()
    if affected and not xla.has_deadlock_remedy():
        notices.warn(
            "On the CPU, jaxlib below 0.11 can deadlock in programs vmapped over seeds. Remedy: install "
            "jaxlib >= 0.11 (Python >= 3.12), or set the environment variable "
            f"XLA_FLAGS={xla.SEQUENTIAL_SCHEDULER} before JAX starts; purerl.xla.set_cpu_flags() does."
        )


def _notices(progress: bool) -> Callable[[str], None]:
    """How to tell the user something: beside the progress bar, or as a warning where there is none."""

    def say(message: str) -> None:
        if not devices.is_writer():
            return
        if progress:
            print(message, file=sys.stderr)
        else:
            notices.warn(message)

    return say
