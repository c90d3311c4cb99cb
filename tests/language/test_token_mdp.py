import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.kernels.language import kl
from purerl.language import enumeration
from purerl.language.token_mdp import token_mdp
from tests.support.tiny_language import NUM_PREFIXES, SEQUENCES, STOP, VOCAB, sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")


def with_end(table):
    """A policy's table with a row for the end, where any action will do."""
    return jnp.concatenate([table, jnp.full((1, VOCAB), 1 / VOCAB)])


@pytest.mark.covers("token-mdp")
def test_transitions_append_the_token_and_the_stop_token_ends():
    """Every step is certain; from the empty prefix every token leads elsewhere; reward only where a text ends."""
    s = setting()
    process = token_mdp(SEQUENCES, s.reward)
    assert process.transition.shape == (NUM_PREFIXES + 1, VOCAB, NUM_PREFIXES + 1)
    assert set(np.unique(process.transition)) == {0.0, 1.0}
    following = np.asarray(process.transition).argmax(axis=-1)
    assert np.all(following[:, STOP] == NUM_PREFIXES)
    assert len(set(following[0])) == VOCAB
    rewards = np.asarray(mdp.expected_reward(process))
    assert np.all(rewards[:-1][following[:-1] != NUM_PREFIXES] == 0)
    np.testing.assert_allclose(np.sort(rewards[rewards != 0]), np.sort(s.reward))


@pytest.mark.covers("token-mdp", "prm", "bellman")
def test_values_of_a_policy_are_those_of_prefixes():
    """The linear solve of the process against sums over texts; the start's value is the expected reward."""
    s = setting()
    process = token_mdp(SEQUENCES, s.reward)
    value = mdp.state_value(process, with_end(jax.nn.softmax(s.policy)))
    np.testing.assert_allclose(value[:-1], enumeration.prefix_values(SEQUENCES, s.policy, s.reward), atol=1e-12)
    expected = enumeration.expectation(SEQUENCES, s.policy, s.reward)
    np.testing.assert_allclose(mdp.start_value(process, value), expected, atol=1e-12)


@pytest.mark.covers("token-mdp", "value-iter")
def test_value_iteration_finds_the_best_text():
    """Its value at the start is the largest reward, and the greedy policy writes the text that has it."""
    s = setting()
    process = token_mdp(SEQUENCES, s.reward)
    solution = value_iteration(process, tolerance=1e-12)
    np.testing.assert_allclose(solution.value[0], jnp.max(s.reward), atol=1e-12)
    greedy = np.argmax(mdp.lookahead(process, solution.value), axis=-1)
    best = int(np.argmax(s.reward))
    for t in range(SEQUENCES.mask[:, best].sum()):
        assert greedy[SEQUENCES.prefix[t, best]] == SEQUENCES.tokens[t, best]


@pytest.mark.covers("token-mdp", "kl-opt", "dpo")
def test_optimum_over_texts_is_a_soft_optimal_policy_over_tokens():
    """Of ref exp(R / beta) / Z the next token's law is ref exp((Q - V) / beta), with the token process's soft values by
    backward induction: its log-ratios are advantages, and V at the start is beta log Z."""
    s, beta = setting(), 0.6
    process = token_mdp(SEQUENCES, s.reward)
    ref = jax.nn.log_softmax(s.ref)
    value = jnp.zeros(NUM_PREFIXES + 1)
    for _ in range(3):
        q = mdp.lookahead(process, value)[:-1]
        value = jnp.append(beta * jax.nn.logsumexp(ref + q / beta, axis=-1), 0.0)
    texts = sequence_of(s.ref)
    best = enumeration.logits_of(SEQUENCES, kl.optimum(texts, s.reward, beta))
    np.testing.assert_allclose(best, ref + (q - value[:-1, None]) / beta, atol=1e-12)
    np.testing.assert_allclose(value[0], kl.optimal_value(texts, s.reward, beta), atol=1e-12)
