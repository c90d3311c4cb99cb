"""Linear-quadratic problems: Riccati's solution against SciPy's, the soft one against sums over a grid."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from purerl.kernels import linear_quadratic as lq

pytestmark = pytest.mark.usefixtures("x64")


def problem(seed: int) -> lq.LinearQuadratic:
    """Three states, two actions."""
    draw = np.random.default_rng(seed)
    root, cost = draw.normal(size=(3, 3)), draw.normal(size=(2, 2))
    a, b = 0.6 * draw.normal(size=(3, 3)), draw.normal(size=(3, 2))
    return lq.LinearQuadratic(*map(jnp.asarray, (a, b, root @ root.T, cost @ cost.T + np.eye(2))))


@pytest.mark.covers("ddpg")
@pytest.mark.parametrize("seed", range(3))
def test_riccati_is_that_of_scipy(seed):
    """With a discount it is the undiscounted equation of ``sqrt(gamma) A`` and ``sqrt(gamma) B``."""
    one, gamma = problem(seed), 0.9
    found = lq.riccati(one, gamma)
    a, b, q, r = map(np.asarray, one)
    expected = scipy.linalg.solve_discrete_are(gamma**0.5 * a, gamma**0.5 * b, q, r)
    np.testing.assert_allclose(found.value, expected, rtol=1e-9)
    curvature = r + gamma * b.T @ expected @ b
    np.testing.assert_allclose(found.curvature, curvature, rtol=1e-9)
    np.testing.assert_allclose(found.gain, gamma * np.linalg.solve(curvature, b.T @ expected @ a), rtol=1e-8)


@pytest.mark.covers("ddpg")
def test_no_gain_beside_it_is_better():
    """The cost of a linear policy from a Lyapunov equation: every other gain costs more from every state tried."""
    one, gamma, draw = problem(0), 0.9, np.random.default_rng(1)
    a, b, q, r = map(np.asarray, one)
    best = lq.riccati(one, gamma)
    for _ in range(20):
        gain = np.asarray(best.gain) + 0.1 * draw.normal(size=(2, 3))
        after = gamma**0.5 * (a - b @ gain)
        cost = scipy.linalg.solve_discrete_lyapunov(after.T, q + gain.T @ r @ gain)
        assert np.linalg.eigvalsh(cost - np.asarray(best.value)).min() > -1e-9


@pytest.mark.covers("sac")
def test_soft_policy_is_the_softmax_of_values():
    """One action: mean and variance of ``exp(Q / alpha)`` on a fine grid; and the temperature at which that policy has
    a given entropy, there and back."""
    curvature, alpha, gain_x = jnp.array([[1.7]]), 0.3, -0.4
    grid = np.linspace(-8, 8, 40_001)
    weight = np.exp(-((grid - gain_x) ** 2) * 1.7 / alpha)
    weight /= weight.sum()
    mean = weight @ grid
    variance = weight @ (grid - mean) ** 2
    np.testing.assert_allclose(lq.soft_covariance(curvature, alpha), [[variance]], rtol=1e-9)
    np.testing.assert_allclose(mean, gain_x, rtol=1e-9)
    entropy = 0.5 * np.log(2 * np.pi * np.e * variance)
    np.testing.assert_allclose(lq.soft_temperature(curvature, entropy), alpha, rtol=1e-9)


@pytest.mark.covers("sac")
def test_soft_temperature_of_several_actions():
    """The entropy of ``N(0, alpha/2 M^-1)`` is the one asked for."""
    curvature = lq.riccati(problem(2), 0.9).curvature
    alpha = lq.soft_temperature(curvature, -1.3)
    covariance = np.asarray(lq.soft_covariance(curvature, alpha))
    np.testing.assert_allclose(0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance)), -1.3, rtol=1e-9)
