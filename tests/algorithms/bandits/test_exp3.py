"""EXP3: unbiased estimates, and its regret against an adversary."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from purerl.algorithms.bandits.exp3 import EXP3Hypers, RewardSums, exp3, exp3_policy
from tests.support.bandit_games import NO_OBS, mean_reward, oblivious, policy_of


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_exp3_estimates_every_arm_without_bias():
    """E[estimate] over all arms is the reward of each; by hand the policy after one pull; huge totals stay finite."""
    hypers = EXP3Hypers(exploration=0.3)
    statistics, rewards = RewardSums(total=jnp.array([1.0, 2.0, 0.0])), jnp.array([0.2, 0.9, 0.5])
    changes = [exp3.learn(hypers, statistics, NO_OBS, a, rewards[a]).total - statistics.total for a in range(3)]
    policy = policy_of(exp3, hypers, statistics)
    np.testing.assert_allclose(policy @ np.stack(changes), rewards, atol=1e-12)
    weights = np.exp(0.3 / 3 * np.array([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(policy, 0.7 * weights / weights.sum() + 0.1, atol=1e-12)
    assert np.all(np.isfinite(exp3_policy(jnp.array([1e6, 0.0]), 0.1)))


@pytest.mark.covers("bandit")
def test_exp3_keeps_up_with_the_best_arm_of_an_adversary():
    """An arm that pays early and one that pays late: with the theorem's gamma the regret of EXP3 is below the bound
    2 sqrt((e-1) G K ln K); that of the greedy agent, deceived by the beginning, exceeds twice that."""
    num_steps, num_arms = 2000, 2
    late = np.arange(num_steps) >= 500
    rewards = np.stack([~late, late], axis=1).astype(np.float64)
    best = rewards.sum(0).max()
    gamma = min(1.0, np.sqrt(num_arms * np.log(num_arms) / ((np.e - 1) * best)))
    bound = 2 * np.sqrt((np.e - 1) * best * num_arms * np.log(num_arms))
    env = oblivious(rewards)
    total = num_steps * mean_reward(env, exp3, EXP3Hypers(exploration=gamma), 200, num_steps)
    assert best - total.mean() + 4 * total.std() / np.sqrt(200) < bound
    deceived = num_steps * mean_reward(env, epsilon_greedy, EpsilonGreedyHypers(epsilon=0.0), 200, num_steps)
    assert best - deceived.mean() > 2 * bound
