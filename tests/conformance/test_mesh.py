"""Algorithms on a mesh: trials over devices, environments over devices, and both."""

import pytest

from tests.conformance.algorithms import CASES
from tests.support import programs


@pytest.fixture(scope="module")
def axes():
    return programs.run("tests.conformance.mesh", num_devices=8).report()


@pytest.mark.parametrize("check", ["trials", "envs", "both"])
def test_ppo_on_a_mesh(axes, check):
    """Trials over eight devices bit for bit as one by one; one trial's environments and gradients over eight."""
    assert axes[check] is None, axes[check]


def test_every_algorithm_over_both_axes():
    """Trials on a mesh of four by two are those of one device, up to the rounding of sums in another order. All
    algorithms in one process, for starting it takes longer than most of them do."""
    report = programs.run("tests.conformance.mesh", *sorted(CASES), num_devices=8).report()
    wrong = {name: error for name, error in report.items() if error is not None}
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())
    assert sorted(report) == sorted(CASES)
