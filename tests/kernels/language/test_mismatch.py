import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import mismatch, sequences
from purerl.kernels.surrogates import approximate_kl
from tests.support import tiny_language as tiny
from tests.support.tiny_language import SEQUENCES, sequence_of, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
MASK = jnp.asarray(SEQUENCES.mask)


@pytest.mark.covers("ti-gap", "is")
def test_ratio_to_the_sampler_is_gap_times_staleness_and_corrects_text_exactly():
    """pi/mu = (old/mu)(pi/old), and E_mu[(old/mu) rho f] = E_pi[f] for sequences; uncorrected it is not."""
    s, mu = setting(), setting(1).policy  # the generating engine, far from the old policy on purpose
    log_gap = sequence_of(s.old) - sequence_of(mu)
    rho = jnp.exp(sequence_of(s.policy) - sequence_of(s.old))
    weight = mismatch.truncated_weight(log_gap, jnp.inf)
    np.testing.assert_allclose(weight * rho, jnp.exp(sequence_of(s.policy) - sequence_of(mu)), rtol=1e-12)
    truth = tiny.expectation(s.policy, s.reward)
    np.testing.assert_allclose(tiny.expectation(mu, weight * rho * s.reward), truth, atol=1e-12)
    assert abs(tiny.expectation(mu, rho * s.reward) - truth) > 0.01


@pytest.mark.covers("ti-gap")
def test_truncated_weights_are_bounded_and_exact_where_the_bound_is_not_met():
    """min(w, 2) against NumPy, also where w overflows; a bound above all weights changes nothing; mean at most 1."""
    s = setting()
    log_gap = sequence_of(s.old) - sequence_of(s.policy)
    weight = np.exp(log_gap)
    np.testing.assert_allclose(mismatch.truncated_weight(log_gap, 2.0), np.minimum(weight, 2), rtol=1e-14)
    np.testing.assert_allclose(mismatch.truncated_weight(log_gap, weight.max() + 1), weight, rtol=1e-14)
    assert tiny.expectation(s.policy, mismatch.truncated_weight(log_gap, 2.0)) < 1
    np.testing.assert_allclose(mismatch.truncated_weight(jnp.array([-1e5, 1e5], jnp.float32), 2.0), [0, 2], rtol=1e-6)


@pytest.mark.covers("ti-gap")
def test_masked_weights_keep_the_mean_of_what_they_keep():
    """E_mu[w 1[inside] f] = E_old[f 1[inside]], exactly; outside either end the weight is 0, and no low end is 0."""
    s = setting()
    log_gap = sequence_of(s.old) - sequence_of(s.policy)
    weight = np.exp(log_gap)
    kept = mismatch.masked_weight(log_gap, 0.5, 2.0)
    inside = (weight >= 0.5) & (weight <= 2)
    assert 0 < np.sum(inside) < len(inside)
    np.testing.assert_array_equal(kept > 0, inside)
    expected = tiny.expectation(s.old, s.reward * inside)
    np.testing.assert_allclose(tiny.expectation(s.policy, kept * s.reward), expected, atol=1e-13)
    np.testing.assert_allclose(mismatch.masked_weight(log_gap, 0.0, 2.0), np.where(weight <= 2, weight, 0), rtol=1e-14)
    np.testing.assert_array_equal(mismatch.masked_weight(jnp.array([-1e5, 0, 1e5], jnp.float32), 0.5, 2.0), [0, 1, 0])


@pytest.mark.covers("ti-gap")
def test_weights_carry_no_gradient():
    """They are constants, even if the log-probabilities of the training engine are differentiated."""
    for weight in (lambda x: mismatch.truncated_weight(x, 2.0), lambda x: mismatch.masked_weight(x, 0.5, 2.0)):
        np.testing.assert_array_equal(jax.grad(lambda x, f=weight: jnp.sum(f(x)))(jnp.array([-3.0, 0.1, 3.0, 1e5])), 0)


@pytest.mark.covers("ti-gap", "k3")
def test_gap_measured_on_the_text_is_the_divergence_of_the_engines():
    """Mean of w - 1 - log w over tokens of mu, summed: KL(mu ; old); 0 where both agree."""
    s = setting()
    log_gap = tokens_of(s.old) - tokens_of(s.policy)
    measured = tiny.expectation(s.policy, sequences.total(approximate_kl(log_gap), MASK))
    np.testing.assert_allclose(measured, tiny.divergence(s.policy, s.old), rtol=1e-12)


@pytest.mark.covers("v32-mask")
def test_only_bad_sequences_that_the_policy_left_are_masked():
    """A < 0 and mean log(mu/pi) > delta, against a loop; none with A >= 0 or delta infinite; padding is not read."""
    s = setting()
    log_ratio = tokens_of(s.policy) - tokens_of(s.old)
    moved = -np.sum(log_ratio * MASK, axis=0) / np.sum(MASK, axis=0)
    expected = [not (a < 0 and m > 0.1) for a, m in zip(s.reward, moved, strict=True)]
    poisoned = jnp.where(MASK, log_ratio, jnp.nan)
    np.testing.assert_array_equal(mismatch.on_policy_enough(poisoned, MASK, s.reward, 0.1), expected)
    assert not all(expected)
    for harmless in (jnp.abs(s.reward), 0 * s.reward):
        assert np.all(mismatch.on_policy_enough(log_ratio, MASK, harmless, 0.0))
    assert np.all(mismatch.on_policy_enough(log_ratio, MASK, s.reward, jnp.inf))
    with pytest.raises(AssertionError):
        mismatch.on_policy_enough(log_ratio, MASK, s.reward[:1], 0.1)
