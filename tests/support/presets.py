"""What holds for every module of presets."""

import dataclasses
import importlib

import jax

from purerl.driver.command_line import Experiment
from purerl.driver.hypers import schedules
from purerl.ranges import check_hypers


def check(name: str) -> Experiment:
    """The experiment of a module of presets: its settings are of one kind, and each environment can be learnt in.

    Nothing is compiled: a run's first state is only described.
    """
    module = importlib.import_module(f"purerl.presets.{name}")
    experiment = module.EXPERIMENT
    assert experiment.name == name and {*module.PRESETS} == {*experiment.presets}
    assert experiment.default_env in experiment.presets
    for env, preset in experiment.presets.items():
        assert type(preset.config) is type(experiment.fallback.config)
        assert type(preset.hypers) is type(experiment.fallback.hypers)
        names = {field.name for field in dataclasses.fields(preset.hypers)}
        assert {text.partition("=")[0] for text in preset.schedule} <= names
        assert experiment.make_env(env).name == env
        check_hypers(preset.hypers)
        schedules.check(schedules.parse(preset.schedule), preset.hypers)
    env = experiment.default_env
    preset = experiment.preset(env)
    algorithm = experiment.make_algorithm(experiment.make_env(env), preset.config)
    assert algorithm.spec.name == name
    hypers = experiment.complete(preset.hypers, preset.config, preset.num_env_steps)
    jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
    return experiment
