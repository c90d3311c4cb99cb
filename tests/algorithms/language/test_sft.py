"""Supervised fine-tuning arrives at the distribution of its data, and its gradient is that of the likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import Answers, demonstrate
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, loss_of, sft
from purerl.language import enumeration
from purerl.language.policy import Prompts
from purerl.update import mean_gradient
from tests.support.bigram import bigram_model
from tests.support.tabular_language import begin
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, sequence_of, setting


def all_answers(times: np.ndarray) -> Answers:
    """Every text so many times."""
    chosen = np.repeat(np.arange(NUM_SEQUENCES), times)
    tokens, mask = SEQUENCES.tokens.T[chosen], SEQUENCES.mask.T[chosen]
    return Answers(begin(len(chosen)), tokens, mask, np.zeros(mask.shape), None, mask[:, -1])


@pytest.mark.covers("sft")
def test_it_arrives_at_the_distribution_of_the_data():
    """The table that it arrives at writes as the data are distributed, to .02 in total variation."""
    law = np.exp(sequence_of(setting(1).policy))
    algorithm = sft(table_task(law=law), SFTConfig(batch_size=512, num_gradient_steps=20), table_model())

    @jax.jit
    def run(keys):
        def step(state, inputs):
            return algorithm.update(SFTHypers(learning_rate=inputs[0]), state, inputs[1])

        rates = jnp.where(jnp.arange(20) < 10, 0.1, 0.01)
        return jax.lax.scan(step, algorithm.init(SFTHypers(), keys[0]), (rates, keys))

    state, metrics = run(jax.random.split(jax.random.key(0), 20))
    assert np.abs(np.exp(sequence_of(state.params)) - law).sum() / 2 < 0.02
    assert metrics["log_likelihood"][-1] == pytest.approx(np.sum(law * np.log(law)), abs=0.1)


@pytest.mark.covers("sft")
@pytest.mark.parametrize("average", ["token", "answer"])
def test_gradient_is_the_likelihoods_however_the_batch_is_split(average):
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

    @jax.jit
    def gradients(logits):
        loss = loss_of(table_model(), average)
        return jax.grad(exact)(logits), [mean_gradient(loss, logits, answers, parts) for parts in (1, 8)]

    truth, found = gradients(logits)
    for grads, metrics in found:
        np.testing.assert_allclose(grads, truth, atol=1e-6)
        assert metrics["log_likelihood"].number == times.sum()


def test_padding_changes_nothing():
    """Seven more columns of anything in front of a prompt, and behind an answer, that the masks leave out."""
    task = envs.make("addition")
    model = bigram_model(len(task.vocab))

    @jax.jit
    def gradients(key):
        answers, params = demonstrate(task, key, 4), model.init(key)
        prompts = Prompts(*(jnp.pad(x, ((0, 0), (7, 0))) for x in answers.prompts[:2]))
        longer = {name: jnp.pad(getattr(answers, name), ((0, 0), (0, 5))) for name in ("tokens", "mask", "log_prob")}
        both = answers, answers._replace(prompts=prompts, **longer)
        return [mean_gradient(loss_of(model, "token"), params, x)[0] for x in both]

    np.testing.assert_allclose(*gradients(jax.random.key(0)), atol=1e-6)


def test_only_tasks_with_answers():
    """What is no task, or has nothing to imitate, is refused by name."""
    with pytest.raises(ValueError, match=r"SFT learns to write: it takes a task.* and not 'CartPole-v1'"):
        sft(envs.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"the task addition has no right answers"):
        sft(envs.make("addition")._replace(answer=None))
