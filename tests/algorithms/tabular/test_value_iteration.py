"""Value iteration: the linear programme, the frozen lake."""

import jax
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular.backward_induction import backward_induction
from purerl.algorithms.tabular.policy_iteration import policy_iteration
from purerl.algorithms.tabular.value_iteration import value_iteration
from tests.oracles import mdp as oracle
from tests.support.processes import (
    as_oracle,
    frozen_lake,
    random_mdps,
)


@pytest.mark.covers("value-iter")
def test_linear_programme_agrees(x64):
    """The least V above all its lookaheads, found by scipy's linear programming, is where value iteration settles."""
    mdps = random_mdps()
    for i in (0, 31, 63):
        solution = value_iteration(jax.tree.map(lambda x, i=i: x[i], mdps), tolerance=1e-12)
        np.testing.assert_allclose(solution.value, oracle.linear_program(as_oracle(mdps, i)), rtol=1e-7, atol=1e-7)


@pytest.mark.covers("value-iter", "mdp")
def test_frozen_lake(x64):
    """The slippery 4x4 lake: 14/17 from the start without discount, 0.5420259 at gamma 0.99, and 0.7441903 for the
    best plan of 100 steps."""
    lake = frozen_lake(1.0)
    assert abs(kernel.start_value(lake, value_iteration(lake, tolerance=1e-12).value) - 14 / 17) < 1e-8
    plan = backward_induction(lake, 100)
    assert abs(kernel.start_value(lake, plan.value[0]) - 0.7441903) < 5e-8
    for gamma, want in [(0.99, 0.5420259), (0.95, 0.1804716), (0.9, 0.0688909)]:
        _, solution = policy_iteration(frozen_lake(gamma))
        assert abs(solution.value[0] - want) < 1e-7
