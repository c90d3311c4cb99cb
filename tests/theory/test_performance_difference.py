"""The performance difference lemma."""

import numpy as np
import pytest

from purerl.kernels.returns import td_errors
from tests.oracles import mdp as oracle


@pytest.mark.covers("pdl")
def test_performance_difference_lemma():
    """J(new) - J(old) = E_{d_new, new}[A_old] / (1-g), by linear solves on 300 random processes."""
    for seed in range(300):
        mdp = oracle.random_mdp(seed, gamma=0.5 + 0.49 * (seed % 10) / 9)
        old, new = (oracle.softmax(oracle.random_logits(seed + k, mdp, scale=2.0)) for k in (1, 2))
        advantage = oracle.values(mdp, old).advantage
        occupancy = oracle.visitation(mdp, new)[:, None] * new
        difference = oracle.objective(mdp, new) - oracle.objective(mdp, old)
        np.testing.assert_allclose((occupancy * advantage).sum() / (1 - mdp.gamma), difference, atol=1e-9)


@pytest.mark.covers("pdl")
def test_lemma_as_a_telescoping_sum_of_td_errors(x64):
    """Over all trajectories of the new policy, E[sum_t g^t delta_t] with the old V is J(new) - J(old)."""
    horizon = 3
    for seed in range(3):
        mdp = oracle.random_mdp(seed, num_states=3, num_actions=2)
        old, new = (oracle.softmax(oracle.random_logits(seed + k, mdp)) for k in (1, 2))
        value, paths = oracle.finite_values(mdp, old, horizon).state, oracle.trajectories(mdp, new, horizon)
        step = np.arange(horizon)[:, None]
        terminated = np.broadcast_to(step == horizon - 1, paths.reward.shape)
        before, after = value[step, paths.state[:-1]], value[step + 1, paths.state[1:]]
        delta = np.asarray(td_errors(paths.reward, before, after, terminated, mdp.gamma))
        expected = paths.probability @ (mdp.gamma**step * delta).sum(0)
        difference = oracle.finite_objective(mdp, new, horizon) - oracle.finite_objective(mdp, old, horizon)
        np.testing.assert_allclose(expected, difference, atol=1e-12)
