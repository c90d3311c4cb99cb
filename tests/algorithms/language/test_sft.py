"""Supervised fine-tuning arrives at the distribution of its data, and its gradient is that of the likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import Answers, demonstrate, model_of
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, loss_of, sft
from purerl.language import enumeration
from purerl.language.policy import Prompts
from purerl.update import mean_gradient
from tests.conformance.cases.language import DECODER
from tests.support.tabular_language import begin
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, setting


def all_answers(times: np.ndarray) -> Answers:
    """Every text so many times."""
    chosen = np.repeat(np.arange(NUM_SEQUENCES), times)
    tokens, mask = SEQUENCES.tokens.T[chosen], SEQUENCES.mask.T[chosen]
    return Answers(begin(len(chosen)), tokens, mask, np.zeros(mask.shape), None, mask[:, -1])


@pytest.mark.covers("sft")
def test_it_arrives_at_the_distribution_of_the_data():
    """The table that it arrives at writes as the data are distributed, to .02 in total variation."""
    law = np.exp(np.asarray(enumeration.log_probs(SEQUENCES, jnp.asarray(setting(1).policy))))
    algorithm = sft(table_task(law=law), SFTConfig(batch_size=512, num_gradient_steps=20), table_model())
    hypers, update = SFTHypers(learning_rate=0.1), jax.jit(algorithm.update)
    state = algorithm.init(hypers, jax.random.key(0))
    for i in range(20):
        rate = 0.1 if i < 10 else 0.01
        state, metrics = update(hypers.replace(learning_rate=rate), state, jax.random.key(i))
    learnt = np.exp(np.asarray(enumeration.log_probs(SEQUENCES, state.params)))
    assert np.abs(learnt - law).sum() / 2 < 0.02
    assert metrics["log_likelihood"] == pytest.approx(np.sum(law * np.log(law)), abs=0.1)


@pytest.mark.covers("sft")
@pytest.mark.parametrize("average", ["token", "answer"])
@pytest.mark.parametrize("num_micro_batches", [1, 2, 8])
def test_gradient_is_the_likelihoods_however_the_batch_is_split(average, num_micro_batches):
    """All texts, each one to three times, over any split of a batch: the likelihood's, enumerated; that of the stop
    token's logits, too."""
    times = 1 + np.arange(NUM_SEQUENCES) % 3
    times[0] += -times.sum() % 8
    answers, logits = all_answers(times), jnp.asarray(setting().policy, jnp.float32)

    def exact(logits):
        log_prob = enumeration.token_log_probs(SEQUENCES, logits)
        lengths = SEQUENCES.mask.sum(axis=0)
        if average == "token":
            return -jnp.sum(times * log_prob.sum(axis=0)) / np.sum(times * lengths)
        return -jnp.sum(times * log_prob.sum(axis=0) / lengths) / np.sum(times)

    loss = loss_of(table_model(), average)
    grads, metrics = jax.jit(lambda x: mean_gradient(loss, x, answers, num_micro_batches))(logits)
    np.testing.assert_allclose(grads, jax.grad(exact)(logits), atol=1e-6)
    assert metrics["log_likelihood"].number == times.sum()


def test_padding_changes_nothing():
    """Seven more columns of anything in front of a prompt, and behind an answer, that the masks leave out."""
    task = envs.make("addition")
    answers = demonstrate(task, jax.random.key(0), 4)
    prompts = Prompts(*(jnp.pad(x, ((0, 0), (7, 0))) for x in answers.prompts[:2]))
    longer = {name: jnp.pad(getattr(answers, name), ((0, 0), (0, 5))) for name in ("tokens", "mask", "log_prob")}
    model = model_of(task, DECODER, None)
    params = jax.jit(model.init)(jax.random.key(1))
    gradient = jax.jit(lambda answers: mean_gradient(loss_of(model, "token"), params, answers)[0])
    both = [gradient(x) for x in (answers, answers._replace(prompts=prompts, **longer))]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *both)


def test_only_tasks_with_answers():
    """What is no task, or has nothing to imitate, is refused by name."""
    with pytest.raises(ValueError, match=r"SFT learns to write: it takes a task.* and not 'CartPole-v1'"):
        sft(envs.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"the task addition has no right answers"):
        sft(envs.make("addition")._replace(answer=None))
