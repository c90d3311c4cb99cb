"""The training loop, for any :class:`purerl.algorithm.Algorithm`.

It cuts a run into pieces of about a second, so that progress is seen and a request to stop is heeded, and between them
logs, evaluates, lets a population evolve and saves. None of this changes what is computed: see ``program.py``.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from purerl import xla
from purerl.algorithm import Algorithm
from purerl.analysis.statistics import interval
from purerl.driver.hypers import population, schedules
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.schedules import Schedule
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.running import devices, program
from purerl.driver.running.engine import Engine, Job
from purerl.driver.running.interruption import Interrupted, StopRequest, stop_request
from purerl.driver.running.members import Members
from purerl.driver.running.plan import Plan
from purerl.driver.running.progress import Progress
from purerl.driver.running.result import TrainResult
from purerl.driver.running.timer import Timer
from purerl.driver.storage import records
from purerl.driver.storage.logs import Log
from purerl.driver.storage.store import Origin, Store, open_store
from purerl.types import Episodes, PyTree

_PIECE_SECONDS = 1.0  # how long the devices work between two looks at the clock
_SECONDS_BETWEEN_CHECKPOINTS = 60.0
_MAX_REPORTS = 8


def train(
    algorithm: Algorithm,
    hypers: PyTree | Sweep,
    key: jax.Array,
    *,
    num_env_steps: int,
    num_seeds: int = 1,
    eval_every: int | None = None,
    num_eval_episodes: int = 32,
    log_every: int | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    population: PBT | None = None,
    members_at_once: int | None = None,
    mesh: Mesh | None = None,
    out_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
    resume: bool = False,
    fork: str | os.PathLike | None = None,
    from_step: int | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int = 3,
    wandb: str | None = None,
    debug_nans: bool = False,
    progress: bool = True,
    extra_settings: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train an algorithm: several seeds, or several seeds of every point of a sweep, at once.

    A *member* is one seed at one point. Seed ``i`` has the same randomness at every point, whatever ``num_seeds`` is.

    Args:
        algorithm: from a factory such as ``ppo(env, config)``.
        hypers: its hyperparameters, or a sweep over them from ``grid`` or ``random_search``.
        key: typed key; fixes everything random about the run.
        num_env_steps: environment steps of each member; rounded up to whole updates, which is said.
        num_seeds: independent runs of each point, S.
        eval_every: environment steps between evaluations, rounded up to whole updates. None: 20 evaluations
            over the run; 0: none. An evaluation also stands at step 0 and at the end.
        num_eval_episodes: complete episodes of each evaluation.
        log_every: environment steps between log entries. None: 100 entries over the run.
        schedules: how hyperparameters move over the run, by name: ``{"learning_rate": linear(0.0)}``.
        population: let the points of a sweep evolve by population-based training, each seed a population of its own.
        members_at_once: how many members each device vmaps, the others waiting their turn. None: all, or as many as
            fit in memory. On a CPU, 1 is faster where one member alone keeps the machine busy (large batches, images).
        mesh: devices to run on, from ``purerl.driver.running.devices.make_mesh``; None: one device.
        out_dir: where to write ``config.json``, ``metrics.csv``, TensorBoard events, ``checkpoints/``,
            ``summary.json`` and ``curve.png``; None writes nothing.
        overwrite: replace the run in ``out_dir``, if there is one.
        resume: go on with the run in ``out_dir`` from its last checkpoint, or start it if there is none. All else must
            be as it was, only ``num_env_steps`` may grow.
        fork: folder of another run, to start from one of its checkpoints; members and shapes must be the same.
        from_step: the environment step of that checkpoint; None: the last.
        checkpoint_every: environment steps between checkpoints. None: where the run is evaluated (or logged, where it
            is not), at most one a minute. There is always one at the end, and when the run is asked to stop.
        keep_checkpoints: how many of the last to keep, besides the one with the best evaluation.
        wandb: project of Weights & Biases to log to as well.
        debug_nans: when a member diverges, find the operation where it began and raise. Keeps a second copy of the
            states in memory.
        progress: show a progress bar on stderr.
        extra_settings: more to write to ``config.json``.

    Returns:
        Final states, metrics and a summary. A member whose metrics stop being finite is frozen and reported, and the
        others go on as if nothing had happened.

    Raises:
        ValueError: for arguments that cannot work, a folder that may not be used, settings that differ from those of
            the run that is resumed. All before anything is computed.
        FileNotFoundError: if there is no checkpoint to fork from.
        FloatingPointError: under ``debug_nans``; names the operation.
        Interrupted: after SIGINT or SIGTERM, once the run has been saved.
    """
    _check_numbers(
        num_env_steps=num_env_steps,
        num_seeds=num_seeds,
        num_eval_episodes=num_eval_episodes,
        log_every=log_every,
        members_at_once=members_at_once,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
    )
    _check_key(key)
    _check_evaluation(algorithm, eval_every)
    say = _notices(progress)
    plan = Plan.of(algorithm, num_env_steps, eval_every, log_every, checkpoint_every, population)
    members = Members.of(hypers, key, num_seeds)
    schedules = schedules or {}
    job = Job(
        algorithm=algorithm,
        members=members,
        plan=plan,
        adjust=_adjust(schedules, members, plan),
        mesh=mesh,
        population=population,
        key=fold_in_name(key, "population"),
        num_eval_episodes=num_eval_episodes,
        debug_nans=debug_nans,
    )
    _check_population(job)
    devices.check(mesh)
    origin = _origin(plan, out_dir, resume=resume, fork=fork, from_step=from_step, overwrite=overwrite, wandb=wandb)
    _warn_of_deadlock(members.num_members)
    if plan.num_env_steps != num_env_steps:
        say(
            f"{num_env_steps} environment steps are not whole updates of {plan.steps_per_update}"
            f"{f' after the first {plan.first_step}' if plan.first_step else ''}: "
            f"running {plan.num_updates} updates, {plan.num_env_steps} steps."
        )
    settings = {
        "algorithm": algorithm.spec.name,
        "settings": dict(algorithm.spec.settings),
        "hypers": records.plain(members.base),
        "sweep": {name: values.tolist() for name, values in members.columns.swept.items()},
        "schedules": {name: str(schedule) for name, schedule in schedules.items()},
        "population": None if population is None else dataclasses.asdict(population),
        "key": jax.random.key_data(key).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        "num_env_steps": num_env_steps,
        "num_seeds": num_seeds,
        "eval_every": eval_every,
        "num_eval_episodes": num_eval_episodes,
        "log_every": log_every,
        "members_at_once": members_at_once,
        **(extra_settings or {}),
    }
    timer, log = Timer(), Log(members.columns)
    with contextlib.ExitStack() as stack:
        store, saved = None, None
        if out_dir is not None:
            opened = open_store(
                pathlib.Path(out_dir),
                job,
                log,
                settings,
                resume=resume,
                fork=origin,
                overwrite=overwrite,
                keep_checkpoints=keep_checkpoints,
                wandb=wandb,
                say=say,
            )
            store, saved = stack.enter_context(opened)
        stack.callback(log.close)  # also an interrupted run keeps what it has measured
        engine = Engine.compile(job, timer, members_at_once or (saved and saved.meta["members_on_device"]), say)
        if saved is None:
            engine.start()
        else:
            reports = {int(member): report for member, report in saved.meta["frozen"].items()}
            engine.restore(saved.step, saved.state, reports)
        first_update = engine.update
        with stop_request() as request:
            _run(engine, log, store, request, progress, looked=saved is not None)
        if store is not None:
            with timer.on("checkpoint"):
                store.save(engine, _score(engine, log), wait=True)
        result = _result(engine, log, hypers, first_update, timer, num_env_steps)
        if store is not None:
            try:
                store.finish(result)
            except OSError as error:
                remedy = "make room, and resume the run to have them"
                warnings.warn(f"The results cannot be written to {store.path} ({error}): {remedy}.", stacklevel=2)
    return result


def _run(engine: Engine, log: Log, store: Store | None, request: StopRequest, progress: bool, *, looked: bool) -> None:
    """Run the plan from where the engine stands to its end; ``looked``: what is to be done there is done."""
    plan, num_members, piece = engine.job.plan, engine.job.members.num_members, 1
    shows = progress and devices.is_writer()
    with Progress(plan.num_env_steps, num_members, plan.step(engine.update), enabled=shows) as bar:
        while True:
            if not looked:
                _look(engine, log, store)
            looked = False
            bar.update(plan.step(engine.update), _mean(_returns(log)))
            if engine.update >= plan.num_updates:
                return
            if len(engine.frozen) == num_members:
                warnings.warn(f"All {num_members} members diverged: the run ends here.", stacklevel=3)
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


def _look(engine: Engine, log: Log, store: Store | None) -> None:
    """All that is to be done after this update besides training: log, evaluate, evolve, save."""
    plan, update, timer = engine.job.plan, engine.update, engine.timer
    if update in plan.logs_at:
        with timer.on("log"):
            metrics, diverged = engine.read()
            _report(engine, diverged)
            log.add(plan.step(update), metrics)
    if update in plan.evals_at:
        episodes = engine.evaluate()
        with timer.on("log"):
            entry = {name: engine.without_frozen(row) for name, row in _describe(episodes).items()}
            log.add(plan.step(update), entry)
    if update in plan.evolves_at:
        with timer.on("run"):
            _evolve(engine, log)
    overdue = store is not None and store.seconds_since_save > _SECONDS_BETWEEN_CHECKPOINTS
    if store is not None and (update in plan.saves_at or (update in plan.may_save_at and devices.agree(overdue))):
        with timer.on("checkpoint"):
            store.save(engine, _score(engine, log))


def _stop(engine: Engine, log: Log, store: Store | None, signal: int) -> None:
    """Save and leave.

    Raises:
        Interrupted: always.
    """
    step = engine.job.plan.step(engine.update)
    if store is None:
        raise Interrupted(f"interrupted at step {step}; nothing was saved, for there is no out_dir.", signal, None)
    what = "saved" if store.save(engine, _score(engine, log), wait=True) else "this moment could not be saved"
    raise Interrupted(f"interrupted at step {step}; {what} in {store.path}, to be resumed.", signal, store.path)


def _evolve(engine: Engine, log: Log) -> None:
    """One selection by the latest returns, and what came of it."""
    parents = engine.evolve(_returns(log, engine.job.plan.step(engine.update)))
    assert engine.job.population is not None
    hypers = engine.hypers()
    entry = {f"hyper_{name}": getattr(hypers, name) for name in engine.job.population.names}
    log.add(engine.job.plan.step(engine.update), {"parent": parents, **entry})


def _report(engine: Engine, members: list[int]) -> None:
    """Warn of members that have diverged."""
    if not members:
        return
    reports = [engine.frozen[member].report for member in members]
    lines = [
        f"{report['member']} at step {report['env_step']} (update {report['update']}, key {report['key']}, "
        f"first leaf not finite: {report['leaf'] or 'none, only a metric'})"
        for report in reports[:_MAX_REPORTS]
    ]
    more = f"; and {len(reports) - _MAX_REPORTS} more" if len(reports) > _MAX_REPORTS else ""
    warnings.warn(
        f"Diverged: {'; '.join(lines)}{more}. What diverged is frozen, the others go on. A smaller learning rate, or "
        "normalised observations and rewards, usually help; debug_nans finds the operation.",
        stacklevel=5,
    )


def _describe(episodes: Episodes) -> dict[str, np.ndarray]:
    """Mean, standard deviation and quantiles of an evaluation's episodes ``[M, N]``, ``[M]`` by name."""
    entry: dict[str, np.ndarray] = {}
    for name, values in (("eval_return", episodes.returns), ("eval_length", episodes.lengths)):
        entry |= {name: np.mean(values, axis=1), f"{name}_std": np.std(values, axis=1)}
        quantiles = np.percentile(values, (5, 50, 95), axis=1)
        entry |= {f"{name}_p{percent:02}": row for percent, row in zip((5, 50, 95), quantiles, strict=True)}
    return entry


def _returns(log: Log, step: int | None = None) -> np.ndarray:
    """The latest return of each member, ``[M]``: of evaluation if there is any, else of training; NaN without."""
    name = "eval_return" if "eval_return" in log.curves else "episode_return"
    if step is not None and name in log.curves and log.curves[name][0][-1] == step:
        return log.curves[name][1][-1]
    return log.last(name)


def _score(engine: Engine, log: Log) -> float | None:
    """The mean return of the evaluation of these very states; None where there was none."""
    plan, update = engine.job.plan, engine.update
    if update not in plan.evals_at - plan.evolves_at:
        return None
    return _mean(engine.without_frozen(_returns(log, plan.step(update))))


def _mean(returns: np.ndarray) -> float:
    """Over those that have one; NaN if nobody has."""
    return float(np.nanmean(returns)) if not np.isnan(returns).all() else float("nan")


def _result(
    engine: Engine, log: Log, hypers: PyTree | Sweep, first_update: int, timer: Timer, num_env_steps: int
) -> TrainResult:
    """The run as arrays, with an axis of points where there is a sweep."""
    sweep = hypers if isinstance(hypers, Sweep) else None
    job, columns, whole = engine.job, engine.job.members.columns, engine.whole()
    shape = (columns.num_seeds,) if sweep is None else (columns.num_points, columns.num_seeds)
    returns = engine.without_frozen(_returns(log)).reshape(shape)
    diverged = np.isin(np.arange(columns.num_members), list(engine.frozen)).reshape(shape)
    steps, metrics = log.arrays(name for name in log.curves if not name.startswith("eval_"))
    eval_steps, evals = log.arrays(name for name in log.curves if name == "eval_return")
    steps_run = (engine.update - first_update) * job.plan.steps_per_update * columns.num_members
    evaluated = f"mean of {job.num_eval_episodes} evaluation episodes" if job.plan.evals_at else "training return"
    summary = {
        "title": f"{job.algorithm.spec.name} on {job.algorithm.spec.settings.get('env', 'its environment')}",
        "num_env_steps": job.plan.step(engine.update),
        "num_env_steps_requested": num_env_steps,
        "num_seeds": columns.num_seeds,
        "num_points": columns.num_points,
        "num_diverged": len(engine.frozen),
        "diverged": diverged.tolist(),
        "divergences": [frozen.report for frozen in engine.frozen.values()],
        "final_return": interval(returns if sweep is None else returns.ravel())._asdict(),
        "final_return_of_each_seed": returns.tolist(),
        "final_return_is": evaluated,
        **job.algorithm.spec.facts,
        "members_on_device": engine.blocks.per_device,
        "num_blocks": engine.blocks.num_blocks,
        "bytes_per_member": engine.bytes_per_member,
        "resumed_at_step": job.plan.step(first_update) if first_update else 0,
        "env_steps_per_second": steps_run / max(timer.spent["run"], 1e-9),
        **timer.seconds(),
        **records.peak_memory(),
    }
    if job.population is not None:
        summary["population"] = dataclasses.asdict(job.population)

    def split(values: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(*x.shape[:axis], *shape, *x.shape[axis + 1 :]), values)

    result = TrainResult(
        states=split(whole.states, 0),
        hypers=split(whole.hypers, 0),
        steps=steps,
        metrics=split(metrics, 1),
        eval_steps=eval_steps,
        eval_returns=split(evals.get("eval_return", np.zeros((0, columns.num_members))), 1),
        summary=summary,
        sweep=sweep,
    )
    if sweep is not None:
        summary["final_return"] = result.final_return._asdict()
        summary["points"] = [
            {
                "values": point.values,
                "final_return": point.final_return._asdict(),
                "num_diverged": point.num_diverged,
            }
            for point in result.table()
        ]
    return result


def _adjust(given: Mapping[str, Schedule], members: Members, plan: Plan) -> program.Adjust:
    """Schedules as a function of the number of updates.

    Raises:
        ValueError: for one of a name that does not exist.
    """
    schedules.check(given, members.base)
    if not given:
        return program.unchanged
    return lambda hypers, t: schedules.apply(given, hypers, t / plan.num_updates)


def _origin(
    plan: Plan,
    out_dir: str | os.PathLike | None,
    *,
    resume: bool,
    fork: str | os.PathLike | None,
    from_step: int | None,
    overwrite: bool,
    wandb: str | None,
) -> Origin | None:
    """Where to fork from, if anywhere.

    Raises:
        ValueError: for options that contradict each other.
    """
    if out_dir is None and (resume or fork is not None or overwrite or wandb is not None):
        raise ValueError("resume, fork, overwrite and wandb need an out_dir.")
    if resume and overwrite:
        raise ValueError("resume goes on with a run, overwrite begins anew: choose one.")
    if fork is None:
        if from_step is not None:
            raise ValueError(f"from_step = {from_step} says where to fork: give the folder of a run as fork, too.")
        return None
    update = None if from_step is None else plan.update(from_step)
    if from_step is not None and update is None:
        after = f" after the first {plan.first_step}" if plan.first_step else ""
        raise ValueError(
            f"from_step = {from_step} is not a multiple of an update's {plan.steps_per_update} steps{after}."
        )
    path = pathlib.Path(fork)
    if not path.is_dir():
        raise FileNotFoundError(f"No run to fork at {path}.")
    if out_dir is not None and path.resolve() == pathlib.Path(out_dir).resolve():
        raise ValueError(f"A fork of {path} needs a folder of its own: choose another out_dir.")
    return Origin(path, update)


def _check_numbers(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} = {value}: it must be at least 1.")


def _check_key(key: jax.Array) -> None:
    if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key) or key.shape != ():
        raise ValueError(f"key must be one typed key, such as jax.random.key(0); got {key!r}.")


def _check_evaluation(algorithm: Algorithm, eval_every: int | None) -> None:
    if eval_every and algorithm.spec.evaluate is None:
        raise ValueError(
            f"eval_every = {eval_every}, but {algorithm.spec.name} has nothing to evaluate. Use eval_every=0."
        )
    if eval_every is not None and eval_every < 0:
        raise ValueError(f"eval_every = {eval_every}: use 0 for no evaluation.")


def _check_population(job: Job) -> None:
    if job.population is None:
        return
    if not job.members.columns.swept:
        raise ValueError("A population needs a sweep of at least 2 points to start from: use grid or random_search.")
    population.check(job.population, job.members.base, job.members.columns.num_points)


def _warn_of_deadlock(num_members: int) -> None:
    affected = jax.default_backend() == "cpu" and num_members > 1 and xla.jaxlib_can_deadlock()
    if affected and not xla.has_deadlock_remedy():
        warnings.warn(
            "On the CPU, jaxlib below 0.11 can deadlock in programs vmapped over seeds. Remedy: install "
            "jaxlib >= 0.11 (Python >= 3.12), or set the environment variable "
            f"XLA_FLAGS={xla.SEQUENTIAL_SCHEDULER} before JAX starts; purerl.xla.set_cpu_flags() does.",
            stacklevel=3,
        )


def _notices(progress: bool) -> Callable[[str], None]:
    """How to tell the user something: beside the progress bar, or as a warning where there is none."""

    def say(message: str) -> None:
        if not devices.is_writer():
            return
        if progress:
            print(message, file=sys.stderr)
        else:
            warnings.warn(message, stacklevel=4)

    return say
