"""The launchers of ``experiments`` run what ``purerl train`` runs."""

import importlib

import pytest

from purerl.__main__ import algorithms


@pytest.mark.parametrize("name", algorithms())
def test_a_launcher_runs_the_presets_of_the_package(name):
    """One and the same experiment, for each module of presets."""
    launcher = importlib.import_module(f"experiments.{name}")
    assert launcher.EXPERIMENT is importlib.import_module(f"purerl.presets.{name}").EXPERIMENT
