"""Epsilon-greedy: the policy by hand."""

import numpy as np
import pytest

from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from tests.support.bandit_games import learned, policy_of


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("eps-greedy")
def test_epsilon_decays_with_the_pulls():
    """At pull t the policy is 1 - eps_t + eps_t / A on the best arm, with eps_t = eps / t^e; e = 0 stays."""
    for decay, epsilon in ((0.0, 0.6), (1.0, 0.6 / 5), (0.5, 0.6 / np.sqrt(5))):
        hypers = EpsilonGreedyHypers(epsilon=0.6, epsilon_decay=decay)
        statistics = learned(epsilon_greedy, hypers, [0, 1, 2, 0], [1.0, 2.0, 0.0, 1.0])
        expected = np.full(3, epsilon / 3) + (1 - epsilon) * np.eye(3)[1]
        np.testing.assert_allclose(policy_of(epsilon_greedy, hypers, statistics), expected)
