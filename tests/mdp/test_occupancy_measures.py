"""Trajectory probabilities, state visitation and occupancy measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from tests.oracles import mdp as oracle
from tests.support.processes import GAMMA, random_pair, risky


@pytest.mark.covers("mdp")
def test_trajectory_probability(x64):
    """All trajectories of 3 steps: p(tau) equals the oracle's product and sums to 1, and d log p(tau) / d theta is the
    sum of scores, for the dynamics drop out."""
    theirs, ours, _ = random_pair()
    theta = oracle.random_logits(5, theirs)
    every = oracle.trajectories(theirs, oracle.softmax(theta), 3)

    def log_prob(theta, state, action):
        return kernel.trajectory_log_prob(ours, jax.nn.softmax(theta), state, action)

    both = jax.jit(jax.vmap(jax.value_and_grad(log_prob), in_axes=(None, 1, 1)))
    log_p, gradient = both(theta, every.state, every.action)
    np.testing.assert_allclose(np.exp(log_p), every.probability, rtol=1e-10)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-12)
    score = oracle.score(theta)[every.state[:-1], every.action].sum(0)
    np.testing.assert_allclose(gradient, score, atol=1e-12)
    impossible = kernel.trajectory_log_prob(
        risky(1, 0, GAMMA), jnp.full((3, 2), 0.5), jnp.array([0, 0]), jnp.array([0])
    )
    assert impossible == -jnp.inf


@pytest.mark.covers("occupancy")
def test_visitation_and_occupancy(x64):
    """d against the oracle's solve and the series (1 - g) sum g^t Pr(s_t); J = sum rho R / (1 - g); ends keep mass."""
    theirs, ours, policy = random_pair()
    d, rho = kernel.visitation(ours, policy), kernel.occupancy(ours, policy)
    np.testing.assert_allclose(d, oracle.visitation(theirs, policy), rtol=1e-10)
    state, series = theirs.start, 0
    for t in range(400):
        series += (1 - GAMMA) * GAMMA**t * state
        state = state @ oracle.state_transition(theirs, policy)
    np.testing.assert_allclose(d, series, rtol=1e-10)
    np.testing.assert_allclose(rho.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose((rho * theirs.reward).sum() / (1 - GAMMA), oracle.objective(theirs, policy), rtol=1e-10)
    ending = kernel.visitation(risky(1, 0, GAMMA), jnp.array([[1.0, 0.0]] * 3))
    np.testing.assert_allclose(ending, [1 - GAMMA, 0.7 * GAMMA, 0.3 * GAMMA], rtol=1e-12)


@pytest.mark.covers("occupancy")
def test_occupancy_and_policy_determine_each_other_where_states_are_visited(x64):
    """Round trip on full support, other policies have other occupancies; an unvisited state leaves its policy free."""
    theirs, ours, policy = random_pair()
    np.testing.assert_allclose(kernel.policy_from_occupancy(kernel.occupancy(ours, policy)), policy, rtol=1e-9)
    other = oracle.softmax(oracle.random_logits(9, theirs))
    assert np.abs(kernel.occupancy(ours, policy) - kernel.occupancy(ours, other)).max() > 0.01

    # State 2 is never entered, so what is done there changes nothing.
    transition = np.zeros((3, 2, 3))
    transition[:, 0, 0] = transition[:, 1, 1] = 1
    apart = kernel.make(transition, 0.0, gamma=GAMMA, start=[1, 0, 0])
    policy = np.array([[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]])
    rho, same = (kernel.occupancy(apart, p) for p in (policy, np.where([[0], [0], [1]], 0.5, policy)))
    np.testing.assert_array_equal(rho, same)
    np.testing.assert_allclose(kernel.policy_from_occupancy(rho), [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], rtol=1e-12)
