import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import categorical
from purerl.kernels.language import truncation

pytestmark = pytest.mark.usefixtures("x64")


def logits(seed=0, shape=(5, 7)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.covers("v32-sampmask")
def test_top_k_keeps_k_tokens_also_when_they_are_equal():
    """Against sorting; equal logits keep the first k; k beyond the vocabulary keeps all; k below 1 is refused."""
    z = logits()
    for k in (1, 3, 7, 9):
        kept = truncation.top_k(z, k)
        expected = np.sort(z, axis=-1)[:, ::-1][:, [min(k, 7) - 1]]
        np.testing.assert_array_equal(kept, z >= expected)
    np.testing.assert_array_equal(truncation.top_k(jnp.zeros(4), 2), [True, True, False, False])
    with pytest.raises(ValueError, match="k=0"):
        truncation.top_k(z, 0)


@pytest.mark.covers("v32-sampmask")
def test_top_p_keeps_the_fewest_tokens_that_reach_p():
    """Against a loop over sorted probabilities; a tiny p keeps the best one, p = 1 all, in single precision as well."""
    z = logits()
    for p in (1e-6, 0.3, 0.8, 0.99, 1.0):
        for row, kept in zip(np.asarray(z), truncation.top_p(z, p), strict=True):
            probability = np.exp(row) / np.exp(row).sum()
            expected, mass = np.zeros(7, bool), 0.0
            for token in np.argsort(-row):
                expected[token] = True
                mass += probability[token]
                if mass >= p and p < 1:
                    break
            np.testing.assert_array_equal(kept, expected)
    wide = jnp.asarray(np.random.default_rng(0).normal(0, 8, (3, 5000)), jnp.float32)
    assert np.all(truncation.top_p(wide, 1.0))
    assert np.all(np.sum(truncation.top_p(wide, 1e-9), axis=-1) == 1)


@pytest.mark.covers("v32-sampmask", "ti-gap")
def test_log_probabilities_are_those_of_what_is_drawn():
    """Temperature and kept set against NumPy; what is not kept is impossible; with all kept it is log softmax."""
    z, kept = logits(), truncation.top_k(logits(), 3)
    for temperature in (0.5, 1.0, 2.0):
        weight = np.where(kept, np.exp(z / temperature), 0)
        probability = weight / weight.sum(-1, keepdims=True)
        actual = truncation.log_probs(z, temperature, kept)
        np.testing.assert_allclose(np.exp(actual), probability, atol=1e-14)
        whole = jax.nn.log_softmax(z / temperature)
        np.testing.assert_allclose(truncation.log_probs(z, temperature), whole)
        np.testing.assert_allclose(truncation.log_probs(z, temperature, jnp.ones_like(kept)), whole)
    draws = categorical.sample(actual, categorical.noise(jax.random.key(0), actual, (200,)))
    assert np.all(np.take_along_axis(np.broadcast_to(kept, (200, 5, 7)), np.asarray(draws)[..., None], -1))
    with pytest.raises(AssertionError):
        truncation.log_probs(z, 1.0, kept[:1])


@pytest.mark.covers("v32-sampmask")
@pytest.mark.parametrize("truncate", [lambda z: truncation.top_k(z, 3), lambda z: truncation.top_p(z, 0.8)])
def test_mean_ratio_is_1_with_the_kept_set_of_the_sampler_and_below_1_without(truncate):
    """Exactly, for a learner a step away from the sampler: E_sampler[pi / sampler] is 1 over the sampler's set, the
    set's mass over the whole vocabulary, and less than 1 over the learner's own set where that differs."""
    z, moved = logits(), logits() + 0.7 * logits(1)
    kept = truncate(z)
    sampler = truncation.log_probs(z, 0.7, kept)

    def mean_ratio(log_prob):
        return jnp.sum(jnp.where(kept, jnp.exp(sampler) * jnp.exp(log_prob - jnp.where(kept, sampler, 0)), 0), axis=-1)

    np.testing.assert_allclose(mean_ratio(truncation.log_probs(moved, 0.7, kept)), 1, rtol=1e-13)
    whole = mean_ratio(truncation.log_probs(moved, 0.7))
    np.testing.assert_allclose(whole, jnp.sum(jnp.where(kept, jax.nn.softmax(moved / 0.7), 0), axis=-1), rtol=1e-13)
    assert np.all(whole < 0.999)
    own = truncate(moved)
    differs = np.any(kept != own, axis=-1)
    assert np.any(differs)
    np.testing.assert_array_equal(mean_ratio(truncation.log_probs(moved, 0.7, own)) < 0.999, differs)


@pytest.mark.covers("v32-sampmask", "ti-gap")
def test_sampler_and_scorer_agree_with_all_options_crossed():
    """At equal weights the log-ratio of every token that can be drawn is 0; without the temperature or the kept set
    that were used it is not."""
    z = logits()
    for temperature in (0.6, 1.0, 1.5):
        for kept in (None, truncation.top_k(z, 3), truncation.top_p(z / temperature, 0.8)):
            drawn, possible = truncation.log_probs(z, temperature, kept), True if kept is None else kept

            def worst(scored, drawn=drawn, possible=possible):
                return np.max(np.abs(np.where(possible, scored - drawn, 0)))

            assert worst(truncation.log_probs(z, temperature, kept)) == 0
            assert (worst(truncation.log_probs(z, 1.0, kept)) > 0.01) == (temperature != 1)
            assert (worst(truncation.log_probs(z, temperature)) > 0.01) == (kept is not None)


@pytest.mark.covers("v32-sampmask")
def test_gradients_through_a_kept_set_are_finite_and_stay_inside():
    """Of a kept token's log-probability: 1[v] - p over the set, 0 outside, no NaN from the impossible ones."""
    z = logits()[0]
    kept = truncation.top_k(z, 3)
    token = int(np.argmax(z))
    gradient = jax.grad(lambda x: truncation.log_probs(x, 1.0, kept)[token])(z)
    expected = np.eye(7)[token] - np.exp(truncation.log_probs(z, 1.0, kept))
    np.testing.assert_allclose(gradient, np.where(kept, expected, 0), atol=1e-14)
