"""Chances of success within several attempts, against binomial coefficients, enumeration and simulation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.attempts import pass_at_k, success_within


@pytest.fixture
def double(x64):
    """Double precision."""


@pytest.mark.covers("pass-at-k")
def test_pass_at_k_is_one_minus_a_ratio_of_binomials(double):
    """Every n up to 12, every c and k, against exact integers; NaN where there are fewer than k attempts."""
    n, c = np.meshgrid(np.arange(1, 13), np.arange(13), indexing="ij")
    estimate = jax.jit(pass_at_k, static_argnums=2)
    for k in range(1, 13):
        expected = [
            [1 - math.comb(i - j, k) / math.comb(i, k) if k <= i else np.nan for j in range(i + 1)] for i in n[:, 0]
        ]
        found = np.asarray(estimate(jnp.asarray(c), jnp.asarray(n), k))
        for row, exact in zip(found, expected, strict=True):
            np.testing.assert_allclose(row[: len(exact)], exact, atol=1e-14)


@pytest.mark.covers("pass-at-k")
@pytest.mark.parametrize("p", [0.0, 0.05, 0.4, 1.0])
def test_pass_at_k_has_no_bias_and_the_plug_in_has(double, p):
    """Its mean over the binomial distribution of c is 1 - (1-p)^k by enumeration; that of 1 - (1 - c/n)^k is lower."""
    n, k = 10, 4
    c = np.arange(n + 1)
    probability = np.array([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
    np.testing.assert_allclose(probability @ np.asarray(pass_at_k(jnp.asarray(c), n, k)), 1 - (1 - p) ** k, atol=1e-14)
    plug_in = probability @ np.asarray(success_within(c / n, k))
    assert plug_in < 1 - (1 - p) ** k - 1e-3 or p in (0.0, 1.0)


@pytest.mark.covers("pass-at-k")
def test_pass_at_k_is_stable_where_binomials_overflow():
    """n = 10,000 in single precision: one success gives k/n, none 0, n - k + 1 exactly 1; batched, n may vary."""
    n, k = 10_000, 100
    found = pass_at_k(jnp.array([0, 1, n - k + 1, n]), n, k)
    np.testing.assert_allclose(found, [0, k / n, 1, 1], rtol=1e-6)
    assert found[0] == 0 and found[2] == 1
    found = pass_at_k(jnp.array([1, 1, 1]), jnp.array([4, 8, 1]), 2)
    np.testing.assert_allclose(found, [0.5, 0.25, np.nan], rtol=1e-6)


@pytest.mark.covers("pass-at-k")
def test_number_of_attempts_until_the_first_success():
    """Simulated waits: the share within n is 1 - (1-p)^n and the mean 1/p, both within four standard errors."""
    p, number = 0.2, 100_000
    waits = np.asarray(jax.random.geometric(jax.random.key(0), p, (number,)))
    for n in (1, 4, 15):
        expected = float(success_within(p, n))
        assert abs(np.mean(waits <= n) - expected) < 4 * math.sqrt(expected * (1 - expected) / number)
    assert abs(waits.mean() - 1 / p) < 4 * math.sqrt((1 - p) / p**2 / number)


@pytest.mark.covers("pass-at-k")
def test_success_within_is_exact_for_tiny_and_certain_chances():
    """A chance of 1e-9 is not lost in 1 - p; p = 1 succeeds at once, p = 0 and n = 0 never; more attempts help."""
    np.testing.assert_allclose(success_within(1e-9, 1000), 1e-6, rtol=1e-5)
    np.testing.assert_array_equal(
        success_within(jnp.array([0.0, 1.0, 1.0, 0.3]), jnp.array([9, 1, 0, 0])), [0, 1, 0, 0]
    )
    assert np.all(np.diff(success_within(0.3, jnp.arange(10))) > 0)


def test_impossible_numbers_are_refused():
    """k below 1, and k above n."""
    with pytest.raises(ValueError, match="k = 0 must be at least 1"):
        pass_at_k(jnp.array(1), 4, 0)
    with pytest.raises(ValueError, match="k = 5 exceeds the 4 attempts"):
        pass_at_k(jnp.array(1), 4, 5)
