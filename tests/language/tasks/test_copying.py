"""Copying: what share of an answer is right, prompts of several lengths, and answers of hundreds of tokens."""

import jax
import numpy as np
import pytest

from purerl.language import tasks
from tests.support.texts import arrays

TASK = tasks.copy(length=3, times=2, min_length=1)


@pytest.fixture(scope="module")
def prompts():
    return TASK.draw(jax.random.key(0), 300)


def share(right, text):
    """Of the longer text's places, those at which both have the same token."""
    return sum(a == b for a, b in zip(right, text, strict=False)) / max(len(right), len(text))


@pytest.mark.covers("rlvr")
def test_share_of_right_tokens_is_that_of_a_rule_in_python(prompts):
    """Random texts and spoilt answers; the right one alone is worth 1."""
    rng = np.random.default_rng(0)
    asked = [text[:-1] for text in tasks.decode(TASK.vocab, prompts.ids.T, prompts.mask.T)]
    right = [2 * phrase + "." for phrase in asked]
    spoilt = [
        right,
        [text[:-1] for text in right],
        [text[: len(text) // 2] + "." for text in right],
        [(text[:-1] + "a.")[: TASK.max_tokens] for text in right],
        ["." for _ in right],
        ["".join(rng.choice(list("abcdefgh="), size=rng.integers(1, 8))) for _ in right],
    ]
    judge = jax.jit(TASK.reward)
    for texts in spoilt:
        reward = judge(prompts.info, *arrays(TASK, texts))
        np.testing.assert_allclose(reward, [share(*pair) for pair in zip(right, texts, strict=True)], rtol=1e-6)
        assert np.all((np.asarray(reward) == 1) == [a == b for a, b in zip(right, texts, strict=True)])
    written = tasks.decode(TASK.vocab, *TASK.answer(prompts.info))
    assert written == right


def test_prompts_have_all_lengths_and_are_padded_on_the_left(prompts):
    """Equally often; every letter comes."""
    lengths = np.asarray(prompts.mask).sum(axis=1) - 1
    assert np.bincount(lengths)[1:].min() > 70 and lengths.max() == 3
    assert np.all(np.diff(prompts.mask.astype(int), axis=1) >= 0)
    assert not np.any(np.asarray(prompts.ids)[~np.asarray(prompts.mask)])
    assert set("".join(tasks.decode(TASK.vocab, prompts.ids.T, prompts.mask.T))) == set("abcdefgh=")


def test_an_answer_can_have_256_tokens():
    """Fifty-one times five letters, and the stop token."""
    task = tasks.copy(length=5, times=51)
    prompts = task.draw(jax.random.key(0), 2)
    _, mask = task.answer(prompts.info)
    assert task.max_tokens == 256 and mask.all()
    np.testing.assert_array_equal(task.reward(prompts.info, *task.answer(prompts.info)), [1, 1])


@pytest.mark.parametrize("wrong", [{"length": 0}, {"times": 0}, {"min_length": 0}, {"min_length": 6}])
def test_arguments_out_of_range_are_refused(wrong):
    """By name."""
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        tasks.copy(**wrong)
