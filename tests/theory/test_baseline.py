"""What a baseline does to the mean and to the variance of the policy gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.surrogates import policy_gradient
from tests.oracles import mdp as oracle
from tests.support.estimators import discounts, expected_gradient, log_policy, returns_to_go

T = 3

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.covers("baseline")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_state_baseline_keeps_the_mean_and_action_baseline_does_not(seed):
    """Subtracting any b(s), or a constant, leaves the expected gradient exact; b(s, a) moves it."""
    mdp = oracle.random_mdp(seed, num_states=3, num_actions=2, gamma=0.7)
    theta = oracle.random_logits(seed, mdp)
    paths = oracle.trajectories(mdp, oracle.softmax(theta), T)
    exact, to_go = oracle.finite_policy_gradient(mdp, theta, T), returns_to_go(paths, mdp.gamma)
    rng, states = np.random.default_rng(seed), paths.state[:-1]

    def gradient(baseline: np.ndarray) -> np.ndarray:
        return expected_gradient(theta, paths, discounts(mdp.gamma, T) * (to_go - baseline))

    for harmless in (np.full(to_go.shape, 5.0), rng.normal(size=3)[states]):
        np.testing.assert_allclose(gradient(harmless), exact, atol=1e-12)
    harmful = rng.normal(size=(3, 2))[states, paths.action]
    assert np.abs(gradient(harmful) - exact).max() > 0.05


def arm_gradients(logits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``score[a] * weight[a]`` for every arm by differentiating the objective, ``[A] -> [A, A]``."""

    def objective(logits: jax.Array) -> jax.Array:
        return policy_gradient(log_policy(logits[None])[0], jnp.asarray(weight))

    return np.asarray(jax.jacobian(objective)(jnp.asarray(logits)))


def variance(probability: np.ndarray, estimate: np.ndarray) -> float:
    """``E[norm(g)^2] - norm(E[g])^2`` of vectors ``estimate [K, ...]``."""
    flat = estimate.reshape(len(probability), -1)
    return float(probability @ (flat**2).sum(-1) - ((probability @ flat) ** 2).sum())


@pytest.mark.covers("baseline")
def test_value_baseline_can_be_worse_than_none():
    """Two arms, p = 0.9, returns (1, 0): variance 0.0576 for b = V, 0.0009 for b = 0 and 0 for b* = 0.1."""
    logits, returns = np.log(np.array([9.0, 1.0])), np.array([1.0, 0.0])
    policy = oracle.softmax(logits)

    def one_parameter(baseline: float) -> np.ndarray:
        return arm_gradients(logits, returns - baseline)[:, 0]  # the other logit is held fixed

    for baseline, expected in [(policy @ returns, 0.0576), (0.0, 0.0009), (0.1, 0.0)]:
        estimate = one_parameter(baseline)
        np.testing.assert_allclose(policy @ estimate, 0.09, atol=1e-12)
        np.testing.assert_allclose(variance(policy, estimate), expected, atol=1e-12)


@pytest.mark.covers("baseline")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_optimal_baseline(seed):
    """b* = E[norm(score)^2 G]/E[norm(score)^2] is best: b adds variance (b-b*)^2 E[norm(score)^2]."""
    rng = np.random.default_rng(seed)
    logits, returns = rng.normal(size=4), rng.normal(size=4)
    policy = oracle.softmax(logits)
    square = (arm_gradients(logits, np.ones(4)) ** 2).sum(-1)
    best = policy @ (square * returns) / (policy @ square)
    least = variance(policy, arm_gradients(logits, returns - best))
    for other in (policy @ returns, 0.0, best - 0.1, best + 0.1):
        estimate = arm_gradients(logits, returns - other)
        excess = (other - best) ** 2 * (policy @ square)
        np.testing.assert_allclose(variance(policy, estimate), least + excess, atol=1e-12)


@pytest.mark.covers("baseline")
@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_batch_mean_baseline_shrinks_the_gradient(num_samples):
    """Over all batches of N draws, a batch-mean baseline scales the expected gradient by exactly (N-1)/N."""
    rng = np.random.default_rng(0)
    logits, returns = rng.normal(size=3), rng.normal(size=3)
    policy, score = oracle.softmax(logits), arm_gradients(logits, np.ones(3))
    exact = policy @ (score * returns[:, None])
    expected = np.zeros((2, 3))
    for batch in map(list, itertools.product(range(3), repeat=num_samples)):
        reward = returns[batch]
        others = (reward.sum() - reward) / (num_samples - 1)
        for row, baseline in enumerate((reward.mean(), others)):
            estimate = (score[batch] * (reward - baseline)[:, None]).mean(0)
            expected[row] += policy[batch].prod() * estimate
    shrunk, leave_one_out = expected
    np.testing.assert_allclose(shrunk, (num_samples - 1) / num_samples * exact, atol=1e-12)
    np.testing.assert_allclose(leave_one_out, exact, atol=1e-12)
