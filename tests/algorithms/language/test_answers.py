"""Answers in rows are what the generator wrote, and their score is what they were drawn with."""

import jax
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import answering, demonstrate, draw, model_of, reward, score_answers
from purerl.language.policy import Prompts
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.types import Seen

DECODER = DecoderConfig(size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_size=4, feed_forward_size=8)


@pytest.mark.parametrize("sampling", [{}, {"top_p": 0.8, "temperature": 1.5}], ids=["all", "truncated"])
def test_score_is_what_answers_were_drawn_with(sampling):
    """Of every token, whatever was truncated: the ratio of a first gradient step is 1."""
    task = envs.make("addition")
    model = model_of(task, DECODER, None)
    policy = model.policy(model.init(jax.random.key(0)))
    answers = jax.jit(lambda key: draw(task, policy, key, 3, 4, **sampling))(jax.random.key(1))
    assert answers.tokens.shape == answers.mask.shape == (12, task.max_tokens)
    scored = score_answers(policy, answers, sampling.get("temperature", 1.0)).log_prob
    np.testing.assert_allclose(scored, answers.log_prob.T, atol=1e-5)
    groups = np.asarray(answers.prompts.ids).reshape(3, 4, -1)
    assert np.all(groups == groups[:, :1])


def test_demonstrations_are_right():
    """Each is worth 1, and ends with the stop token."""
    task = envs.make("addition")
    answers = demonstrate(task, jax.random.key(0), 20)
    assert np.all(np.asarray(reward(task, answers)) == 1) and np.all(np.asarray(answers.stopped))


def test_agent_answers_with_the_most_likely_tokens():
    """As deployed the same whatever the key; a sampling one differs from key to key."""
    task = envs.make("addition")
    model: LanguageModel = model_of(task, DECODER, None)
    act = answering(task, model)
    state = _State(model.init(jax.random.key(0)))
    prompts: Prompts = task.draw(jax.random.key(2), 8)
    seen, keys = Seen(prompts), jax.random.split(jax.random.key(3))
    greedy = [act((), state, (), seen, key)[1] for key in keys]
    drawn = [act((), state, (), seen, key, sample=True)[1] for key in keys]
    np.testing.assert_array_equal(greedy[0].ids, greedy[1].ids)
    assert np.any(np.asarray(drawn[0].ids) != np.asarray(drawn[1].ids))


class _State:
    def __init__(self, params):
        self.params = params
