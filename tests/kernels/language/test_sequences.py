import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import sequences
from purerl.language import enumeration
from tests.support.tiny_language import SEQUENCES as TEXTS
from tests.support.tiny_language import STOP, setting, tokens_of

MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)  # lengths 3, 2, 1 and 0
X = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0]], np.float32)


@pytest.mark.covers("token-mdp")
def test_the_first_stop_token_counts_and_nothing_after_it():
    """Against a loop, for every pattern of four flags: no stop at all keeps all tokens."""
    flags = np.array(np.meshgrid(*[[False, True]] * 4)).reshape(4, -1)
    expected = np.array([[not any(column[:t]) for t in range(4)] for column in flags.T]).T
    np.testing.assert_array_equal(sequences.until_stop(jnp.asarray(flags)), expected)
    with pytest.raises(AssertionError):
        sequences.until_stop(jnp.zeros(3))


@pytest.mark.covers("token-mdp")
def test_sums_means_and_sums_to_go_over_the_tokens_that_count():
    """Against loops; a sequence without tokens has sum and mean 0."""
    np.testing.assert_array_equal(sequences.length(MASK), [3, 2, 1, 0])
    np.testing.assert_array_equal(sequences.total(X, MASK), [15, 8, 3, 0])
    np.testing.assert_array_equal(sequences.average(X, MASK), [5, 4, 3, 0])
    expected = [[sum(X[k, b] * MASK[k, b] for k in range(t, 3)) * MASK[t, b] for b in range(4)] for t in range(3)]
    np.testing.assert_array_equal(sequences.to_go(X, MASK), expected)


@pytest.mark.covers("token-mdp")
@pytest.mark.parametrize("function", [sequences.total, sequences.average, sequences.to_go, sequences.last])
def test_what_is_outside_the_mask_is_not_read(function):
    """NaN there changes neither value nor gradient, and longer padding neither; shapes that would broadcast fail."""
    poisoned = jnp.where(MASK, X, jnp.nan)
    np.testing.assert_array_equal(function(poisoned, MASK), function(X, MASK))
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(function(x, MASK)))(poisoned)))
    longer = [jnp.pad(x, ((0, 2), (0, 0))) for x in (X, MASK)]
    np.testing.assert_array_equal(jnp.ravel(function(*longer))[: function(X, MASK).size], jnp.ravel(function(X, MASK)))
    with pytest.raises(AssertionError):
        function(X, MASK[:, :1])


@pytest.mark.covers("token-mdp", "rm")
def test_the_reward_of_an_answer_is_at_its_last_token_and_a_score_is_read_there():
    """Once a sequence, at the last token that counts, also where the mask has holes; nowhere in an empty one."""
    mask = MASK.copy()
    mask[1, 0] = False
    for m in (MASK, mask):
        expected = [[m[t, b] and not m[t + 1 :, b].any() for b in range(4)] for t in range(3)]
        np.testing.assert_array_equal(sequences.is_last(m), expected)
        np.testing.assert_array_equal(sequences.at_last(X[0], m), np.where(expected, X[0], 0))
        np.testing.assert_array_equal(sequences.last(X, m), [9, 6, 3, 0])
    with pytest.raises(AssertionError):
        sequences.at_last(X, MASK)


@pytest.mark.covers("token-mdp")
def test_without_the_stop_token_the_gradient_is_not_that_of_the_reward(x64):
    """All texts: with the mask up to the stop token it is exact, also in the stop token's logit; with the stop token
    left out, as padding by its id does, stopping is never taught."""
    s = setting()
    stop = jnp.asarray(TEXTS.tokens == STOP) & TEXTS.mask
    mask = sequences.until_stop(jnp.asarray(TEXTS.tokens == STOP))
    np.testing.assert_array_equal(mask, TEXTS.mask)

    def gradient(mask):
        def mean(logits):
            return enumeration.sample_mean(TEXTS, s.policy, sequences.total(tokens_of(logits), mask) * s.reward)

        return jax.jit(jax.grad(mean))(s.policy)

    truth = enumeration.policy_gradient(TEXTS, s.policy, s.reward)
    np.testing.assert_allclose(gradient(mask), truth, atol=1e-15)
    wrong = gradient(mask & ~stop)
    assert np.max(np.abs(wrong[:, STOP] - truth[:, STOP])) > 0.03
