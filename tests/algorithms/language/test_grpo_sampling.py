"""Groups that teach something are found by correctness, in rounds that end; length is a reward beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.language.answers import Answers
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, collect, grpo, learn
from purerl.algorithms.language.grpo_sampling import judge, weights
from purerl.language import tasks
from purerl.language.policy import Prompts
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_SEQUENCES, setting


@pytest.mark.covers("dyn-sampling")
def test_dynamic_sampling_draws_until_groups_differ_in_correctness():
    """Rare, impossible and certain rewards, side by side. A length penalty, by which nearly all groups
    differ, is not what it asks for. Where nothing is found, nothing is learnt."""
    config = GRPOConfig(num_prompts=4, group_size=4, dynamic_rounds=6, length_penalty="linear")
    rare = (np.arange(NUM_SEQUENCES) == 5).astype(np.float32)
    rewards = jnp.asarray(np.stack([rare, 0 * rare, 0 * rare + 1]))
    hypers, model = GRPOHypers(), table_model(0 * setting().ref)

    def one(reward, key):
        algorithm = grpo(table_task(reward=reward), config, model)
        first_key, collect_key, update_key = jax.random.split(key, 3)
        state, task = algorithm.init(hypers, first_key), table_task(reward=reward)
        _, judged, metrics = collect(task, model, config, hypers, state, collect_key)
        after, _ = learn(task, model, config, None, hypers, state, judged, update_key)
        return judged, metrics, after.params - state.params

    keys = jax.random.split(jax.random.key(0), 3)
    judged, metrics, moved = jax.jit(jax.vmap(one))(rewards, keys)
    assert metrics["rounds"][0] <= 6 and np.all(metrics["rounds"][1:] == 6)
    there = np.asarray(judged.answers.mask.any(axis=2)).reshape(3, 4, 4)
    assert np.all(there.any(axis=2) == there.all(axis=2))
    assert there[0, :, 0].sum() == 4 * metrics["filled"][0] >= 2 and not there[1:].any()
    correct = np.asarray(judged.correct).reshape(3, 4, 4)[0][there[0, :, 0]]
    assert np.all(correct.max(axis=1) > correct.min(axis=1))
    assert np.any(moved[0] != 0) and np.all(moved[1:] == 0)
    assert metrics["episode_return"].number[0] == 16 * metrics["rounds"][0]


@pytest.mark.covers("len-penalty")
@pytest.mark.parametrize(("name", "expected"), [("linear", [-2.0, -3.0, -1.0]), ("overlong", [-0.5, -1.0, 0.0])])
def test_length_is_a_further_reward(name, expected):
    """Of the stop token alone, and of answers one below and at the limit."""
    task = tasks.addition()
    mask = jnp.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]], bool)
    tokens = jnp.where(mask, jnp.array([[4, tasks.STOP, 0], [1, 2, tasks.STOP], [tasks.STOP, 0, 0]]), 0)
    prompts = Prompts(jnp.zeros((3, 4), jnp.int32), jnp.ones((3, 4), bool), jnp.array([4, 21, 5]))
    answers = Answers(prompts, tokens, mask, jnp.zeros(mask.shape), None, jnp.ones(3, bool))
    setup = GRPOConfig(length_penalty=name, overlong_buffer=2)
    given = judge(task, setup, answers)
    np.testing.assert_array_equal(given.correct, [1, 1, 0])
    np.testing.assert_allclose(given.rewards, np.stack([[1, 1, 0], expected], axis=1))
    np.testing.assert_allclose(weights(setup, GRPOHypers(length_coef=0.5), 2), [1, 0.5])
