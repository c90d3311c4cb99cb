"""DDPG's presets."""

import pytest

from purerl.presets import td3
from tests.support.presets import check


@pytest.mark.covers("ddpg")
def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state; and nothing is left of what TD3 added."""
    for env, preset in check("ddpg").presets.items():
        assert (preset.config.num_critics, preset.config.policy_delay) == (1, 1)
        assert preset.hypers == td3.PRESETS[env].hypers.replace(smoothing_std=0.0)
