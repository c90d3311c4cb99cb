"""Experiments: an algorithm with presets, and how its settings come back from the ``config.json`` of a run."""

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from purerl.driver.hypers import sweep
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.renames import with_new_names
from purerl.env_names import base_name
from purerl.names import near


class Preset(NamedTuple):
    """Settings that work on one environment."""

    config: Any
    hypers: Any
    num_env_steps: int
    schedule: tuple[str, ...] = ()  # such as "learning_rate=linear:0"


class Experiment(NamedTuple):
    """An algorithm with settings for some environments: all that a command line needs.

    Attributes:
        name: of the module, and of its folder under ``runs/``.
        description: first lines of ``--help``.
        make_env: ``(name or function, wrappers=..., **arguments) -> environment``, such as :func:`purerl.envs.make`.
        make_algorithm: ``(env, config) -> Algorithm``.
        presets: settings by environment name.
        default_env: environment when none is asked for; has a preset.
        fallback: settings for environments without a preset.
        complete: ``(hypers, config, num_env_steps) -> hypers``, fills in what depends on the run's length.
    """

    name: str
    description: str
    make_env: Callable
    make_algorithm: Callable
    presets: Mapping[str, Preset]
    default_env: str
    fallback: Preset
    complete: Callable[[Any, Any, int], Any] = lambda hypers, config, num_env_steps: hypers

    def preset(self, env: str) -> Preset:
        """Settings for an environment, whatever its arguments and wrappers."""
        return self.presets.get(base_name(env), self.fallback)

    def settings_of(self, record: Mapping[str, Any]) -> tuple[str, Any, Any]:
        """Environment, config and hyperparameters that a ``config.json`` records.

        Raises:
            ValueError: if it does not fit this experiment.
        """
        settings = dict(record["settings"])
        env = settings.pop("env", self.default_env)
        settings.pop("given", None)  # of no config: what it must be like is seen when the run is made again
        return env, filled(self.fallback.config, settings), filled(self.fallback.hypers, record["hypers"])


def decay_over_run(num_optimizer_steps: int, hypers: Any) -> Any:
    """Let schedules that have no length of their own span the run."""
    if math.isinf(hypers.decay_steps):
        return hypers.replace(decay_steps=float(num_optimizer_steps))
    return hypers


def known(record: Mapping[str, Any]) -> Experiment | None:
    """The presets of what made a run, if there are any."""
    try:
        return find(record)
    except ValueError:
        return None


def find(record: Mapping[str, Any], package: str = "purerl.presets") -> Experiment:
    """The experiment that made a run, from its ``config.json``.

    Args:
        record: the file as a dictionary.
        package: where experiments are.

    Raises:
        ValueError: if there is no such experiment.
    """
    name = record.get("experiment", record.get("algorithm", ""))
    if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        try:
            module = importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name not in (package, f"{package}.{name}"):
                raise
        else:
            if isinstance(getattr(module, "EXPERIMENT", None), Experiment):
                return module.EXPERIMENT
    raise ValueError(
        f"There are no presets {name!r} in {package}: the run was made by something else, and by none that is marked "
        "with purerl.recorded."
    )


def recorded_sweep(record: Mapping[str, Any], hypers: Any) -> Sweep | None:
    """The sweep that a ``config.json`` records, over its hyperparameters; None where nothing was swept.

    Raises:
        ValueError: if ``hypers`` lacks a swept field.
    """
    if not record.get("sweep"):
        return None
    fields = with_new_names(record["sweep"], [field.name for field in dataclasses.fields(hypers)])
    points = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    return sweep.points(hypers, points)


def filled(like: Any, values: Mapping[str, Any]) -> Any:
    """A record such as ``like`` with values from JSON, where tuples have become lists and infinity null.

    A name or value of an older version (:mod:`purerl.driver.renames`) counts as what it is called today.
    """
    fields = [field.name for field in dataclasses.fields(like)]
    values = with_new_names(values, fields)
    for name in values:
        if name not in fields:
            raise ValueError(f"{type(like).__name__} has no field {name!r}. {near(name, fields)}")
    given = {name: _like(value, getattr(like, name)) for name, value in values.items()}
    return dataclasses.replace(like, **given)


def _like(value: Any, default: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if dataclasses.is_dataclass(default) and isinstance(value, dict):
        return filled(default, value)
    return math.inf if value is None and isinstance(default, float) else value
