"""Load a run from its folder: made again from its ``config.json``, or its agents from a checkpoint."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import files, recipes
from purerl.agent import Agent, of_algorithm
from purerl.algorithm import Algorithm
from purerl.driver.command_line import experiment
from purerl.driver.command_line.experiment import Experiment
from purerl.driver.hypers import schedules
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.options import RunOptions
from purerl.driver.renames import with_new_names
from purerl.driver.running import program
from purerl.driver.running.plan import Plan
from purerl.driver.running.trials import Trials
from purerl.driver.storage import folder as folders
from purerl.driver.storage.checkpoint import Checkpoints
from purerl.driver.storage.logs import Columns
from purerl.types import PyTree

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_KEY_IMPL = "threefry2x32"  # of the runs that did not record it


class Recorded(NamedTuple):
    """A run as its ``config.json`` describes it, in the words of ``train``."""

    experiment: Experiment | None  # None where there are no presets for it
    env_name: str
    env: Any
    config: Any
    algorithm: Algorithm
    hypers: PyTree | Sweep
    key: jax.Array
    options: RunOptions  # as far as they are recorded


class Agents(NamedTuple):
    """The trials of a run, M, as a checkpoint holds them."""

    run: Recorded
    step: int  # environment steps of each
    hypers: PyTree  # [M, ...] as they are at this step
    states: PyTree  # [M, ...]
    columns: Columns  # which trial is which
    diverged: frozenset[int]  # trials that were frozen by then

    def trial(self, m: int) -> tuple[PyTree, PyTree]:
        """Hyperparameters and state of one trial."""
        hypers, state = jax.tree.map(lambda leaf: leaf[m], (self.hypers, self.states))
        return hypers, state

    def agent(self, m: int, sample: bool = False) -> Agent:
        """One trial, to act with.

        Args:
            m: which.
            sample: draw actions from the policy that learns.

        Raises:
            ValueError: if nothing acts.
        """
        point, seed = divmod(m, self.columns.num_seeds)
        return of_algorithm(self.run.algorithm, *self.trial(m), sample, step=self.step, seed=seed, point=point)


def from_record(
    record: Mapping[str, Any], allow: Collection[str] = (), given: Mapping[str, Any] = _NOTHING
) -> Recorded:
    """All that it takes to run a ``config.json`` again. Records of older versions have less in them, and will do.

    Args:
        record: the file as a dictionary. Whatever is in it, no code runs but purerl's and that of ``allow``.
        allow: names of modules, or packages, of other code that the record may name: factories with
            :func:`purerl.recipes.recorded`, classes of configs and hyperparameters, environments.
        given: arguments of the factory, such as ``env``, that the record cannot name, or to be used instead.

    Raises:
        ValueError: if the record does not say what made the run, that is not allowed or makes something else today, or
            a schedule cannot be read.
    """
    made_again = _by_presets(record) if record.get("made_by") is None else _by_recipe(record, allow, given)
    made_by, env, config, algorithm, hypers = made_again
    return Recorded(
        experiment=made_by,
        env_name=record["settings"].get("env", getattr(made_by, "default_env", "its environment")),
        env=env,
        config=config,
        algorithm=algorithm,
        hypers=experiment.recorded_sweep(record, hypers) or hypers,
        key=jax.random.wrap_key_data(jnp.array(record["key"], jnp.uint32), impl=record.get("key_impl", _KEY_IMPL)),
        options=RunOptions.of_record(record, [field.name for field in dataclasses.fields(hypers)]),
    )


def _by_recipe(record: Mapping[str, Any], allow: Collection[str], given: Mapping[str, Any]) -> tuple:
    """Presets if there are any, environment, config, algorithm and hyperparameters, by the call that a run records."""
    text = record["made_by"]
    algorithm = recipes.make(text, allow, given, with_new_names)
    today = files.plain(dict(algorithm.spec.settings))
    # A setting that is newer than the record is at its default, which does what was done before there was a choice.
    recorded = with_new_names(record["settings"], today)
    found = folders.differences(recorded, {name: today.get(name) for name in recorded}, "settings.")
    if found:
        raise ValueError(f"What made the run makes something else today: {'; '.join(found)}.")
    arguments = [] if algorithm.spec.recipe is None else [value for _, value in algorithm.spec.recipe.arguments]
    env = next((value for value in arguments if hasattr(value, "action_space")), None)
    config = next((value for value in arguments if dataclasses.is_dataclass(value)), None)
    hypers = recipes.make({"call": record["hypers_class"], "arguments": {}}, allow)
    return experiment.known(record), env, config, algorithm, experiment.filled(hypers, record["hypers"])


def _by_presets(record: Mapping[str, Any]) -> tuple:
    """The same by the name of the presets, of a run that records no call."""
    made_by = experiment.find(record)
    env_name, config, hypers = made_by.settings_of(record)
    env = made_by.make_env(env_name)
    return made_by, env, config, made_by.make_algorithm(env, config), hypers


def load_agents(
    folder: str | os.PathLike,
    step: int | None = None,
    best: bool = False,
    allow: Collection[str] = (),
    given: Mapping[str, Any] = _NOTHING,
) -> Agents:
    """The agents of a run, finished or not.

    Args:
        folder: of the run, such as ``runs/ppo/TIME-ENV``.
        step: environment step of a checkpoint; None: of the last one that can be read.
        best: take the checkpoint whose evaluation, the mean over all trials, is the highest.
        allow: names of modules, or packages, besides purerl that the run may name; their code runs.
        given: arguments of the factory, such as ``env``, that the run could not record.

    Raises:
        ValueError: if the folder holds no run that can be made again, a checkpoint does not fit it, or, for the best
            one, there was no evaluation at the time of any.
        FileNotFoundError: if there is no such checkpoint.
    """
    folder = pathlib.Path(folder)
    run = from_record(folders.read_config(folder), allow, given)
    trials = Trials.of(run.hypers, run.key, run.options.num_seeds)
    plan = Plan.of(run.algorithm, run.options.num_env_steps)
    like = jax.eval_shape(lambda: program.init(run.algorithm, trials.hypers, trials.keys))
    with Checkpoints(folder / folders.CHECKPOINTS, read_only=True) as checkpoints:
        saved = checkpoints.load(like, _chosen(checkpoints, plan, folder, step, best))
    return Agents(
        run=run,
        step=plan.step(saved.step),
        hypers=schedules.apply(run.options.schedules or {}, saved.state.hypers, saved.step / plan.num_updates),
        states=saved.state.states,
        columns=trials.columns,
        diverged=frozenset(map(int, saved.meta["frozen"])),
    )


def steps(folder: str | os.PathLike, allow: Collection[str] = (), given: Mapping[str, Any] = _NOTHING) -> list[int]:
    """The environment steps of a run of which there are checkpoints, in order.

    Args:
        folder: of the run.
        allow: as of :func:`load_agents`.
        given: as of :func:`load_agents`.

    Raises:
        ValueError: if the folder holds no run that can be made again.
        FileNotFoundError: if it has no checkpoints.
    """
    folder = pathlib.Path(folder)
    run = from_record(folders.read_config(folder), allow, given)
    plan = Plan.of(run.algorithm, run.options.num_env_steps)
    with Checkpoints(folder / folders.CHECKPOINTS, read_only=True) as checkpoints:
        found = [plan.step(update) for update in checkpoints.steps()]
    if not found:
        raise FileNotFoundError(f"No checkpoint in {folder}: train for longer, or with a smaller --checkpoint-every.")
    return found


def _chosen(checkpoints: Checkpoints, plan: Plan, folder: pathlib.Path, step: int | None, best: bool) -> int | None:
    """The update of the checkpoint to load; None: of the last."""
    there = [plan.step(update) for update in checkpoints.steps()]
    known = ", ".join(map(str, there)) or "no step"
    if best:
        update = checkpoints.best_step()
        if update is None:
            raise ValueError(f"{folder} was evaluated at none of its checkpoints ({known}): choose one by its step.")
        return update
    if step is not None and step not in there:
        raise FileNotFoundError(f"{folder} has no checkpoint of step {step}; it has those of {known}.")
    return None if step is None else plan.update(step)
