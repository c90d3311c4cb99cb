"""The bandit algorithm around its agents: seeds, sweeps, metrics, acting, what is refused."""

import jax
import numpy as np
import pytest

import purerl
from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from purerl.algorithms.bandits.ucb1 import ucb1
from purerl.driver.hypers.sweep import grid
from purerl.envs import bandits as problems
from purerl.spaces import Box
from tests.support.bandit_games import KEY


def test_the_driver_runs_and_sweeps_bandits():
    """Three seeds of two exploration rates: each seed's game is the same at both, metrics are finite, act is greedy."""
    algorithm = bandit(problems.gaussian(4), epsilon_greedy, BanditConfig(num_steps=10))
    sweep = grid(EpsilonGreedyHypers(), epsilon=[0.0, 1.0])
    result = purerl.train(algorithm, sweep, KEY, num_env_steps=200, num_seeds=3, progress=False)
    theta = np.asarray(result.states.problem.theta)
    assert theta.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(theta[0], theta[1])
    assert len(np.unique(theta[0])) == 12
    assert set(result.metrics) == {"reward", "regret", "optimal"}
    assert all(np.all(np.isfinite(values)) for values in result.metrics.values())
    state = jax.tree.map(lambda x: x[0, 0], result.states)
    _, action = algorithm.agent(EpsilonGreedyHypers(), state).act((), state.obs, KEY)
    assert action == np.argmax(state.statistics.value)


def test_bandit_refuses_bad_settings():
    """No step, continuous arms: each named."""
    with pytest.raises(ValueError, match=r"BanditConfig\.num_steps = 0"):
        BanditConfig(num_steps=0)
    env = problems.gaussian()
    with pytest.raises(ValueError, match="arms are Discrete actions"):
        bandit(env._replace(action_space=Box(0.0, 1.0, (1,))), ucb1)
