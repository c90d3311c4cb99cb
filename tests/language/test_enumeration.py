import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.language import enumeration
from tests.oracles import language as oracle
from tests.support.tiny_language import MAX_TOKENS, SEQUENCES, STOP, VOCAB, sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")


def written(sequences):
    """Columns of tokens as tuples, without what is masked."""
    return [tuple(tokens[mask].tolist()) for tokens, mask in zip(sequences.tokens.T, sequences.mask.T, strict=True)]


@pytest.mark.covers("token-mdp")
@pytest.mark.parametrize(("vocab", "length", "stop"), [(3, 3, 2), (2, 4, 0), (4, 2, 1), (3, 2, -1), (2, 1, 1)])
def test_all_sequences_and_their_law_agree_with_a_recursion_over_tuples(vocab, length, stop):
    """Each text once, its rows those of its prefixes, its chance a product; the chances sum to 1."""
    sequences = enumeration.all_sequences(vocab, length, stop)
    prefixes = oracle.prefixes(vocab, length, stop)
    logits = np.random.default_rng(0).normal(size=(len(prefixes), vocab))
    expected = oracle.law(oracle.policy(logits, vocab, length, stop), length, stop)
    texts = written(sequences)
    assert sequences.num_prefixes == len(prefixes)
    assert sorted(texts) == sorted(expected)
    for text, rows in zip(texts, sequences.prefix.T, strict=True):
        assert [prefixes[row] for row in rows[: len(text)]] == [text[:t] for t in range(len(text))]
    actual = np.exp(enumeration.log_probs(sequences, jnp.asarray(logits)))
    np.testing.assert_allclose(actual, [expected[text] for text in texts], rtol=1e-12)
    np.testing.assert_allclose(actual.sum(), 1, rtol=1e-14)


@pytest.mark.covers("token-mdp")
def test_prefix_probabilities_and_values_are_conditional_sums():
    """Chance and mean reward of the texts that begin with a prefix, each summed by name; the empty one has all."""
    s = setting()
    prefixes, texts = oracle.prefixes(VOCAB, MAX_TOKENS, STOP), written(SEQUENCES)
    law = oracle.law(oracle.policy(s.policy, VOCAB, MAX_TOKENS, STOP), MAX_TOKENS, STOP)
    reward = dict(zip(texts, np.asarray(s.reward), strict=True))
    for row, prefix in enumerate(prefixes):
        inside = [y for y in texts if y[: len(prefix)] == prefix]
        chance = sum(law[y] for y in inside)
        value = sum(law[y] * reward[y] for y in inside) / chance
        np.testing.assert_allclose(enumeration.prefix_probs(SEQUENCES, s.policy)[row], chance, rtol=1e-12)
        np.testing.assert_allclose(enumeration.prefix_values(SEQUENCES, s.policy, s.reward)[row], value, rtol=1e-12)
    mean = enumeration.expectation(SEQUENCES, s.policy, s.reward)
    np.testing.assert_allclose(enumeration.prefix_values(SEQUENCES, s.policy, s.reward)[0], mean, rtol=1e-12)


@pytest.mark.covers("token-mdp", "pg")
def test_policy_gradient_is_that_of_finite_differences():
    """Central differences of the recursion's expectation in every logit, to their own error."""
    s = setting()
    texts = written(SEQUENCES)

    def mean(logits):
        law = oracle.law(oracle.policy(logits, VOCAB, MAX_TOKENS, STOP), MAX_TOKENS, STOP)
        return sum(law[y] * float(r) for y, r in zip(texts, np.asarray(s.reward), strict=True))

    logits, h = np.asarray(s.policy), 1e-5
    expected = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = h
        expected[index] = (mean(logits + step) - mean(logits - step)) / (2 * h)
    np.testing.assert_allclose(enumeration.policy_gradient(SEQUENCES, s.policy, s.reward), expected, atol=1e-9)


@pytest.mark.covers("token-mdp", "seq-bandit", "rtg")
def test_terminal_reward_makes_text_a_bandit_over_whole_answers():
    """The reward-to-go of every token is the outcome, so REINFORCE over tokens is the sequence's score times it."""
    s = setting()

    def reinforce(logits):
        tokens = enumeration.token_log_probs(SEQUENCES, logits)
        return enumeration.sample_mean(SEQUENCES, logits, jnp.sum(tokens * s.reward, axis=0))

    expected = enumeration.policy_gradient(SEQUENCES, s.policy, s.reward)
    np.testing.assert_allclose(jax.grad(reinforce)(s.policy), expected, atol=1e-15)


@pytest.mark.covers("token-mdp")
def test_every_law_over_sequences_has_its_table():
    """The table of a random law has this law, and that of a table's law is the table."""
    s = setting()
    law = jax.nn.log_softmax(s.reward)
    np.testing.assert_allclose(sequence_of(enumeration.logits_of(SEQUENCES, law)), law, atol=1e-13)
    table = jax.nn.log_softmax(s.policy)
    np.testing.assert_allclose(enumeration.logits_of(SEQUENCES, sequence_of(table)), table, atol=1e-13)


@pytest.mark.covers("token-mdp", "k1")
def test_chain_rule_of_the_divergence():
    """KL of sequences is the sum over prefixes of their chance times the KL of the next token; 0 against itself."""
    s = setting()
    p, q = jax.nn.log_softmax(s.policy), jax.nn.log_softmax(s.ref)
    by_prefix = enumeration.prefix_probs(SEQUENCES, s.policy) @ jnp.sum(jnp.exp(p) * (p - q), axis=1)
    np.testing.assert_allclose(enumeration.kl(SEQUENCES, s.policy, s.ref), by_prefix, rtol=1e-13)
    assert enumeration.kl(SEQUENCES, s.policy, s.policy) == 0


@pytest.mark.covers("pg")
def test_sample_mean_holds_the_law_fixed():
    """Its value is the expectation, its gradient that of the function alone: none for a reward."""
    s = setting()
    value, gradient = jax.value_and_grad(enumeration.sample_mean, argnums=1)(SEQUENCES, s.policy, s.reward)
    np.testing.assert_allclose(value, enumeration.expectation(SEQUENCES, s.policy, s.reward), rtol=1e-14)
    np.testing.assert_array_equal(gradient, 0)
    score = jax.grad(lambda logits: enumeration.sample_mean(SEQUENCES, logits, sequence_of(logits)))(s.policy)
    np.testing.assert_allclose(score, 0, atol=1e-15)


@pytest.mark.parametrize("arguments", [(1, 3, 0), (3, 0, 0), (3, 3, 3), (3, 3, -2)])
def test_arguments_out_of_range_are_refused(arguments):
    """A vocabulary of one, no tokens, a stop token that is none."""
    with pytest.raises(ValueError, match="must be at least"):
        enumeration.all_sequences(*arguments)


def test_too_many_sequences_are_refused():
    """Before any is written out."""
    with pytest.raises(ValueError, match="fewer tokens or a smaller vocabulary"):
        enumeration.all_sequences(50_000, 8, 0)
