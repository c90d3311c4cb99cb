"""Best of N: its law and its divergence from one draw, and what stopping early makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.language.answers import Answers
from purerl.algorithms.language.best_of import best_of, pick
from purerl.kernels.language import best_of_n
from tests.support.tabular_language import TablePolicy, begin
from tests.support.tabular_task import index, table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, sequence_of, setting

LOGITS = setting().policy
LAW = np.exp(np.asarray(sequence_of(LOGITS)))
NUM_DRAWS = 20_000


def frequencies(liked, num_candidates, stop_after=0):
    """How often each text is the best."""

    @jax.jit
    def texts(key):
        policy = TablePolicy(jnp.asarray(LOGITS, jnp.float32))
        best = best_of(table_task(), policy, liked, begin(NUM_DRAWS), key, num_candidates, stop_after)
        return index(best.tokens.T, best.mask.T), best.stopped, best.log_prob.sum(axis=1)

    found, stopped, log_prob = map(np.asarray, texts(jax.random.key(0)))
    np.testing.assert_allclose(log_prob, np.log(LAW)[found], atol=1e-4)
    np.testing.assert_array_equal(stopped, (SEQUENCES.tokens == 2).any(axis=0)[found])
    return np.bincount(found, minlength=NUM_SEQUENCES) / NUM_DRAWS


@pytest.mark.covers("best-of-n")
def test_law_and_divergence_of_sampled_answers():
    """Best of four by a score with ties: the law, to .02 in total variation, and a divergence below the bound."""
    score = np.round(setting().reward, 0)
    assert len({*score}) < NUM_SEQUENCES
    drawn = frequencies(lambda answers: jnp.asarray(score)[index(answers.tokens.T, answers.mask.T)], 4)
    law = np.asarray(best_of_n.distribution(jnp.asarray(LAW), jnp.asarray(score), 4))
    assert np.abs(drawn - law).sum() / 2 < 0.02 < np.abs(LAW - law).sum() / 2
    divergence = np.sum(np.where(drawn > 0, drawn * np.log(np.where(drawn > 0, drawn, 1) / LAW), 0))
    assert 0.1 < divergence < best_of_n.kl_bound(4)


@pytest.mark.covers("best-of-n", "partial-rollout")
def test_early_stop_is_best_of_n_beginnings_that_the_policy_goes_on_with():
    """Two first tokens of which one is dropped: the best of two of those, times the policy's chances of the rest; a
    beginning that has stopped is finished."""
    score = np.array([0.0, 1.0, 2.0])
    drawn = frequencies(lambda answers: jnp.asarray(score)[answers.tokens[:, 0]], 2, stop_after=1)
    first = SEQUENCES.tokens[0]
    of_first = np.bincount(first, LAW)
    best = np.asarray(best_of_n.distribution(jnp.asarray(of_first), jnp.asarray(score), 2))
    law = best[first] * LAW / of_first[first]
    assert np.abs(drawn - law).sum() / 2 < 0.02 < np.abs(LAW - law).sum() / 2


def test_of_equals_the_first():
    """Rows of neighbours, best first."""
    mask = jnp.ones((6, 1), bool)
    answers = Answers(begin(6), jnp.arange(6)[:, None], mask, jnp.zeros((6, 1)), None, mask[:, 0])
    liked = jnp.array([1.0, 3.0, 2.0, 5.0, 5.0, 5.0])
    np.testing.assert_array_equal(pick(answers, liked, 3, 2).tokens[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(pick(answers, liked, 3).tokens[:, 0], [1, 3])
