import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import process_rewards, sequences
from purerl.kernels.shaping import potential_shaping
from purerl.kernels.surrogates import policy_gradient
from purerl.language import enumeration
from tests.support import tiny_language as tiny
from tests.support.tiny_language import SEQUENCES, sequence_of, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
MASK = jnp.asarray(SEQUENCES.mask)
TOKENS = jnp.asarray(SEQUENCES.tokens)
LAST = np.asarray(sequences.is_last(MASK))
OUTCOME = np.arange(15) % 2 == 0  # right and wrong answers after every prefix


def exact_model(s):
    """Value of the prefix that ends with each token, ``[T, Y]``, and of the empty one, from the library's sums."""
    values = enumeration.prefix_values(SEQUENCES, s.policy, jnp.asarray(OUTCOME, float))
    following = np.concatenate([SEQUENCES.prefix[1:], SEQUENCES.prefix[:1]])
    return jnp.where(MASK, jnp.where(LAST, OUTCOME, values[following]), 0), values[0]


@pytest.mark.covers("prm", "orm", "prm-data")
def test_exact_process_model_is_the_value_of_the_prefix_and_what_labels_mean():
    """A tree of all answers, weighed by their chances, is labelled with the values of prefixes; the mean outcome label
    of a prefix is the same."""
    s = setting()
    law, outcome = jnp.exp(sequence_of(s.policy)), jnp.asarray(OUTCOME, float)
    value, start = exact_model(s)
    np.testing.assert_allclose(process_rewards.tree_labels(TOKENS, MASK, outcome, law), value, atol=1e-13)
    np.testing.assert_allclose(law @ outcome, start, atol=1e-13)
    label = process_rewards.outcome_labels(outcome, MASK)
    for t in range(3):
        for y in np.flatnonzero(SEQUENCES.mask[t]):
            begins = np.all(SEQUENCES.tokens[: t + 1] == SEQUENCES.tokens[: t + 1, [y]], axis=0) & SEQUENCES.mask[t]
            np.testing.assert_allclose(law[begins] @ label[t, begins] / law[begins].sum(), value[t, y], atol=1e-13)


@pytest.mark.covers("prm-data")
def test_tree_labels_are_means_over_answers_that_begin_the_same_way():
    """A sample of random answers against loops; repeated ones count as often as they came; hard labels round up."""
    rng = np.random.default_rng(0)
    tokens, length = rng.integers(0, 2, (4, 12)), rng.integers(1, 5, 12)
    mask, outcome = np.arange(4)[:, None] < length, rng.integers(0, 2, 12).astype(float)
    expected = np.zeros((4, 12))
    for t, i in zip(*np.nonzero(mask), strict=True):
        same = [j for j in range(12) if mask[t, j] and np.array_equal(tokens[: t + 1, j], tokens[: t + 1, i])]
        expected[t, i] = np.mean(outcome[same])
    label = process_rewards.tree_labels(jnp.asarray(tokens), jnp.asarray(mask), jnp.asarray(outcome))
    np.testing.assert_allclose(label, expected, rtol=1e-13)
    np.testing.assert_array_equal(process_rewards.hard_labels(label), expected > 0)
    np.testing.assert_array_equal(process_rewards.hard_labels(label, 0.5), expected > 0.5)


@pytest.mark.covers("orm", "prm", "prm-data")
def test_loss_of_outcome_and_process_models_is_least_at_the_mean_label():
    """Right and wrong answers, weighed by their chances: at the exact values of prefixes its gradient is 0; against the
    definition; extremes stay finite."""
    s = setting()
    law = jnp.exp(sequence_of(s.policy))
    label = process_rewards.outcome_labels(jnp.asarray(OUTCOME, float), MASK)
    row = SEQUENCES.prefix
    values = enumeration.prefix_values(SEQUENCES, s.policy, jnp.asarray(OUTCOME, float))

    def mean(logit):  # of a model with one logit a prefix
        loss = process_rewards.label_loss(logit[row], label)
        return jnp.sum(law * jnp.where(MASK, loss, 0))

    np.testing.assert_allclose(jax.jit(jax.grad(mean))(jnp.log(values) - jnp.log1p(-values)), 0, atol=1e-14)
    p, q = 1 / (1 + np.exp(-0.3)), 0.7
    expected = -q * np.log(p) - (1 - q) * np.log(1 - p)
    np.testing.assert_allclose(process_rewards.label_loss(jnp.array(0.3), jnp.array(q)), expected)
    assert np.all(np.isfinite(process_rewards.label_loss(jnp.array([1e4, -1e4]), jnp.array([0.0, 1.0]))))


@pytest.mark.covers("prm", "shaping")
def test_difference_rewards_telescope_and_change_no_optimum():
    """Their sum is the final score less that of the prompt; they are the final score at the end plus potential shaping,
    undiscounted; nothing outside the mask is read."""
    s = setting()
    score, start = exact_model(s)
    initial = jnp.full(15, start)
    reward = process_rewards.difference_rewards(jnp.where(MASK, score, jnp.nan), initial, MASK)
    np.testing.assert_allclose(jnp.sum(reward, axis=0), OUTCOME - start, atol=1e-14)
    before = jnp.concatenate([initial[None], score[:-1]])
    shaping = potential_shaping(before, score, jnp.asarray(LAST), 1.0)
    shaped = sequences.at_last(jnp.asarray(OUTCOME, float), MASK) + jnp.where(MASK, shaping, 0)
    np.testing.assert_allclose(reward, shaped, atol=1e-14)
    with pytest.raises(AssertionError):
        process_rewards.difference_rewards(score, initial[:1], MASK)


@pytest.mark.covers("prm", "baseline")
def test_difference_rewards_to_go_are_the_outcome_with_the_model_as_baseline():
    """PRM(y) - PRM(y_<t), so the policy gradient is that of the outcome, exactly, and the variance lower."""
    s = setting()
    score, start = exact_model(s)
    to_go = sequences.to_go(process_rewards.difference_rewards(score, jnp.full(15, start), MASK), MASK)
    before = jnp.concatenate([jnp.full((1, 15), start), score[:-1]])
    np.testing.assert_allclose(to_go, jnp.where(MASK, OUTCOME - before, 0), atol=1e-14)

    def gradients(advantage):  # of every text
        def of_texts(logits):
            return sequences.total(policy_gradient(tokens_of(logits), advantage), MASK)

        return jax.jit(jax.jacobian(of_texts))(s.policy)

    law = jnp.exp(sequence_of(s.policy))
    dense, sparse = gradients(to_go), gradients(jnp.broadcast_to(jnp.asarray(OUTCOME, float), MASK.shape))
    truth = tiny.exact_gradient(s.policy, jnp.asarray(OUTCOME, float))
    for each in (dense, sparse):
        np.testing.assert_allclose(jnp.tensordot(law, each, 1), truth, atol=1e-14)
    spread = [jnp.sum(law[:, None, None] * jnp.square(each - truth)) for each in (dense, sparse)]
    assert spread[0] < spread[1]
