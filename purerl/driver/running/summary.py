"""The result of a finished run: its arrays, with an axis of points where there was a sweep, and its summary."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from purerl.analysis.statistics import interval
from purerl.driver.running.engine import Engine
from purerl.driver.running.result import TrainResult
from purerl.driver.storage import records
from purerl.driver.storage.logs import NUM_DIVERGED, Log
from purerl.env_names import reward_wrappers
from purerl.types import PyTree

_MOST_CLIPPED = 0.1  # share of a distribution's targets outside its support from which on it is warned of


def result_of(
    engine: Engine, log: Log, first_update: int, num_env_steps: int, forked_from: Mapping[str, Any] | None = None
) -> TrainResult:
    """The run as arrays.

    Args:
        engine: the trials at the end.
        log: all that was logged.
        first_update: with which the run began; above 0 where it was resumed or forked.
        num_env_steps: environment steps that were asked for.
        forked_from: the folder and the step of the run from which this one went on.
    """
    job, columns, whole = engine.job, engine.job.trials.columns, engine.whole()
    steps, metrics = log.arrays(name for name in log.curves if not name.startswith("eval_") and name != NUM_DIVERGED)
    eval_steps, evals = log.arrays(name for name in log.curves if name == "eval_return")

    def split(values: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(len(x), *_shape(engine)), values)

    states, hypers = whole.states, whole.hypers
    if job.sweep is not None:
        states, hypers = _by_point((states, hypers), _shape(engine))
    result = TrainResult(
        states=states,
        hypers=hypers,
        steps=steps,
        metrics=split(metrics),
        eval_steps=eval_steps,
        eval_returns=split(evals.get("eval_return", np.zeros((0, columns.num_trials)))),
        summary=_outcome(engine, log)
        | _facts(engine, first_update, num_env_steps)
        | ({} if forked_from is None else {"forked_from": dict(forked_from)})
        | _cost(engine, first_update),
        sweep=job.sweep,
    )
    if job.sweep is not None:
        result.summary.update(_ranked(result))
    return result


@functools.partial(jax.jit, static_argnums=1)
def _by_point(trials: PyTree, shape: tuple[int, int]) -> PyTree:
    """Leaves ``[M, ...]`` as ``[P, S, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), trials)


def _outcome(engine: Engine, log: Log) -> dict[str, Any]:
    """What was attained, and what diverged."""
    job, shape = engine.job, _shape(engine)
    returns = engine.without_frozen(log.latest_returns()).reshape(shape)
    diverged = np.isin(np.arange(job.trials.num_trials), list(engine.frozen)).reshape(shape)
    evaluated = (
        f"mean of {job.num_eval_episodes} {job.algorithm.spec.evaluated_in}" if job.plan.evals_at else "training return"
    )
    changed_by = " and ".join(reward_wrappers(str(job.algorithm.spec.settings.get("env", ""))))
    return {
        "num_diverged": len(engine.frozen),
        "diverged": diverged.tolist(),
        "divergences": [frozen.report for frozen in engine.frozen.values()],
        "final_return": interval(returns.ravel())._asdict(),
        "final_return_of_each_seed": returns.tolist(),
        "final_return_is": f"{evaluated}, of rewards before {changed_by}" if changed_by else evaluated,
        "warnings": _warnings(log, job.num_eval_episodes, job.algorithm.spec.name),
    }


def _warnings(log: Log, num_eval_episodes: int, name: str = "the algorithm") -> list[str]:
    """What a reader of the returns should know, a sentence each."""
    found = []
    clipped, num_cut = log.last("clipped_targets"), log.last("eval_num_cut")
    if not np.isnan(clipped).all() and np.nanmean(clipped) > _MOST_CLIPPED:
        share = 100 * np.nanmean(clipped)
        found.append(
            f"{share:.0f} % of the last targets lay outside the support of the distribution and were clipped: what "
            "lies beyond its ends cannot be learnt; widen it (of C51: v_min and v_max)."
        )
    rewards = log.last("clipped_rewards")
    if np.nansum(rewards) > 0:
        found.append(
            f"{100 * np.nanmean(rewards):.2g} % of the last rewards lay outside the range that {name} is made for, and "
            "were clipped to it: scale them (scale_reward), or take another algorithm."
        )
    if np.nansum(num_cut) > 0:
        num_episodes = num_eval_episodes * int(np.sum(~np.isnan(num_cut)))
        found.append(
            f"{np.nansum(num_cut):,.0f} of the last {num_episodes:,} evaluation episodes did not end and were cut off: "
            "they count with the return that they had by then."
        )
    return found


def _facts(engine: Engine, first_update: int, num_env_steps: int) -> dict[str, Any]:
    """What was run."""
    job, columns = engine.job, engine.job.trials.columns
    return {
        "title": f"{job.algorithm.spec.name} on {job.algorithm.spec.settings.get('env', 'its environment')}",
        "num_env_steps": job.plan.step(engine.update),
        "num_env_steps_requested": num_env_steps,
        "num_seeds": columns.num_seeds,
        "num_points": columns.num_points,
        "resumed_at_step": job.plan.step(first_update) if first_update else 0,
        **job.algorithm.spec.facts,
        **({} if job.population is None else {"population": dataclasses.asdict(job.population)}),
    }


def _cost(engine: Engine, first_update: int) -> dict[str, Any]:
    """Time and memory that it took."""
    job, timer = engine.job, engine.timer
    steps_run = (engine.update - first_update) * job.plan.steps_per_update * job.trials.num_trials
    # A run that was finished already did nothing: it has no speed.
    speed = steps_run / max(timer.spent["run"], 1e-9) if steps_run else None
    return {
        "trials_on_device": engine.blocks.per_device,
        "num_blocks": engine.blocks.num_blocks,
        "bytes_per_trial": engine.bytes_per_trial,
        "num_env_steps_run": steps_run,  # of all trials together, by this process
        "env_steps_per_second": speed,
        **timer.seconds(),
        **records.peak_memory(),
    }


def _ranked(result: TrainResult) -> dict[str, Any]:
    """The points of a sweep, best first; the best one's return stands for the sweep."""
    points = [
        {
            "values": _plain(point.values),
            "final_return": point.final_return._asdict(),
            "num_diverged": point.num_diverged,
        }
        for point in result.table()
    ]
    return {"final_return": result.final_return._asdict(), "points": points}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a point for JSON; of a population's member those of each seed."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _shape(engine: Engine) -> tuple[int, ...]:
    """The axes that trials stand for: seeds, after the points of a sweep."""
    columns = engine.job.trials.columns
    return (columns.num_seeds,) if engine.job.sweep is None else (columns.num_points, columns.num_seeds)
