"""Algorithms on a mesh: members over devices, environments over devices, and both."""

import pytest

from tests.conformance.algorithms import CASES
from tests.train import programs


@pytest.fixture(scope="module")
def axes():
    return programs.run("tests.conformance.mesh", num_devices=8).report()


@pytest.mark.parametrize("check", ["members", "envs", "both"])
def test_ppo_on_a_mesh(axes, check):
    """Members over eight devices bit for bit as one by one; one member's environments and gradients over eight."""
    assert axes[check] is None, axes[check]


@pytest.mark.parametrize("name", sorted(CASES))
def test_over_both_axes(name):
    """Members on a mesh of four by two are those of one device, up to the rounding of sums in another order."""
    report = programs.run("tests.conformance.mesh", name, num_devices=8).report()
    assert report == {"both": None}, report["both"]
