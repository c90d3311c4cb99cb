"""Thompson sampling: posteriors in closed form, and how often an arm is pulled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.arm_values import ArmValues
from purerl.algorithms.bandits.thompson import (
    BernoulliThompsonHypers,
    GaussianThompsonHypers,
    bernoulli_posterior,
    bernoulli_thompson,
    gaussian_posterior,
    gaussian_thompson,
)
from tests.support.bandit_games import KEY, NO_OBS, history, learned


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_thompson_posteriors_in_closed_form():
    """Normal: precision-weighted mean of prior and data, by Bayes' rule on a grid; Bernoulli: Beta counts."""
    actions, rewards = history(2)
    hypers = GaussianThompsonHypers(prior_mean=1.0, prior_std=0.5, noise_std=2.0)
    statistics = learned(gaussian_thompson, hypers, actions, rewards)
    mean, std = gaussian_posterior(hypers, statistics)
    grid = np.linspace(-6, 8, 100_001)
    for arm in range(3):
        log_density = -0.5 * ((grid - 1) / 0.5) ** 2
        log_density = log_density - 0.5 * sum(((r - grid) / 2) ** 2 for r in rewards[actions == arm])
        weight = np.exp(log_density - log_density.max())
        weight /= weight.sum()
        assert mean[arm] == pytest.approx(weight @ grid, abs=1e-9)
        assert std[arm] == pytest.approx(np.sqrt(weight @ (grid - weight @ grid) ** 2), abs=1e-9)
    coins = BernoulliThompsonHypers(prior_successes=2.0, prior_failures=3.0)
    statistics = learned(bernoulli_thompson, coins, [0, 0, 1, 0], [1.0, 0.0, 1.0, 1.0])
    successes, failures = bernoulli_posterior(coins, statistics)
    np.testing.assert_allclose(successes, [4, 3, 2])
    np.testing.assert_allclose(failures, [4, 3, 3])


@pytest.mark.covers("bandit")
def test_thompson_pulls_an_arm_as_often_as_it_is_the_best():
    """20,000 samples of the policy: the share of arm 0 is P(X0 > X1) of two normals, within four standard errors."""
    statistics = ArmValues(value=jnp.array([0.6, 0.2]), count=jnp.array([3.0, 8.0]))
    hypers, keys = GaussianThompsonHypers(), jax.random.split(KEY, 20_000)
    mean, std = gaussian_posterior(hypers, statistics)
    policies = jax.vmap(lambda key: gaussian_thompson.policy(hypers, statistics, NO_OBS, key))(keys)
    better = float(jax.scipy.stats.norm.cdf((mean[0] - mean[1]) / jnp.sqrt(jnp.sum(std**2))))
    assert abs(policies[:, 0].mean() - better) < 4 * np.sqrt(better * (1 - better) / 20_000)
