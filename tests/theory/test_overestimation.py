"""Why the maximum of noisy estimates is too high, and by how much choosing with other estimates helps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from scipy.stats import norm

from purerl.kernels import targets

NUM_DRAWS = 100_000

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.covers("double-dqn")]


def within(estimates, expected, num_errors: float = 4.0) -> bool:
    """Whether the mean of ``estimates`` lies within some standard errors of ``expected``."""
    estimates = np.asarray(estimates)
    return abs(estimates.mean() - expected) < num_errors * estimates.std() / len(estimates) ** 0.5


def expected_maximum(means: np.ndarray) -> float:
    """``E[max_a (m_a + noise_a)]`` for standard normal noise."""
    return sum(integral(lambda x, a=a: x * first_density(means, a, x)) for a in range(len(means)))


def chosen(means: np.ndarray) -> np.ndarray:
    """``P(a = argmax)`` for standard normal noise, ``[A]``."""
    return np.array([integral(lambda x, a=a: first_density(means, a, x)) for a in range(len(means))])


def integral(density) -> float:
    """Over more than ten deviations to either side."""
    return scipy.integrate.quad(density, -12, 12)[0]


def first_density(means: np.ndarray, a: int, x: float) -> float:
    """Density of arm ``a`` showing x while all others show less."""
    return norm.pdf(x - means[a]) * np.prod(norm.cdf(x - np.delete(means, a)))


def test_maximum_of_equal_arms_is_the_order_statistic():
    """Five arms of value 0, unit noise: 1.163 by quadrature and on average; two independent tables: 0, as is true."""
    expected = expected_maximum(np.zeros(5))
    np.testing.assert_allclose(expected, 1.16296, atol=1e-5)
    first, second = jax.random.normal(jax.random.key(0), (2, NUM_DRAWS, 5))
    assert within(targets.max_value(first), expected)
    assert within(targets.double_value(second, first), 0.0)


@pytest.mark.parametrize("num_arms", [2, 4, 16])
def test_uniform_noise_adds_its_width_times_m_minus_1_over_m_plus_1(num_arms):
    """Equal arms, noise uniform in +-0.3: the excess is 0.3 (m - 1) / (m + 1), as of the largest of m uniforms."""
    noise = jax.random.uniform(jax.random.key(1), (NUM_DRAWS, num_arms), minval=-0.3, maxval=0.3)
    assert within(targets.max_value(7.0 + noise), 7.0 + 0.3 * (num_arms - 1) / (num_arms + 1))


def test_double_estimate_underestimates_where_max_overestimates():
    """Unequal arms: max is above the best arm; Double, the mean of the arm it chooses, below. By quadrature."""
    means = np.array([1.0, 0.5, 0.0])
    too_high, too_low = expected_maximum(means), chosen(means) @ means
    assert too_low < 1.0 < too_high
    first, second = means + jax.random.normal(jax.random.key(2), (2, NUM_DRAWS, 3))
    assert within(targets.max_value(first), too_high)
    assert within(targets.double_value(second, first), too_low)


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_bias_of_max_and_of_double_estimates_by_enumeration(noise):
    """All outcomes of noise +-1 or +-2 on equal arms: max is 1 + noise (1 - 2 / 2^A), Double exactly the true value."""
    tables = 1.0 + noise * jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=4)))
    np.testing.assert_allclose(targets.max_value(tables).mean(), 1.0 + noise * (1 - 2 / 2**4), rtol=1e-12)
    pairs = targets.double_value(
        jnp.broadcast_to(tables[:, None], (16, 16, 4)), jnp.broadcast_to(tables[None], (16, 16, 4))
    )
    np.testing.assert_allclose(pairs.mean(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_correlated_tables_keep_their_share_of_the_excess(correlation):
    """Online and target tables of correlation rho leave rho times the excess: Double DQN reduces it, and no more."""
    first, fresh = jax.random.normal(jax.random.key(3), (2, NUM_DRAWS, 5))
    second = correlation * first + (1 - correlation**2) ** 0.5 * fresh
    assert within(targets.double_value(second, first), correlation * expected_maximum(np.zeros(5)))


@pytest.mark.parametrize("num_arms", [2, 3, 10])
def test_lower_bound_of_the_overestimation(num_arms):
    """Equal arms, errors of sum 0 and mean square C: max is at least sqrt(C / (m - 1)), reached by one low arm."""
    errors = np.random.default_rng(0).normal(size=(1000, num_arms))
    errors -= errors.mean(-1, keepdims=True)

    def excess_over_bound(errors):
        bound = np.sqrt(np.square(errors).mean(-1) / (num_arms - 1))
        return np.asarray(targets.max_value(2.0 + jnp.asarray(errors))) - 2.0 - bound

    assert excess_over_bound(errors).min() > -1e-12
    one_low = np.ones((1, num_arms))
    one_low[0, 0] = 1 - num_arms
    np.testing.assert_allclose(excess_over_bound(one_low), 0.0, atol=1e-12)
