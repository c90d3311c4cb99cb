"""Numbers of a text are read where they should be: before a token, after it, and at the last one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import demonstrate
from purerl.algorithms.language.scalars import ScalarModel
from purerl.language.policy import Prompts
from purerl.nets.heads import linear_head
from tests.support.bigram import bigram_model
from tests.support.tabular_scalars import answers_of, table_head, text_model
from tests.support.tiny_language import NUM_PREFIXES, NUM_SEQUENCES, SEQUENCES, setting


def test_before_after_and_whole():
    """By a table whose numbers are the rows: the prefix without the token and with it, and the whole text."""
    model = ScalarModel(text_model(setting().policy), table_head())
    params = model.init(jax.random.key(0), jnp.zeros((NUM_PREFIXES, 3)))
    params["head"] = jnp.arange(NUM_PREFIXES + NUM_SEQUENCES, dtype=jnp.float32)
    answers, mask = answers_of(np.arange(NUM_SEQUENCES)), SEQUENCES.mask
    told = jax.jit(lambda: [of(params, answers) for of in (model.before, model.after, model.whole)])()
    before, after, whole = map(np.asarray, told)
    np.testing.assert_array_equal(before, np.where(mask, SEQUENCES.prefix, 0))
    np.testing.assert_array_equal(after[:-1][mask[1:]], SEQUENCES.prefix[1:][mask[1:]])
    np.testing.assert_array_equal(whole, NUM_PREFIXES + np.arange(NUM_SEQUENCES))


@pytest.mark.covers("rm")
def test_padding_changes_no_score():
    """Seven more columns of anything before a prompt, and behind an answer; a fresh critic says 0."""
    task = envs.make("addition")
    model = bigram_model(len(task.vocab))
    scalar = ScalarModel(model, linear_head(1.0))

    @jax.jit
    def scores(key):
        answers = demonstrate(task, key, 6)
        prompts = Prompts(*(jnp.pad(x, ((0, 0), (7, 0))) for x in answers.prompts[:2]))
        longer = {name: jnp.pad(getattr(answers, name), ((0, 0), (0, 5))) for name in ("tokens", "mask", "log_prob")}
        longer["tokens"] = jnp.where(longer["mask"], longer["tokens"], 3)
        padded = answers._replace(prompts=prompts, **longer)
        params = scalar.init(key, model.init(key))
        silent = ScalarModel(model, linear_head()).init(key, params["trunk"])
        both = [(scalar.after(params, x), scalar.whole(params, x)) for x in (answers, padded)]
        return *both, scalar.before(silent, answers)

    (after, whole), (long_after, long_whole), silent = jax.tree.map(np.asarray, scores(jax.random.key(1)))
    np.testing.assert_allclose(long_after[: len(after)], after, atol=1e-5)
    np.testing.assert_allclose(long_whole, whole, atol=1e-5)
    assert np.std(after) > 0.01 and not np.any(long_after[len(after) :]) and not np.any(silent)
