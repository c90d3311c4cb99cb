"""Iterative policy evaluation: within its bound, by contraction, and in place."""

import jax
import numpy as np
import pytest

from purerl.algorithms.tabular.policy_evaluation import policy_evaluation
from tests.oracles import mdp as oracle
from tests.support.processes import (
    NUM_MDPS,
    ORDER,
    as_oracle,
    random_mdps,
    random_policies,
)


@pytest.mark.covers("policy-eval")
def test_evaluation_of_64_policies_within_its_bound(x64):
    """Sweeps at once and in place settle at the oracle's linear solve, each within gamma / (1 - gamma) changes."""
    mdps, policies = random_mdps(), random_policies()
    want = np.stack([oracle.values(as_oracle(mdps, i), policies[i]).state for i in range(NUM_MDPS)])

    def evaluate(mdp, policy):
        return [policy_evaluation(mdp, policy, order=order, tolerance=1e-4) for order in (None, ORDER)]

    at_once, in_place = jax.jit(jax.vmap(evaluate))(mdps, policies)
    for solution in (at_once, in_place):
        assert (np.abs(solution.value - want).max(-1) <= solution.bound + 1e-12).all()
        assert (solution.residual <= 1e-4).all()
    assert in_place.iterations.mean() < at_once.iterations.mean()
