"""The bandit algorithm around its agents: seeds, sweeps, metrics, acting, what is refused."""

import jax
import numpy as np
import pytest

from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from purerl.algorithms.bandits.exp3 import exp3
from purerl.algorithms.bandits.kl_ucb import kl_ucb
from purerl.algorithms.bandits.thompson import bernoulli_thompson
from purerl.algorithms.bandits.ucb1 import ucb1
from purerl.envs import bandits as problems
from purerl.spaces import Box
from tests.support.bandit_games import KEY, oblivious


def test_every_seed_has_its_own_game_whatever_the_agent():
    """Three seeds of two exploration rates: each seed's game is the same at both, and no two seeds share one."""
    algorithm = bandit(problems.gaussian(4), epsilon_greedy, BanditConfig(num_steps=10))
    keys = jax.random.split(KEY, 3)
    low, high = (
        jax.vmap(lambda key, e=epsilon: algorithm.init(EpsilonGreedyHypers(epsilon=e), key))(keys)
        for epsilon in (0.0, 1.0)
    )
    theta = np.asarray(low.problem.theta)
    assert theta.shape == (3, 4, 1)
    np.testing.assert_array_equal(theta, high.problem.theta)
    assert len(np.unique(theta)) == 12


def test_update_reports_regret_and_the_agent_is_greedy():
    """The metrics of ten pulls are finite means; the deployed agent pulls the arm of the highest estimate."""
    algorithm = bandit(problems.gaussian(4), epsilon_greedy, BanditConfig(num_steps=10))
    hypers = EpsilonGreedyHypers(epsilon=0.5)
    state, metrics = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)
    assert set(metrics) == {"reward", "regret", "optimal"}
    assert all(np.isfinite(value) for value in metrics.values())
    _, action = algorithm.agent(hypers, state).act((), state.obs, KEY)
    assert action == np.argmax(state.statistics.value)


@pytest.mark.parametrize("agent", [bernoulli_thompson, kl_ucb, exp3], ids=["thompson", "kl-ucb", "exp3"])
def test_rewards_out_of_an_agents_range_count_as_its_nearer_end_and_are_reported(agent):
    """Rewards 3 and -1 teach what 1 and 0 do, to the bit, and all of them are told of."""

    def played(rewards):
        algorithm = bandit(oblivious(np.tile(rewards, (8, 1))), agent, BanditConfig(num_steps=8))
        hypers = agent.hypers_class()
        return jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)

    (inside, told), (outside, warned) = played([1.0, 0.0]), played([3.0, -1.0])
    jax.tree.map(np.testing.assert_array_equal, inside.statistics, outside.statistics)
    assert (told["clipped_rewards"], warned["clipped_rewards"]) == (0.0, 1.0)
    assert told["reward"] <= 1 and abs(warned["reward"]) <= 3


def test_bandit_refuses_bad_settings():
    """No step, continuous arms: each named."""
    with pytest.raises(ValueError, match=r"BanditConfig\.num_steps = 0"):
        BanditConfig(num_steps=0)
    env = problems.gaussian()
    with pytest.raises(ValueError, match="arms are Discrete actions"):
        bandit(env._replace(action_space=Box(0.0, 1.0, (1,))), ucb1)
