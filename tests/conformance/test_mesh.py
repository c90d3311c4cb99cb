"""PPO on a mesh of eight devices: trials over devices, and environments over devices."""

import pytest

from tests.support import programs


@pytest.fixture(scope="module")
def axes():
    return programs.run("tests.conformance.mesh", num_devices=8).report()


@pytest.mark.parametrize("check", ["trials", "envs"])
def test_ppo_on_a_mesh(axes, check):
    """Trials over eight devices bit for bit as one by one; one trial's environments and gradients over eight."""
    assert axes[check] is None, axes[check]
