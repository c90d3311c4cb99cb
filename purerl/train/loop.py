"""The training loop, for any :class:`purerl.algorithm.Algorithm`.

One compiled function runs any number of updates: ``fori_loop`` with traced bounds, vmapped over seeds. Metrics are
summed on the device, so memory does not grow with the length of the run, and the bounds do not recompile, so
logging and evaluation can happen at any step. Update ``t`` of a run gets the key ``fold_in(run_key, t)``: where the
loop is cut into pieces changes nothing, bit for bit.
"""

import dataclasses
import math
import pathlib
import sys
import time
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.algorithm import Algorithm
from purerl.train import checkpoint, files, plots, records
from purerl.train.progress import Progress
from purerl.train.statistics import Interval
from purerl.types import Episodes, Mean, PyTree


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind.

    Attributes:
        states: the algorithm's final states, ``[S, ...]``.
        steps: environment steps at which metrics were logged, ``[K]``.
        metrics: by name, ``[K, S]``: each value is the mean since the last log, NaN where there was no data.
        eval_steps: environment steps at which the agent was evaluated, ``[E]``.
        eval_returns: mean return of each evaluation, ``[E, S]``.
        summary: the run in numbers, as ``summary.json`` has them.
    """

    states: PyTree
    steps: np.ndarray
    metrics: dict[str, np.ndarray]
    eval_steps: np.ndarray
    eval_returns: np.ndarray
    summary: dict[str, Any]

    @property
    def final_return(self) -> Interval:
        """Interquartile mean over seeds of the last return, with its 95 % interval."""
        return Interval(**self.summary["final_return"])

    @property
    def has_returns(self) -> bool:
        """Whether there is anything to plot: evaluations, or the returns of training's own episodes."""
        return len(self.eval_steps) > 0 or "episode_return" in self.metrics

    def plot(self, path: str | pathlib.Path | None = None):
        """The learning curve, as a ``matplotlib.figure.Figure``; also written to ``path`` where one is given.

        Raises:
            ValueError: if the run has no returns: no evaluation, and no metric ``episode_return``.
        """
        if not self.has_returns:
            raise ValueError("Neither an evaluation nor the metric episode_return: there is no curve to draw.")
        title = self.summary["title"]
        if len(self.eval_steps):
            figure = plots.learning_curve(self.eval_steps, self.eval_returns, title)
        else:
            figure = plots.learning_curve(self.steps, self.metrics["episode_return"], title)
        if path is not None:
            plots.save(figure, path)
        return figure


def seed_keys(key: jax.Array, num_seeds: int) -> jax.Array:
    """The root keys of a run's seeds, ``[S]``. Seed ``i`` has the same key whatever ``num_seeds`` is."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_seeds))


def init_states(algorithm: Algorithm, hypers: PyTree, keys: jax.Array) -> PyTree:
    """The initial state of each seed, ``[S, ...]``, from its root key ``[S]``."""
    return jax.vmap(lambda key: algorithm.init(hypers, _streams(key)[0]))(keys)


def run_updates(
    algorithm: Algorithm,
    hypers: PyTree,
    states: PyTree,
    keys: jax.Array,
    start: jax.Array,
    stop: jax.Array,
    seeds_at_once: int | None = None,
) -> tuple[PyTree, dict[str, Mean]]:
    """Updates ``start <= t < stop`` of every seed, and the sums of their metrics.

    Args:
        algorithm: what to run.
        hypers: its hyperparameters, shared by the seeds.
        states: ``[S, ...]``.
        keys: the seeds' root keys, ``[S]``.
        start: first update, ``[]``; traced, so it does not recompile.
        stop: one past the last update, ``[]``.
        seeds_at_once: how many seeds to vmap; the rest wait their turn. None: all of them.

    Returns:
        States ``[S, ...]``, and metrics by name with leaves ``[S]``.
    """

    def run_seed(state: PyTree, key: jax.Array) -> tuple[PyTree, dict[str, Mean]]:
        _, run_key, _ = _streams(key)

        def update(t: jax.Array, carry):
            state, sums = carry
            state, metrics = algorithm.update(hypers, state, jax.random.fold_in(run_key, t))
            return state, jax.tree.map(jnp.add, sums, _as_means(metrics))

        _, metrics = jax.eval_shape(algorithm.update, hypers, state, run_key)
        zeros = jax.tree.map(lambda m: jnp.zeros(m.shape), jax.eval_shape(_as_means, metrics))
        return jax.lax.fori_loop(start, stop, update, (state, zeros))

    return _over_seeds(run_seed, states, keys, seeds_at_once)


def evaluate_states(
    algorithm: Algorithm,
    hypers: PyTree,
    states: PyTree,
    keys: jax.Array,
    start: jax.Array,
    num_episodes: int,
    seeds_at_once: int | None = None,
) -> Episodes:
    """Play ``num_episodes`` with every seed's agent. The randomness belongs to evaluation alone, and to ``start``.

    Returns:
        Episodes ``[S, N]``.
    """

    def evaluate_seed(state: PyTree, key: jax.Array):
        _, _, eval_key = _streams(key)
        assert algorithm.spec.evaluate is not None
        return algorithm.spec.evaluate(hypers, state, jax.random.fold_in(eval_key, start), num_episodes)

    return _over_seeds(evaluate_seed, states, keys, seeds_at_once)


def train(
    algorithm: Algorithm,
    hypers: PyTree,
    key: jax.Array,
    *,
    num_env_steps: int,
    num_seeds: int = 1,
    eval_every: int | None = None,
    num_eval_episodes: int = 32,
    log_every: int | None = None,
    seeds_at_once: int | None = None,
    out_dir: str | pathlib.Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train an algorithm, several seeds at once.

    Args:
        algorithm: from a factory such as ``ppo(env, config)``.
        hypers: its hyperparameters.
        key: typed key; fixes everything random about the run.
        num_env_steps: environment steps of each seed; rounded up to whole updates, which is said.
        num_seeds: independent runs, vmapped, S.
        eval_every: environment steps between evaluations, rounded up to whole updates. None: 20 evaluations
            over the run; 0: none. An evaluation also stands at step 0 and at the end.
        num_eval_episodes: complete episodes of each evaluation.
        log_every: environment steps between log entries. None: 100 entries over the run.
        seeds_at_once: how many seeds to vmap, the others waiting their turn. None: all. On a CPU, fewer are
            faster where one seed alone keeps the machine busy (large batches, images).
        out_dir: where to write ``config.json``, ``metrics.csv``, ``summary.json``, ``curve.png``, TensorBoard
            events and a ``checkpoint`` of the final states; None writes nothing. Files of an earlier run there are
            replaced.
        progress: show a progress bar on stderr.

    Returns:
        Final states, metrics and a summary.

    Raises:
        ValueError: for sizes below 1, a legacy key, or an evaluation of an algorithm that cannot be evaluated.
    """
    _check_arguments(algorithm, key, num_env_steps, num_seeds, eval_every, num_eval_episodes, log_every, seeds_at_once)
    _warn_of_deadlock(num_seeds)
    plan = _Plan.of(algorithm, num_env_steps, eval_every, log_every)
    if plan.num_env_steps != num_env_steps:
        _say(
            f"{num_env_steps} environment steps are not whole updates of {plan.steps_per_update}: "
            f"running {plan.num_updates} updates, {plan.num_env_steps} steps.",
            progress,
        )
    settings = {
        "algorithm": algorithm.spec.name,
        "settings": dict(algorithm.spec.settings),
        "hypers": records.plain(hypers),
        "key": jax.random.key_data(key).tolist(),
        "num_env_steps": num_env_steps,
        "num_seeds": num_seeds,
        "eval_every": eval_every,
        "num_eval_episodes": num_eval_episodes,
        "log_every": log_every,
        "seeds_at_once": seeds_at_once,
    }
    folder = None if out_dir is None else pathlib.Path(out_dir)
    if folder is not None:
        (folder / "summary.json").unlink(missing_ok=True)  # of an earlier run: it would not fit the new config
        files.write_json(folder / "config.json", settings | records.versions())

    timer, log = _Timer(), records.Log(num_seeds)
    try:
        states = _run(
            algorithm, hypers, seed_keys(key, num_seeds), plan, num_eval_episodes, seeds_at_once, timer, log, progress
        )
    finally:  # an interrupted run keeps what it has measured
        if folder is not None:
            log.write(folder)
    summary = {
        "title": f"{algorithm.spec.name} on {algorithm.spec.settings.get('env', 'its environment')}",
        "num_env_steps": plan.num_env_steps,
        "num_env_steps_requested": num_env_steps,
        "num_seeds": num_seeds,
        "num_diverged": log.num_diverged,
        "final_return": log.final_return()._asdict(),
        "final_return_of_each_seed": log.final_returns().tolist(),
        "final_return_is": f"mean of {num_eval_episodes} evaluation episodes" if plan.evals_at else "training return",
        "env_steps_per_second": plan.num_env_steps * num_seeds / max(timer.run_seconds, 1e-9),
        **timer.seconds(),
        **records.peak_memory(),
    }
    result = TrainResult(states=states, summary=summary, **log.arrays())
    if folder is not None:
        checkpoint.save(folder / "checkpoint", states, replace=True)
        if result.has_returns:
            result.plot(folder / "curve.png")
        files.write_json(folder / "summary.json", summary)  # last: where it is, the rest is
    return result


class _Plan(NamedTuple):
    """A run in updates: how many, and after which ones to log and to evaluate."""

    steps_per_update: int
    num_updates: int
    logs_at: frozenset[int]
    evals_at: frozenset[int]

    @property
    def num_env_steps(self) -> int:
        return self.num_updates * self.steps_per_update

    @classmethod
    def of(cls, algorithm: Algorithm, num_env_steps: int, eval_every: int | None, log_every: int | None) -> "_Plan":
        steps_per_update = algorithm.spec.env_steps_per_update
        num_updates = math.ceil(num_env_steps / steps_per_update)

        def marks(every: int | None, default_count: int) -> frozenset[int]:
            """Every so many steps, and at the end."""
            interval = math.ceil(num_updates / default_count if every is None else every / steps_per_update)
            return frozenset({*range(interval, num_updates, interval), num_updates})

        evaluates = algorithm.spec.evaluate is not None and eval_every != 0
        evals_at = marks(eval_every, 20) | {0} if evaluates else frozenset()
        return cls(steps_per_update, num_updates, marks(log_every, 100), evals_at)


def _run(
    algorithm: Algorithm,
    hypers: PyTree,
    keys: jax.Array,
    plan: _Plan,
    num_eval_episodes: int,
    seeds_at_once: int | None,
    timer: "_Timer",
    log: records.Log,
    progress: bool,
) -> PyTree:
    """Compile, run the plan, fill the log; the final states."""
    init = timer.compile(partial(init_states, algorithm), hypers, keys)
    states = timer.run(init, hypers, keys)
    updates = partial(run_updates, algorithm, seeds_at_once=seeds_at_once)
    run = timer.compile(updates, hypers, states, keys, 0, 0, donate=1)
    if plan.evals_at:
        evaluation = partial(evaluate_states, algorithm, num_episodes=num_eval_episodes, seeds_at_once=seeds_at_once)
        evaluate = timer.compile(evaluation, hypers, states, keys, 0)

    update = 0
    with Progress(plan.num_env_steps, keys.shape[0], enabled=progress) as bar:
        for mark in sorted(plan.logs_at | plan.evals_at):
            if mark > update:
                states, sums = timer.run(run, hypers, states, keys, update, mark)
                log.add_metrics(mark * plan.steps_per_update, jax.device_get(sums))
                update = mark
            if mark in plan.evals_at:
                episodes = timer.run(evaluate, hypers, states, keys, mark, evaluation=True)
                log.add_evaluation(mark * plan.steps_per_update, jax.device_get(episodes))
            bar.update(mark * plan.steps_per_update, log.last_return())
    return states


class _Timer:
    """Seconds spent compiling, running updates and evaluating."""

    def __init__(self) -> None:
        self.compile_seconds = self.run_seconds = self.eval_seconds = 0.0

    def seconds(self) -> dict[str, float]:
        """All three by name."""
        return {
            "compile_seconds": self.compile_seconds,
            "run_seconds": self.run_seconds,
            "eval_seconds": self.eval_seconds,
        }

    def compile(self, function, *arguments, donate: int | None = None):
        start = time.perf_counter()
        donated = () if donate is None else (donate,)
        compiled = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
        self.compile_seconds += time.perf_counter() - start
        return compiled

    def run(self, compiled, *arguments, evaluation: bool = False):
        start = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        if evaluation:
            self.eval_seconds += time.perf_counter() - start
        else:
            self.run_seconds += time.perf_counter() - start
        return result


def _streams(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A seed's root key as three: for initialisation, updates and evaluation."""
    init_key, run_key, eval_key = jax.random.split(key, 3)
    return init_key, run_key, eval_key


def _over_seeds(function, states: PyTree, keys: jax.Array, seeds_at_once: int | None):
    """``vmap`` over so many seeds at once, one such block after the other.

    Seeds that run alone keep their plain program, whose matrix products are not batched ones of one.
    """
    num_seeds = keys.shape[0]
    at_once = num_seeds if seeds_at_once is None else min(seeds_at_once, num_seeds)
    if at_once == num_seeds > 1:
        return jax.vmap(function)(states, keys)
    return jax.lax.map(lambda seed: function(*seed), (states, keys), batch_size=at_once if at_once > 1 else None)


def _as_means(metrics: dict[str, Any]) -> dict[str, Mean]:
    """Every metric as a sum and a count."""
    return {
        name: Mean(*(jnp.asarray(x, jnp.float32) for x in (value if isinstance(value, Mean) else (value, 1))))
        for name, value in metrics.items()
    }


def _check_arguments(
    algorithm, key, num_env_steps, num_seeds, eval_every, num_eval_episodes, log_every, seeds_at_once
) -> None:
    for name, value in (
        ("num_env_steps", num_env_steps),
        ("num_seeds", num_seeds),
        ("num_eval_episodes", num_eval_episodes),
        ("log_every", log_every),
        ("seeds_at_once", seeds_at_once),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} = {value}: it must be at least 1.")
    if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key) or key.shape != ():
        raise ValueError(f"key must be one typed key, such as jax.random.key(0); got {key!r}.")
    if eval_every and algorithm.spec.evaluate is None:
        raise ValueError(
            f"eval_every = {eval_every}, but {algorithm.spec.name} has nothing to evaluate. Use eval_every=0."
        )
    if eval_every is not None and eval_every < 0:
        raise ValueError(f"eval_every = {eval_every}: use 0 for no evaluation.")


def _warn_of_deadlock(num_seeds: int) -> None:
    affected = jax.default_backend() == "cpu" and num_seeds > 1 and xla.jaxlib_can_deadlock()
    if affected and not xla.has_deadlock_remedy():
        warnings.warn(
            "On the CPU, jaxlib below 0.11 can deadlock in programs vmapped over seeds. Remedy: install "
            "jaxlib >= 0.11 (Python >= 3.12), or set the environment variable "
            f"XLA_FLAGS={xla.SEQUENTIAL_SCHEDULER} before JAX starts; purerl.xla.set_cpu_flags() does.",
            stacklevel=3,
        )


def _say(message: str, progress: bool) -> None:
    """A notice: beside the progress bar, or as a warning where there is none."""
    if progress:
        print(message, file=sys.stderr)
    else:
        warnings.warn(message, stacklevel=3)
