"""Sweeps of dynamic programming: contraction, order, tight bounds, terminal states, single precision."""

import itertools

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
    NUM_STATES,
    ORDER,
    as_oracle,
    corridor,
    random_mdps,
    random_policies,
)


@pytest.mark.covers("policy-eval", "bellman")
def test_error_shrinks_by_gamma_at_every_sweep(x64):
    """max |V_k - V| <= gamma^k max |V_0 - V| for every k, from a random start, for both kinds of sweep and both
    operators; so every start has the same limit."""
    mdps, policies = random_mdps(), random_policies()
    theirs, mdp, policy = as_oracle(mdps, 40), jax.tree.map(lambda x: x[40], mdps), policies[40]
    value = np.random.default_rng(2).normal(size=NUM_STATES) * 10

    @jax.jit
    @jax.vmap
    def after(k):
        return {
            (control, order is None): value_iteration(mdp, value=value, order=order, tolerance=0, max_sweeps=k).value
            if control
            else policy_evaluation(mdp, policy, value=value, order=order, tolerance=0, max_sweeps=k).value
            for control, order in itertools.product([True, False], [None, ORDER])
        }

    num_sweeps = 30
    limits = {True: oracle.brute_force(theirs), False: oracle.values(theirs, policy).state}
    for (control, _), values in after(jnp.arange(num_sweeps)).items():
        np.testing.assert_array_equal(values[0], value)
        error = np.abs(values - limits[control]).max(-1)
        assert (error <= theirs.gamma ** np.arange(num_sweeps) * error[0] + 1e-12).all()


@pytest.mark.covers("policy-eval", "value-iter")
def test_sweeps_in_place_follow_the_order(x64):
    """Two sweeps in a given order, of evaluation and of value iteration, equal plain loops that overwrite V."""
    mdps, policies = random_mdps(), random_policies()
    theirs, mdp, policy = as_oracle(mdps, 3), jax.tree.map(lambda x: x[3], mdps), policies[3]
    loops = np.zeros((2, NUM_STATES))
    for _, s in itertools.product(range(2), ORDER):
        for v, choose in zip(loops, (lambda q, s=s: policy[s] @ q, np.max), strict=True):
            v[s] = choose(theirs.reward[s] + theirs.gamma * theirs.transition[s] @ v)
    how = {"order": ORDER, "tolerance": 0, "max_sweeps": 2}
    np.testing.assert_allclose(policy_evaluation(mdp, policy, **how).value, loops[0], rtol=1e-12)
    np.testing.assert_allclose(value_iteration(mdp, **how).value, loops[1], rtol=1e-12)


@pytest.mark.covers("policy-eval", "value-iter")
def test_error_bound_is_tight(x64):
    """One state, reward 1: the error after any sweep is exactly gamma / (1 - gamma) times the last change."""
    forever = kernel.make(np.ones((1, 1, 1)), 1.0, gamma=0.95)
    for solution in (value_iteration(forever, tolerance=1e-3), policy_evaluation(forever, jnp.ones((1, 1)))):
        np.testing.assert_allclose(20 - solution.value[0], solution.bound, rtol=1e-8)
        np.testing.assert_allclose(solution.bound, 19 * solution.residual, rtol=1e-12)


def test_terminal_states_have_value_0_wherever_sweeps_begin():
    """Sweeps that begin with a value in a terminal state forget it, also without discount and in place."""
    mdp, begin = corridor(3, gamma=1.0), jnp.array([5.0, 5.0, 5.0, 7.0])
    for order in (None, jnp.arange(4)):
        for solution in (
            value_iteration(mdp, value=begin, order=order),
            policy_evaluation(mdp, jnp.ones((4, 1)), value=begin, order=order),
        ):
            np.testing.assert_array_equal(solution.value, [1, 1, 1, 0])


def test_single_precision_settles():
    """In float32 and with tolerance 0 every solver stops by itself, long before its limit, and agrees with the
    enumeration to 4 digits."""
    mdps = random_mdps()
    solvers = {
        "value iteration": lambda mdp: value_iteration(mdp, tolerance=0),
        "Gauss-Seidel": lambda mdp: value_iteration(mdp, order=ORDER, tolerance=0),
        "modified": lambda mdp: modified_policy_iteration(mdp, 20, tolerance=0),
        "prioritized": lambda mdp: prioritized_sweeping(mdp, tolerance=0),
        "policy iteration": lambda mdp: policy_iteration(mdp)[1],
    }
    solutions = jax.jit(jax.vmap(lambda mdp: {name: solve(mdp) for name, solve in solvers.items()}))(mdps)
    best = np.stack([oracle.brute_force(as_oracle(mdps, i)) for i in range(0, NUM_MDPS, 8)])
    for name, solution in solutions.items():
        assert solution.value.dtype == jnp.float32, name
        assert (solution.iterations < 20_000).all(), name
        allowed = np.asarray(solution.bound)[::8, None] + 1e-4 * np.abs(best)
        assert (np.abs(solution.value[::8] - best) <= allowed).all(), name


@pytest.mark.parametrize("tolerance", [np.nan, np.inf, -1.0])
def test_a_tolerance_by_which_nothing_could_settle_is_refused(tolerance):
    """By NaN everything would be settled at once, and values of 0 the answer."""
    mdp = jax.tree.map(lambda x: x[0], random_mdps())
    for solve in (value_iteration, prioritized_sweeping):
        with pytest.raises(ValueError, match=rf"tolerance = {tolerance}: it must be .*at least 0"):
            solve(mdp, tolerance=tolerance)
