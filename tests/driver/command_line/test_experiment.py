"""Experiments: settings come back from what a run wrote down, and so does the experiment itself."""

import dataclasses
import math
import sys
import types

import pytest

from purerl import files
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers
from purerl.driver.command_line import experiment
from purerl.presets import ppo
from tests.support.toy import EXPERIMENT, ToyConfig, ToyHypers


def record(config=None, hypers=None) -> dict:
    """What ``config.json`` says of a run of the toy."""
    settings = {"env": "somewhere", **dataclasses.asdict(config or ToyConfig())}
    hypers = dataclasses.asdict(hypers or ToyHypers())
    return files.plain({"experiment": "toy", "settings": settings, "hypers": hypers})


def test_settings_survive_json():
    """Tuples and infinity, for which JSON has no word, come back; so does the environment."""
    config, hypers = ToyConfig(sizes=(3, 4)), ToyHypers(rate=0.1, calm=2)
    assert record()["hypers"]["limit"] is None
    assert EXPERIMENT.settings_of(record(config, hypers)) == ("somewhere", config, hypers)
    assert EXPERIMENT.settings_of(record(hypers=ToyHypers(limit=0.5)))[2].limit == 0.5
    assert math.isinf(EXPERIMENT.settings_of(record())[2].limit)


def test_what_is_not_recorded_is_as_by_default():
    """An environment or a field that an older run did not have."""
    env, config, hypers = EXPERIMENT.settings_of({"settings": {}, "hypers": {"calm": 3}})
    assert (env, config, hypers) == ("nowhere", ToyConfig(), ToyHypers(calm=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hypers": {"rat": 1.0}}, "ToyHypers has no field 'rat'. Near: 'rate'"),
        ({"settings": {"env": "nowhere", "other": 1}}, "ToyConfig has no field 'other'"),
    ],
)
def test_a_field_that_does_not_exist_is_named(changes, message):
    """Record, name and near names."""
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings_of(record() | changes)


def test_presets():
    """An environment has its own, any other the fallback."""
    assert EXPERIMENT.preset("nowhere") is EXPERIMENT.presets["nowhere"]
    assert EXPERIMENT.preset("elsewhere") is EXPERIMENT.fallback


def test_the_experiment_of_a_run_is_found(monkeypatch):
    """By the name that it wrote down, or else its algorithm's; in the package that is asked."""
    module = types.ModuleType("package.toy")
    module.EXPERIMENT = EXPERIMENT
    monkeypatch.setitem(sys.modules, "package", types.ModuleType("package"))
    monkeypatch.setitem(sys.modules, "package.toy", module)
    assert experiment.find(record(), "package") is EXPERIMENT
    assert experiment.find({"algorithm": "toy"}, "package") is EXPERIMENT
    assert experiment.find({"algorithm": "ppo"}).name == "ppo"


@pytest.mark.parametrize("name", ["nothing", "../evil", "os.path", "plot", "", None, 3])
def test_an_experiment_that_is_none_is_refused(name):
    """Names of no module, of no experiment, and what is no name at all; nothing outside the package is imported."""
    with pytest.raises(ValueError, match=r"There are no presets .* in purerl\.presets: the run was made by something"):
        experiment.find({"experiment": name})


def test_decays_span_the_run_unless_they_have_a_length():
    """Infinite becomes the number of optimiser steps; a number stays."""
    assert experiment.decay_over_run(60, PPOHypers()).decay_steps == 60.0
    assert experiment.decay_over_run(60, PPOHypers(decay_steps=5.0)).decay_steps == 5.0
    config = PPOConfig(num_envs=2, num_steps=4, num_epochs=3, num_minibatches=2)
    assert ppo.complete(PPOHypers(), config, 17).decay_steps == 3 * 3 * 2  # 17 steps are 3 updates of 8
