"""Expected SARSA against the textbook's loop."""

import pytest

from purerl.algorithms.tabular.n_step import n_step
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    assert_learns_as,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa")
def test_expected_sarsa_is_the_loop():
    """The same history as SARSA's: the table after each step, with the mean over the policy that acts."""
    assert_learns_as(n_step(1, "expected"), oracle.one_step, kind="mean")
