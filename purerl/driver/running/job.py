"""Jobs: an algorithm, its trials and a plan, made from the options of a run and checked before it begins."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from purerl import recipes
from purerl.algorithm import Algorithm
from purerl.driver.hypers import population, schedules
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.schedules import Schedule
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.options import RunOptions
from purerl.driver.running import devices, program
from purerl.driver.running.plan import Plan
from purerl.driver.running.trials import Trials
from purerl.driver.storage import records
from purerl.ranges import check_hypers
from purerl.types import PyTree


class Job(NamedTuple):
    """What is to be run. Nothing here changes during a run."""

    algorithm: Algorithm
    trials: Trials
    plan: Plan
    adjust: program.Adjust = program.unchanged  # schedules
    mesh: Mesh | None = None
    population: PBT | None = None
    key: jax.Array | None = None  # of the population's selections
    num_eval_episodes: int = 32
    debug_nans: bool = False
    sweep: Sweep | None = None

    @classmethod
    def of(cls, algorithm: Algorithm, hypers: PyTree | Sweep, key: jax.Array, options: RunOptions) -> "Job":
        """The job that these options describe.

        Raises:
            ValueError: for what cannot be run.
        """
        if not isinstance(algorithm, Algorithm):
            raise ValueError(f"{algorithm!r} is no algorithm: give what a factory returns, such as ppo(env, config).")
        if not algorithm.spec.learns:
            raise ValueError(f"{algorithm.spec.name} has no dataset to learn from: so it only acts. Restore the file.")
        _check_key(key)
        _check_hypers(algorithm, hypers)
        _check_evaluation(algorithm, options.eval_every)
        plan = Plan.of(
            algorithm,
            options.num_env_steps,
            options.eval_every,
            options.log_every,
            options.checkpoint_every,
            options.population,
        )
        trials = Trials.of(hypers, key, options.num_seeds)
        _check_population(options.population, trials)
        devices.check(options.mesh)
        return cls(
            algorithm=algorithm,
            trials=trials,
            plan=plan,
            adjust=_adjust(options.schedules or {}, trials, plan),
            mesh=options.mesh,
            population=options.population,
            key=None if options.population is None else fold_in_name(key, "population"),
            num_eval_episodes=options.num_eval_episodes,
            debug_nans=options.debug_nans,
            sweep=hypers if isinstance(hypers, Sweep) else None,
        )


def settings(job: Job, key: jax.Array, options: RunOptions) -> dict[str, Any]:
    """What ``config.json`` records: all that it takes to run this again."""
    return {
        "algorithm": job.algorithm.spec.name,
        "settings": dict(job.algorithm.spec.settings),
        "hypers": records.plain(job.trials.base),
        "sweep": {name: values.tolist() for name, values in job.trials.columns.swept.items()},
        "made_by": recipes.plain(job.algorithm) if recipes.recipe_of(job.algorithm) else None,
        "hypers_class": recipes.name_of(type(job.trials.base)) or None,
        "key": jax.random.key_data(key).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        **options.record(),
    }


def _adjust(given: Mapping[str, Schedule], trials: Trials, plan: Plan) -> program.Adjust:
    """Schedules as a function of the number of updates.

    Raises:
        ValueError: for one of a name that does not exist.
    """
    schedules.check(given, trials.base)
    if not given:
        return program.unchanged
    return lambda hypers, t: schedules.apply(given, hypers, t / plan.num_updates)


def _check_key(key: jax.Array) -> None:
    if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key) or key.shape != ():
        raise ValueError(f"key must be one typed key, such as jax.random.key(0); got {key!r}.")


def _check_hypers(algorithm: Algorithm, hypers: PyTree | Sweep) -> None:
    """Of the algorithm's class, every number in its range, at every point of a sweep.

    Raises:
        ValueError: if they are not.
    """
    record, expected = hypers.hypers if isinstance(hypers, Sweep) else hypers, algorithm.spec.hypers_class
    if expected is not None and not isinstance(record, expected):
        raise ValueError(
            f"hypers must be {expected.__name__}, or a sweep of them, for {algorithm.spec.name}, but they are "
            f"{type(record).__name__}."
        )
    check_hypers(record)


def _check_evaluation(algorithm: Algorithm, eval_every: int | None) -> None:
    if eval_every and algorithm.spec.evaluate is None:
        raise ValueError(
            f"eval_every = {eval_every}, but {algorithm.spec.name} has nothing to evaluate. Use eval_every = 0."
        )


def _check_population(pbt: PBT | None, trials: Trials) -> None:
    if pbt is None:
        return
    if not trials.columns.swept:
        raise ValueError("A population needs a sweep of at least 2 points to start from: use grid or random_search.")
    population.check(pbt, trials.base, trials.columns.num_points)
