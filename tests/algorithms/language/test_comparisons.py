"""Who ranks follows Bradley-Terry and Plackett-Luce, and answers keep to their prompts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import draw, worth
from purerl.algorithms.language.comparisons import check_proxy, proxy, ranked, rankings
from purerl.kernels.language import preferences
from tests.support.bigram import bigram_model
from tests.support.tabular_scalars import answers_of

REWARD, NOISE = np.array([0.3, -0.5, 1.0], np.float32), 0.7


@pytest.mark.covers("bt", "rm")
@pytest.mark.parametrize("num_answers", [2, 3])
def test_orders_have_their_probabilities(num_answers):
    """Of 60,000 rankings each order as often as exp(-loss) of Plackett-Luce says, to .01; of two, Bradley-Terry's."""
    times = 60_000
    answers, reward = answers_of(np.tile(np.arange(num_answers), times)), np.tile(REWARD[:num_answers], times)
    order = jax.jit(lambda key: ranked(answers, reward, key, num_answers, NOISE).tokens)(jax.random.key(0))
    texts = np.asarray(answers.tokens[:num_answers])
    place = np.argmax((np.asarray(order)[:, None] == texts).all(-1), axis=1).reshape(times, num_answers)
    for one in itertools.permutations(range(num_answers)):
        chance = np.exp(-preferences.plackett_luce_loss(jnp.asarray(REWARD[list(one)] / NOISE)))
        assert np.mean((place == one).all(axis=1)) == pytest.approx(float(chance), abs=0.01)
    if num_answers == 2:
        wins = preferences.bradley_terry(*jnp.asarray(REWARD[:2] / NOISE))
        assert np.mean(place[:, 0] == 0) == pytest.approx(float(wins), abs=0.01)


def test_answers_keep_to_their_prompts():
    """All answers of a group are to one prompt, with little noise they are sorted by their reward."""
    task = envs.make("addition")
    model = bigram_model(len(task.vocab))

    def judge(answers):
        return answers.tokens[:, 0].astype(jnp.float32)

    @jax.jit
    def drawn(key):
        return rankings(task, model.policy(model.init(key)), judge, key, 5, 4, 1e-3)

    answers = drawn(jax.random.key(0))
    prompts = np.asarray(answers.prompts.ids).reshape(5, 4, -1)
    assert np.all(prompts == prompts[:, :1]) and len(np.unique(prompts[:, 0], axis=0)) > 1
    first = np.asarray(answers.tokens)[:, 0].reshape(5, 4)
    assert np.all(np.diff(first, axis=1) <= 0) and np.any(np.diff(first, axis=1) < 0)


def test_worth_adds_rewards_and_judges_are_the_tasks():
    """[B, K] rewards in one number; a task without judges is refused by name."""
    task = envs.make("overrated")
    model = bigram_model(len(task.vocab))

    @jax.jit
    def said(key):
        answers = draw(task, model.policy(model.init(key)), key, 6)
        return proxy(task, answers), worth(task, answers), worth(task._replace(reward=task.proxy), answers)

    judges, reward, added = map(np.asarray, said(jax.random.key(0)))
    assert judges.shape == (6, 3) and np.all(judges.min(axis=1) >= reward - 1e-6)
    np.testing.assert_allclose(added, judges.sum(axis=1), rtol=1e-6)
    check_proxy(task, "reward")
    with pytest.raises(ValueError, match=r"X.reward = 'proxy': the task addition has no judges"):
        check_proxy(envs.make("addition"), "X.reward")
