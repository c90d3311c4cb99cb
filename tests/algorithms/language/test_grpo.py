"""GRPO's update arrives where theory says, draws again where nothing can be learnt, and begins at a ratio of one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, collect, grpo
from purerl.algorithms.language.grpo_loss import loss_of, make_batch
from purerl.language import tasks
from purerl.nets.language_model import LanguageModel
from tests.support.bigram import bigram_model
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import sequence_of, setting


def run(algorithm, hypers, rates, seed=0):
    """State and metrics ``[U]`` after one update for each learning rate."""

    def step(state, inputs):
        return algorithm.update(hypers.replace(learning_rate=inputs[0]), state, inputs[1])

    def whole(key):
        start = algorithm.init(hypers, key)
        return start, *jax.lax.scan(step, start, (jnp.asarray(rates, jnp.float32), jax.random.split(key, len(rates))))

    return jax.jit(whole)(jax.random.key(seed))


@pytest.mark.covers("kl-loss", "kl-opt")
def test_it_arrives_at_the_optimum_of_the_penalised_objective():
    """A table of all texts. The reference stays what it was, bit for bit."""
    s, beta = setting(3), 0.5
    config = GRPOConfig(num_prompts=64, group_size=8, advantage="leave_one_out", aggregate="sum", kl="reward")
    algorithm = grpo(table_task(reward=s.reward), config, table_model(s.ref))
    rates = 0.1 * np.minimum(1, 2 - np.arange(160) / 80)
    start, state, metrics = run(algorithm, GRPOHypers(beta=beta), rates)
    ref, learnt = (np.exp(sequence_of(x)) for x in (s.ref, state.params))
    tilted = ref * np.exp(s.reward / beta)
    optimum = tilted / tilted.sum()
    assert np.abs(learnt - optimum).sum() / 2 < 0.03 < np.abs(ref - optimum).sum() / 2
    np.testing.assert_array_equal(state.reference, start.params)
    assert np.all(np.asarray(metrics["ratio"]) == 1)


# --- ratios -----------------------------------------------------------------------------------------------


@pytest.mark.covers("v32-sampmask", "ti-gap")
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (4, 0.8)], ids=["all", "truncated"])
def test_first_ratio_is_one(top_k, top_p):
    """Prompts of several lengths, a temperature, a truncated vocabulary: sampler and learner have one law. A learner
    that scores with another temperature has not."""
    task = tasks.copy(3, min_length=1)
    model = bigram_model(len(task.vocab))
    config = GRPOConfig(num_prompts=3, group_size=4, top_k=top_k, top_p=top_p, num_minibatches=2)

    @jax.jit
    def diagnosed(key, temperature):
        first_key, collect_key = jax.random.split(key)
        hypers = GRPOHypers(temperature=1.5)
        state = grpo(task, config, model).init(hypers, first_key)
        params = jax.tree.map(lambda x: 4 * x, state.params)
        _, judged, _ = collect(task, model, config, hypers, state.replace(params=params), collect_key)
        batch = make_batch(config, hypers, judged, None, judged.answers.log_prob)
        loss = loss_of(model, config, hypers.replace(temperature=temperature), params, task.max_tokens)
        return loss(params, batch)[1]

    right, wrong = (diagnosed(jax.random.key(0), x) for x in (1.5, 1.0))
    assert right["ratio"].total == right["ratio"].number > 12
    assert right["mismatch_kl"].total / right["mismatch_kl"].number < 1e-8
    assert right["clipped"].total == 0 and right["approximate_kl"].total == 0
    assert wrong["mismatch_kl"].total / wrong["mismatch_kl"].number > 1e-3


# --- the smallest task ------------------------------------------------------------------------------------


class OneToken(NamedTuple):
    """The same logits ``[V]`` after any text."""

    table: jax.Array

    def start(self, batch_size, num_slots):
        """Nothing to remember."""
        del num_slots
        return jnp.zeros(batch_size)

    def extend(self, state, ids, mask):
        """Nothing to see."""
        del mask
        return state, jnp.zeros(ids.shape)

    def logits(self, features):
        """These."""
        return jnp.broadcast_to(self.table, (*features.shape, len(self.table)))


@pytest.mark.covers("two-plus-two", "rlvr")
def test_two_plus_two_is_learnt_by_luck_and_patience():
    """Most groups have no right answer at first, and nothing to learn from."""
    task = envs.make("two_plus_two")
    first = jnp.log(jnp.where(jnp.arange(len(task.vocab)) == 4, 0.01, 0.99 / (len(task.vocab) - 1)))
    model = LanguageModel(lambda key: first, OneToken)
    algorithm = grpo(task, GRPOConfig(num_prompts=4), model)
    start, state, metrics = run(algorithm, GRPOHypers(), [0.1] * 150)
    assert jax.nn.softmax(start.params)[4] == pytest.approx(0.01, rel=1e-5)
    assert jax.nn.softmax(state.params)[4] > 0.99
    assert np.mean(np.asarray(metrics["informative_groups"].total[:5])) < 3


# --- what is refused --------------------------------------------------------------------------------------


def test_tasks_that_do_not_fit_are_refused():
    """A warm-up without demonstrations, weights of other rewards than the task's, and what is no task."""
    addition = envs.make("addition")
    with pytest.raises(ValueError, match="the task addition has no right answers to show"):
        grpo(addition._replace(answer=None), GRPOConfig(warm_up_steps=1))
    with pytest.raises(ValueError, match="the task has 1 reward"):
        grpo(addition, GRPOConfig(reward_weights=(1.0, 2.0)))
    with pytest.raises(ValueError, match="GRPO learns to write"):
        grpo(envs.make("CartPole-v1"))


def test_warm_up_counts_and_a_base_needs_none():
    """Demonstrations are steps of ``init``; with a base there are none."""
    task, config = table_task(), GRPOConfig(warm_up_steps=3, warm_up_batch_size=8)
    assert grpo(task, config, table_model()).spec.env_steps_of_init == 24
    assert grpo(task, config, table_model(), base=setting().ref).spec.env_steps_of_init == 0
