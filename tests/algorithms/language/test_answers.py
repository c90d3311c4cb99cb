"""Answers in rows are what the generator wrote, and their score is what they were drawn with."""

import functools
import re

import jax
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import (
    NUM_SHOWN,
    answering,
    demonstrate,
    draw,
    evaluation,
    reward,
    score_answers,
    words,
)
from purerl.algorithms.language.sft import SFTState
from purerl.spaces import Tokens
from purerl.types import Seen
from tests.support.bigram import bigram_model


@pytest.mark.parametrize("sampling", [{}, {"top_p": 0.8, "temperature": 1.5}], ids=["all", "truncated"])
def test_score_is_what_answers_were_drawn_with(sampling):
    """Of every token, whatever was truncated: the ratio of a first gradient step is 1."""
    task = envs.make("addition")
    model = bigram_model(len(task.vocab))

    @jax.jit
    def drawn_and_scored(key):
        policy = model.policy(model.init(key))
        answers = draw(task, policy, key, 3, 4, **sampling)
        return answers, score_answers(policy, answers, sampling.get("temperature", 1.0)).log_prob

    answers, scored = drawn_and_scored(jax.random.key(1))
    assert answers.tokens.shape == answers.mask.shape == (12, task.max_tokens)
    np.testing.assert_allclose(scored, answers.log_prob.T, atol=1e-5)
    groups = np.asarray(answers.prompts.ids).reshape(3, 4, -1)
    assert np.all(groups == groups[:, :1])


def test_demonstrations_are_right():
    """Each is worth 1, and ends with the stop token."""
    task = envs.make("addition")

    @jax.jit
    def shown(key):
        answers = demonstrate(task, key, 20)
        return reward(task, answers), answers.stopped

    rewards, stopped = map(np.asarray, shown(jax.random.key(0)))
    assert np.all(rewards == 1) and np.all(stopped)


def test_agent_answers_with_the_most_likely_tokens():
    """As deployed the same whatever the key; a sampling one differs from key to key."""
    task = envs.make("addition")
    model = bigram_model(len(task.vocab))
    act, state = answering(task, model), SFTState(model.init(jax.random.key(0)), ())
    seen = Seen(jax.jit(lambda key: task.draw(key, 8))(jax.random.key(2)))

    @jax.jit
    def both_ways(key):
        return [act((), state, (), seen, key, sample)[1].ids for sample in (False, True)]

    (greedy, drawn), (greedy_again, drawn_again) = map(both_ways, jax.random.split(jax.random.key(3)))
    np.testing.assert_array_equal(greedy, greedy_again)
    assert np.any(np.asarray(drawn) != np.asarray(drawn_again))


def test_evaluation_counts_tokens_and_shows_answers():
    """Rewards of as many answers as were asked for, lengths in tokens, and the first ones in words."""
    task = envs.make("addition")

    def act(hypers, state, carry, seen, key, sample=False):
        total = seen.obs.ids[:, 0] + seen.obs.ids[:, 2]
        tokens, mask = task.answer(total)
        return carry, Tokens(tokens.T, mask.T)

    @functools.partial(jax.jit, static_argnums=0)
    def evaluated(attempts):
        return evaluation(task, act)((), (), jax.random.key(0), 8, attempts=attempts)

    episodes = evaluated(1)
    assert np.all(np.asarray(episodes.returns) == 1) and np.all(np.asarray(episodes.solved))
    assert set(np.asarray(episodes.lengths)) == {2, 3}
    prompts = evaluated(4).shown[0].ids
    np.testing.assert_array_equal(prompts[0], prompts[2])  # the same one, answered again
    lines = words(task)(jax.device_get(episodes.shown))
    assert len(lines) == NUM_SHOWN
    for line in lines:
        a, b, answer = re.fullmatch(r"(\d)\+(\d)=(\d+)\.  1", line).groups()
        assert int(a) + int(b) == int(answer[::-1])
