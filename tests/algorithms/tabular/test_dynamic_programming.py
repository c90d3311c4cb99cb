"""Every solver of dynamic programming on the same processes: the optimum within its bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular.policy_evaluation import policy_evaluation
from purerl.algorithms.tabular.policy_iteration import modified_policy_iteration, policy_iteration
from purerl.algorithms.tabular.prioritized_sweeping import prioritized_sweeping
from purerl.algorithms.tabular.value_iteration import value_iteration
from tests.oracles import mdp as oracle
from tests.support.processes import (
    NUM_MDPS,
    ORDER,
    as_oracle,
    corners,
    random_mdps,
)

SOLVERS = {
    "value iteration": lambda mdp: value_iteration(mdp, tolerance=1e-4),
    "Gauss-Seidel": lambda mdp: value_iteration(mdp, order=ORDER, tolerance=1e-4),
    "modified, 1": lambda mdp: modified_policy_iteration(mdp, 1, tolerance=1e-4),
    "modified, 20": lambda mdp: modified_policy_iteration(mdp, 20, tolerance=1e-4),
    "prioritized": lambda mdp: prioritized_sweeping(mdp, tolerance=1e-4),
    "policy iteration": lambda mdp: policy_iteration(mdp)[1],
}


@pytest.mark.covers("value-iter", "policy-iter")
def test_every_solver_finds_the_optimum_of_64_processes_within_its_bound(x64):
    """All solvers on 64 processes in one program: V* by enumeration of policies is within each one's bound, the greedy
    policy loses at most twice that, and each count is the lone run's."""
    mdps = random_mdps()
    best = np.stack([oracle.brute_force(as_oracle(mdps, i)) for i in range(NUM_MDPS)])

    def both(mdp):
        solutions = {name: solve(mdp) for name, solve in SOLVERS.items()}
        policies = jnp.stack([kernel.greedy(kernel.lookahead(mdp, s.value)) for s in solutions.values()])
        return solutions, jax.vmap(kernel.state_value, (None, 0))(mdp, policies)

    solutions, earned = jax.jit(jax.vmap(both))(mdps)
    for name, value in zip(SOLVERS, earned.swapaxes(0, 1), strict=True):
        solution = solutions[name]
        error = np.abs(solution.value - best).max(-1)
        loss = (best - value).max(-1)
        assert (error <= solution.bound + 1e-11).all(), name
        assert (loss <= 2 * solution.bound + 1e-11).all(), name
        assert (solution.residual <= 1e-4).all(), name
        assert (solution.iterations >= 1).all(), name
    assert (solutions["policy iteration"].bound < 1e-10).all()
    np.testing.assert_array_equal(solutions["modified, 1"].value, solutions["value iteration"].value)
    np.testing.assert_array_equal(solutions["modified, 1"].iterations, solutions["value iteration"].iterations)
    assert (solutions["modified, 20"].iterations <= solutions["value iteration"].iterations).all()
    assert len(np.unique(solutions["value iteration"].iterations)) > 10

    lone = jax.jit(SOLVERS["value iteration"])(jax.tree.map(lambda x: x[7], mdps))
    assert lone.iterations == solutions["value iteration"].iterations[7]
    np.testing.assert_allclose(lone.value, solutions["value iteration"].value[7], rtol=1e-12)


@pytest.mark.covers("policy-eval", "policy-iter", "value-iter")
def test_gridworld_without_discount(x64):
    """4x4 gridworld, gamma = 1: the random policy's textbook values by sweeps, minus the distance by every control
    method; no bound exists, and none is claimed."""
    grid = corners()
    want = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
    swept = policy_evaluation(grid, jnp.full((16, 4), 0.25), tolerance=1e-9)
    np.testing.assert_allclose(swept.value, want, atol=1e-6)
    assert swept.bound == np.inf
    distance = [0, 1, 2, 3, 1, 2, 3, 2, 2, 3, 2, 1, 3, 2, 1, 0]
    action, solution = policy_iteration(grid)
    np.testing.assert_allclose(solution.value, -np.array(distance), atol=1e-12)
    np.testing.assert_allclose(kernel.state_value(grid, kernel.deterministic(action, 4)), solution.value, atol=1e-12)
    # The random policy's greedy policy is optimal already; changing nothing is the one improvement counted.
    assert solution.iterations == 1
    others = [value_iteration(grid), modified_policy_iteration(grid, 3), prioritized_sweeping(grid)]
    for other in [*others, value_iteration(grid, order=jnp.arange(16))]:
        np.testing.assert_array_equal(other.value, -np.array(distance))
        assert other.residual == 0
    assert others[0].iterations == 4  # the longest way and one sweep that changes nothing
