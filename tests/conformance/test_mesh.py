"""Algorithms on a mesh: members over devices, environments over devices, and both."""

import pytest

from tests.conformance.algorithms import CASES
from tests.train import programs


@pytest.fixture(scope="module")
def axes():
    return programs.run("tests.conformance.mesh", num_devices=8).report()


@pytest.mark.parametrize("check", ["member_axis", "env_axis"])
def test_ppo_over_one_axis(axes, check):
    """Members over eight devices bit for bit as one by one; one member's environments and gradients over eight."""
    assert axes[check] is None, axes[check]


@pytest.mark.parametrize("name", sorted(CASES))
def test_over_both_axes(name):
    """Eight members on a mesh of four by two are the lone members, up to the rounding of sums in another order."""
    report = programs.run("tests.conformance.mesh", name, num_devices=8).report()
    assert report == {"both_axes": None}, report["both_axes"]
