"""The score function has zero mean under its own policy, whatever the policy class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import Gaussian, categorical, gaussian
from tests.oracles import mdp as oracle
from tests.support.estimators import log_policy

pytestmark = pytest.mark.usefixtures("x64")


def log_probs(logits: jax.Array) -> jax.Array:
    """``log pi[a]`` of every action of one state, ``[A]``."""
    return log_policy(logits[None])[0]


@pytest.mark.covers("pg", "softmax-policy")
def test_softmax_score():
    """Autodiff of log pi gives 1[a] - pi, whose expectation is zero; shifting all logits changes nothing."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=4))
    policy = oracle.softmax(np.asarray(logits))
    np.testing.assert_allclose(np.exp(log_probs(logits)), policy, atol=1e-12)
    np.testing.assert_allclose(log_probs(logits + 3.0), log_probs(logits), atol=1e-12)
    score = np.asarray(jax.jacobian(log_probs)(logits))
    np.testing.assert_allclose(score, np.eye(4) - policy, atol=1e-12)
    np.testing.assert_allclose(policy @ score, 0, atol=1e-12)


def gaussian_grid(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes ``[K, 2]`` and weights ``[K]``, exact for polynomials up to degree 15."""
    node, weight = np.polynomial.hermite_e.hermegauss(8)
    grid = np.stack(np.meshgrid(node, node, indexing="ij"), -1).reshape(-1, 2)
    weights = np.outer(weight, weight).ravel()
    return mean + std * grid, weights / weights.sum()


@pytest.mark.covers("pg", "gauss-policy", "entropy")
def test_gaussian_score_and_entropy():
    """By exact quadrature the score of mean and log-std has zero mean, and E[-log p] is the entropy."""
    mean, log_std = np.array([0.3, -1.2]), np.array([-0.5, 0.4])
    params = Gaussian(jnp.asarray(mean), jnp.asarray(log_std))
    action, weight = gaussian_grid(mean, np.exp(log_std))
    score = jax.vmap(jax.grad(gaussian.log_prob), (None, 0))(params, jnp.asarray(action))
    for part in score:
        np.testing.assert_allclose(weight @ np.asarray(part), 0, atol=1e-12)
    standard = (action - mean) / np.exp(log_std)
    np.testing.assert_allclose(score.mean, standard / np.exp(log_std), atol=1e-12)
    np.testing.assert_allclose(score.log_std, standard**2 - 1, atol=1e-12)
    log_prob = jax.vmap(gaussian.log_prob, (None, 0))(params, jnp.asarray(action))
    entropy = (0.5 * np.log(2 * np.pi * np.e) + log_std).sum()
    np.testing.assert_allclose(-weight @ np.asarray(log_prob), entropy, atol=1e-12)
    np.testing.assert_allclose(gaussian.entropy(params), entropy, atol=1e-12)


@pytest.mark.covers("entropy", "softmax-policy")
def test_entropy_gradient_needs_more_than_a_sampled_log_probability():
    """The mean gradient of -log pi(a) is zero; grad H is that of the closed form, E[-log pi(a) score]."""
    logits = jnp.asarray(np.random.default_rng(1).normal(size=4))
    policy = oracle.softmax(np.asarray(logits))

    score = np.asarray(jax.jacobian(log_probs)(logits))
    np.testing.assert_allclose(-policy @ score, 0, atol=1e-12)
    gradient = np.asarray(jax.grad(categorical.entropy)(logits))
    np.testing.assert_allclose(gradient, (policy * -np.log(policy)) @ score, atol=1e-12)

    def entropy(logits: np.ndarray) -> float:
        return -oracle.softmax(logits) @ np.log(oracle.softmax(logits))

    difference = oracle.finite_difference(entropy, np.array(logits))
    np.testing.assert_allclose(gradient, difference, atol=1e-8)
    assert np.abs(gradient).max() > 0.05
