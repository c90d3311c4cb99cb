"""GRPO's presets, and the members of its family as settings of any of them."""

import jax
import pytest

from purerl import envs
from purerl.algorithms.language.grpo import grpo
from purerl.presets.grpo import EXPERIMENT, PRESETS, VARIANTS, variant
from purerl.ranges import check_hypers
from tests.support.presets import check


def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state."""
    check("grpo")


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_members_of_the_family_are_settings(name):
    """Each is a config that is accepted, differs from the preset in what it says, and is a flag in the help."""
    preset = variant(PRESETS["addition"], name)
    check_hypers(preset.hypers)
    for field, value in VARIANTS[name].items():
        assert getattr(preset.hypers, field, getattr(preset.config, field, None)) == value
        assert f"--{field.replace('_', '-')} {value}" in EXPERIMENT.description
    algorithm = grpo(envs.make("addition"), preset.config)
    jax.eval_shape(algorithm.init, preset.hypers, jax.random.key(0))
