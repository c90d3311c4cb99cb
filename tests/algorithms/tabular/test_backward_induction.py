"""Backward induction against all plans of a short horizon, and against value iteration."""

import itertools

import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular.backward_induction import backward_induction
from purerl.algorithms.tabular.value_iteration import value_iteration
from tests.oracles import mdp as oracle


def test_backward_induction_finds_the_best_plan(x64):
    """Backward induction against the oracle's values of its own plan and of all plans of two steps; V_0 of H steps is
    value iteration's H-th sweep; a final value counts."""
    theirs = oracle.random_mdp(0, num_states=3, num_actions=2)
    mdp = kernel.make(theirs.transition, theirs.reward, gamma=theirs.gamma)
    final = np.array([0.5, -1.0, 2.0])
    plan = backward_induction(mdp, 2, final=final)
    best = np.full((3, 3), -np.inf)
    for choice in itertools.product(range(2), repeat=6):
        value = [final]
        for action in np.reshape(choice, (2, 3))[::-1]:
            q = theirs.reward + theirs.gamma * theirs.transition @ value[0]
            value.insert(0, q[np.arange(3), action])
        best = np.maximum(best, value)
    np.testing.assert_allclose(plan.value, best, rtol=1e-12)
    assert plan.action.shape == (2, 3)
    np.testing.assert_array_equal(plan.action[1], kernel.lookahead(mdp, final).argmax(-1))

    sweeps = value_iteration(mdp, tolerance=0, max_sweeps=7).value
    np.testing.assert_allclose(backward_induction(mdp, 7).value[0], sweeps, rtol=1e-12)
    np.testing.assert_array_equal(backward_induction(mdp, 0, final=final).value, [final])
    with pytest.raises(ValueError, match=r"horizon=-1 must be at least 0"):
        backward_induction(mdp, -1)
