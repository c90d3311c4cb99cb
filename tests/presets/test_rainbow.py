"""Rainbow's presets: all six parts, on the environments of DQN's."""

import pytest

from purerl.presets import dqn
from purerl.presets.rainbow import PRESETS, rainbow
from tests.support.presets import check


@pytest.mark.covers("rainbow")
@pytest.mark.parametrize("env", sorted(PRESETS))
def test_presets_have_all_parts(env):
    """Every preset of Rainbow has its six parts, and atoms whose range is not empty."""
    config, hypers = PRESETS[env].config, PRESETS[env].hypers
    assert rainbow(config) == config
    assert hypers.v_min < hypers.v_max


def test_presets_can_be_run():
    """Their kinds, names and environments, which are DQN's; the default one's first state."""
    assert {*check("rainbow").presets} == {*dqn.PRESETS}
