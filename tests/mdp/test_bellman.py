"""Bellman operators and exact values against the oracle, enumeration and textbook tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from tests.oracles import mdp as oracle
from tests.support.processes import GAMMA, corners, random_pair, risky


@pytest.mark.covers("mrp")
def test_reward_process_by_one_solve(x64):
    """P_pi, r_pi and V against the oracle; the solve is the limit of sweeps; V = Q averaged over the policy."""
    theirs, ours, policy = random_pair()
    mrp = kernel.induced(ours, policy)
    np.testing.assert_allclose(mrp.transition, oracle.state_transition(theirs, policy), rtol=1e-12)
    np.testing.assert_allclose(mrp.reward, (policy * theirs.reward).sum(-1), rtol=1e-12)
    value = kernel.solve(mrp)
    np.testing.assert_allclose(value, oracle.values(theirs, policy).state, rtol=1e-10)
    np.testing.assert_allclose(kernel.backup(mrp, value), value, rtol=1e-10)
    swept = jax.lax.fori_loop(0, 400, lambda _, v: kernel.backup(mrp, v), jnp.zeros(4))
    np.testing.assert_allclose(swept, value, rtol=1e-10)


@pytest.mark.covers("mrp")
def test_gridworld_under_the_random_policy(x64):
    """The 4x4 gridworld without discount: the table of Sutton & Barto, figure 4.1, to 1e-9."""
    value = kernel.state_value(corners(), np.full((16, 4), 0.25)).reshape(4, 4)
    want = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(value, want, atol=1e-9)


@pytest.mark.covers("mdp3")
def test_one_risky_and_one_idle_action(x64):
    """V = p q / (1 - g (1 - p)) and its slope in p, q being the risk's mean; V* = max(0, q) flips with its sign."""
    for high, low in [(1.0, -1.0), (1.0, -4.0)]:
        q = 0.7 * high + 0.3 * low
        mdp = risky(high, low, GAMMA)

        def value(p, mdp=mdp):
            return kernel.state_value(mdp, jnp.stack([jnp.array([p, 1 - p])] * 3))[0]

        for p in [0.2, 0.9]:
            kept = 1 - GAMMA * (1 - p)
            np.testing.assert_allclose(value(p), p * q / kept, rtol=1e-12)
            np.testing.assert_allclose(jax.grad(value)(p), q * (1 - GAMMA) / kept**2, rtol=1e-10)
        best = jax.lax.fori_loop(0, 300, lambda _, v, mdp=mdp: kernel.optimality_backup(mdp, v), jnp.zeros(3))
        np.testing.assert_allclose(best, [max(0, q), 0, 0], atol=1e-12)
        np.testing.assert_array_equal(kernel.greedy(kernel.lookahead(mdp, best))[0], [q > 0, q < 0])


@pytest.mark.covers("mdp")
def test_objective_as_a_mean_over_starts_and_over_trajectories(x64):
    """J = start . V equals the mean return of all trajectories up to the tail g^T Rmax / (1 - g)."""
    theirs, ours, policy = random_pair()
    j = kernel.start_value(ours, kernel.state_value(ours, policy))
    np.testing.assert_allclose(j, oracle.objective(theirs, policy), rtol=1e-10)
    every = oracle.trajectories(theirs, policy, 4)
    truncated = every.probability @ (GAMMA ** np.arange(4) @ every.reward)
    assert abs(j - truncated) <= GAMMA**4 * np.abs(theirs.reward).max() / (1 - GAMMA)


@pytest.mark.covers("bellman")
def test_values_are_the_fixed_points_and_determine_each_other(x64):
    """V, Q and A of the oracle: residual 0 of every operator, Q = R + g P V, V = sum pi Q, sum pi A = 0 (the plain sum
    of advantages is not 0)."""
    theirs, ours, policy = random_pair()
    want = oracle.values(theirs, policy)
    np.testing.assert_allclose(kernel.lookahead(ours, want.state), want.action, rtol=1e-10)
    np.testing.assert_allclose(kernel.average(policy, want.action), want.state, rtol=1e-10)
    np.testing.assert_allclose(kernel.advantage(policy, want.action), want.advantage, atol=1e-10)
    np.testing.assert_allclose(kernel.average(policy, kernel.advantage(policy, want.action)), 0, atol=1e-10)
    assert np.abs(want.advantage.sum(-1)).max() > 0.1
    np.testing.assert_allclose(kernel.expectation_backup(ours, policy, want.state), want.state, rtol=1e-10)
    np.testing.assert_allclose(kernel.expectation_backup_q(ours, policy, want.action), want.action, rtol=1e-10)

    best = oracle.brute_force(theirs)
    best_q = kernel.lookahead(ours, best)
    np.testing.assert_allclose(kernel.optimality_backup(ours, best), best, rtol=1e-10)
    np.testing.assert_allclose(kernel.optimality_backup_q(ours, best_q), best_q, rtol=1e-10)
    np.testing.assert_allclose(best_q.max(-1), best, rtol=1e-10)
    assert (best >= want.state - 1e-12).all()
    np.testing.assert_allclose(kernel.state_value(ours, kernel.greedy(best_q)), best, rtol=1e-10)


@pytest.mark.covers("bellman")
def test_operators_are_monotone_contractions(x64):
    """On 256 random pairs no operator expands the sup norm by more than gamma, which a constant shift attains, and
    each keeps an order between values."""
    _, ours, policy = random_pair()
    operators = {
        "policy, V": (lambda x: kernel.expectation_backup(ours, policy, x), (4,)),
        "policy, Q": (lambda x: kernel.expectation_backup_q(ours, policy, x), (4, 3)),
        "optimal, V": (lambda x: kernel.optimality_backup(ours, x), (4,)),
        "optimal, Q": (lambda x: kernel.optimality_backup_q(ours, x), (4, 3)),
    }
    rng = np.random.default_rng(0)
    for name, (operator, shape) in operators.items():
        x, y = rng.normal(size=(2, 256, *shape))
        axes = tuple(range(1, x.ndim))
        apply = jax.vmap(operator)
        before, after = (np.abs(gap).max(axes) for gap in (x - y, np.asarray(apply(x) - apply(y))))
        assert (after <= GAMMA * before + 1e-12).all(), name
        np.testing.assert_allclose(apply(x + 2.0), apply(x) + GAMMA * 2.0, rtol=1e-9, err_msg=name)
        assert (apply(x + np.abs(y)) >= apply(x)).all(), name


def test_greedy_policies():
    """The first of the best, or the best evenly; near ties count within the tolerance."""
    q = jnp.array([[1.0, 3.0, 3.0], [2.0, 1.95, 0.0]])
    np.testing.assert_array_equal(kernel.greedy(q), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(kernel.greedy(q, "split"), [[0, 0.5, 0.5], [1, 0, 0]])
    np.testing.assert_array_equal(kernel.greedy(q, "split", 0.1), [[0, 0.5, 0.5], [0.5, 0.5, 0]])
