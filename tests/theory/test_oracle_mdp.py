"""The oracle itself: solves, enumeration and finite differences agree with each other."""

import numpy as np
import pytest

from tests.oracles import mdp as oracle

SEEDS = range(5)


@pytest.mark.covers("bellman", "mrp")
def test_values_satisfy_the_bellman_equation():
    """V by linear solve equals E_pi[Q] and the limit of backward induction; E_pi[A] = 0 in every state."""
    for seed in SEEDS:
        mdp = oracle.random_mdp(seed)
        policy = oracle.softmax(oracle.random_logits(seed, mdp))
        state, action, advantage = oracle.values(mdp, policy)
        np.testing.assert_allclose((policy * action).sum(-1), state, atol=1e-12)
        np.testing.assert_allclose((policy * advantage).sum(-1), 0, atol=1e-12)
        np.testing.assert_allclose(oracle.finite_values(mdp, policy, 400).state[0], state, atol=1e-10)


@pytest.mark.covers("occupancy")
def test_visitation_and_occupancy():
    """d sums to one and obeys its flow equation, J = sum d pi R / (1-g), and d pi gives the policy back."""
    for seed in SEEDS:
        mdp = oracle.random_mdp(seed)
        policy = oracle.softmax(oracle.random_logits(seed, mdp))
        d = oracle.visitation(mdp, policy)
        inflow = (1 - mdp.gamma) * mdp.start + mdp.gamma * d @ oracle.state_transition(mdp, policy)
        np.testing.assert_allclose([d.sum(), *d], [1.0, *inflow], atol=1e-12)
        occupancy = d[:, None] * policy
        earned = (occupancy * mdp.reward).sum() / (1 - mdp.gamma)
        np.testing.assert_allclose(earned, oracle.objective(mdp, policy), atol=1e-12)
        np.testing.assert_allclose(occupancy / occupancy.sum(-1, keepdims=True), policy, atol=1e-12)


@pytest.mark.covers("mdp")
def test_trajectory_probabilities():
    """All trajectories together have probability one, mean return J_T, and grad log p = sum_t score_t."""
    for seed in SEEDS:
        mdp = oracle.random_mdp(seed, num_states=3, num_actions=2)
        theta = oracle.random_logits(seed, mdp)
        paths = oracle.trajectories(mdp, oracle.softmax(theta), 3)
        np.testing.assert_allclose(paths.probability.sum(), 1, atol=1e-12)
        returns = (mdp.gamma ** np.arange(3)[:, None] * paths.reward).sum(0)
        expected = oracle.finite_objective(mdp, oracle.softmax(theta), 3)
        np.testing.assert_allclose(paths.probability @ returns, expected, atol=1e-12)

        def log_probability(theta, path=7, mdp=mdp):
            return np.log(oracle.trajectories(mdp, oracle.softmax(theta), 3).probability[path])

        total_score = oracle.score(theta)[paths.state[:-1, 7], paths.action[:, 7]].sum(0)
        np.testing.assert_allclose(oracle.finite_difference(log_probability, theta), total_score, atol=1e-8)


@pytest.mark.covers("pg")
def test_policy_gradient_theorem_against_finite_differences():
    """dJ/dtheta = d pi A / (1-g) and its finite-horizon form equal central differences of the exact J."""
    for seed in SEEDS:
        mdp = oracle.random_mdp(seed)
        theta = oracle.random_logits(seed, mdp)
        forms = [
            (lambda x, mdp=mdp: oracle.objective(mdp, oracle.softmax(x)), oracle.policy_gradient(mdp, theta)),
            (
                lambda x, mdp=mdp: oracle.finite_objective(mdp, oracle.softmax(x), 3),
                oracle.finite_policy_gradient(mdp, theta, 3),
            ),
        ]
        for function, gradient in forms:
            np.testing.assert_allclose(oracle.finite_difference(function, theta), gradient, atol=1e-8)
