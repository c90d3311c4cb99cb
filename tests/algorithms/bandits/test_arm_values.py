"""Sample means and constant steps of the arms."""

import numpy as np
import pytest

from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from tests.support.bandit_games import history, learned


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
@pytest.mark.parametrize("initial_value", [0.0, 5.0])
def test_sample_average_is_the_mean(initial_value):
    """After any sequence each arm's value is the NumPy mean of its rewards, whatever it was thought to be before."""
    actions, rewards = history(0)
    statistics = learned(epsilon_greedy, EpsilonGreedyHypers(initial_value=initial_value), actions, rewards, 4)
    means = [rewards[actions == arm].mean() for arm in range(3)]
    np.testing.assert_allclose(statistics.value, [*means, initial_value], atol=1e-12)  # the fourth is never pulled
    np.testing.assert_array_equal(statistics.count, [*np.bincount(actions), 0])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_constant_step_weighs_exponentially():
    """Q = (1-a)^N Q_1 + sum_i a (1-a)^(N-i) r_i, weights that sum to one."""
    step, initial = 0.3, 5.0
    _, rewards = history(1, 12)
    hypers = EpsilonGreedyHypers(step_size=step, step_decay=0.0, initial_value=initial)
    statistics = learned(epsilon_greedy, hypers, np.ones(12, int), rewards)
    weights = step * (1 - step) ** np.arange(11, -1, -1)
    assert weights.sum() + (1 - step) ** 12 == pytest.approx(1)
    np.testing.assert_allclose(statistics.value, [initial, (1 - step) ** 12 * initial + weights @ rewards, initial])
