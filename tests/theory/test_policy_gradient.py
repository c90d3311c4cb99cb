"""The policy gradient theorem by enumeration of every trajectory of small decision processes."""

import numpy as np
import pytest

from purerl.kernels.returns import td_errors
from tests.oracles import mdp as oracle
from tests.support.estimators import discounts, expected_gradient, returns_to_go

T = 3
SEEDS = [0, 1, 2]

pytestmark = pytest.mark.usefixtures("x64")


def problem(seed: int, gamma: float = 0.7):
    """A random process of 3 states and 2 actions, the logits of a policy, and all its trajectories."""
    mdp = oracle.random_mdp(seed, num_states=3, num_actions=2, gamma=gamma)
    theta = oracle.random_logits(seed, mdp)
    return mdp, theta, oracle.trajectories(mdp, oracle.softmax(theta), T)


@pytest.mark.covers("pg")
@pytest.mark.parametrize("seed", SEEDS)
def test_policy_gradient_with_full_returns(seed):
    """E[(sum_t score_t) R(tau)] over all trajectories equals the exact gradient and differences of J."""
    mdp, theta, paths = problem(seed)
    full_return = np.broadcast_to(returns_to_go(paths, mdp.gamma)[0], paths.reward.shape)
    gradient = expected_gradient(theta, paths, full_return)
    np.testing.assert_allclose(gradient, oracle.finite_policy_gradient(mdp, theta, T), atol=1e-12)
    difference = oracle.finite_difference(lambda x: oracle.finite_objective(mdp, oracle.softmax(x), T), theta)
    np.testing.assert_allclose(gradient, difference, atol=1e-8)


@pytest.mark.covers("pg", "rtg")
@pytest.mark.parametrize("seed", SEEDS)
def test_reward_to_go_needs_the_discount_of_its_time(seed):
    """E[sum_t g^t score_t G_t] is exact; without g^t there is a gap for g = 0.7, and none for g = 1."""
    mdp, theta, paths = problem(seed)
    exact, to_go = oracle.finite_policy_gradient(mdp, theta, T), returns_to_go(paths, mdp.gamma)
    discounted = expected_gradient(theta, paths, discounts(mdp.gamma, T) * to_go)
    np.testing.assert_allclose(discounted, exact, atol=1e-12)
    gap = np.linalg.norm(expected_gradient(theta, paths, to_go) - exact)
    assert gap > 0.02 * np.linalg.norm(exact)

    mdp, theta, paths = problem(seed, gamma=1.0)
    undiscounted = expected_gradient(theta, paths, returns_to_go(paths, 1.0))
    np.testing.assert_allclose(undiscounted, oracle.finite_policy_gradient(mdp, theta, T), atol=1e-12)


@pytest.mark.covers("rtg")
def test_past_rewards_drop_out_of_the_policy_gradient():
    """Each cross term E[score_t r_k] is zero for a past reward (k < t), and not for k >= t."""
    _, theta, paths = problem(0)
    for t in range(T):
        for k in range(T):
            weight = np.zeros_like(paths.reward)
            weight[t] = paths.reward[k]
            size = np.abs(expected_gradient(theta, paths, weight)).max()
            assert size < 1e-12 if k < t else size > 1e-4


@pytest.mark.covers("pg", "adv-est")
@pytest.mark.parametrize("weight_name", ["action value", "advantage", "TD error"])
def test_policy_gradient_with_q_values_advantages_or_td_errors(weight_name):
    """g^t times Q, A or the TD error of the true values all give the exact gradient."""
    mdp, theta, paths = problem(1)
    state, action, advantage = oracle.finite_values(mdp, oracle.softmax(theta), T)
    step, (before, after) = np.arange(T)[:, None], (paths.state[:-1], paths.state[1:])
    terminated = np.broadcast_to(step == T - 1, paths.reward.shape)
    weight = {
        "action value": action[step, before, paths.action],
        "advantage": advantage[step, before, paths.action],
        "TD error": np.asarray(
            td_errors(paths.reward, state[step, before], state[step + 1, after], terminated, mdp.gamma)
        ),
    }[weight_name]
    gradient = expected_gradient(theta, paths, discounts(mdp.gamma, T) * weight)
    np.testing.assert_allclose(gradient, oracle.finite_policy_gradient(mdp, theta, T), atol=1e-12)


@pytest.mark.covers("reinforce")
def test_variance_grows_with_the_horizon():
    """On a fixed process the exact variance of the REINFORCE estimate grows with the horizon (g = 1)."""
    mdp = oracle.random_mdp(0, num_states=2, num_actions=2, gamma=1.0)
    theta = oracle.random_logits(0, mdp)
    variance = []
    for horizon in range(1, 6):
        paths = oracle.trajectories(mdp, oracle.softmax(theta), horizon)
        score = oracle.score(theta)[paths.state[:-1], paths.action].sum(0)  # [K, S, A]
        estimate = score * paths.reward.sum(0)[:, None, None]
        mean = np.einsum("k,ksa->sa", paths.probability, estimate)
        variance.append(np.einsum("k,ksa->", paths.probability, (estimate - mean) ** 2))
    assert np.all(np.diff(variance) > 0)
