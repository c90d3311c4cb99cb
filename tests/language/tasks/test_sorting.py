"""Sorting: the right answer of all that can be written, and the points of the rubric."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.language import tasks
from tests.support.texts import arrays, every_answer, judged

PAIRS = [f"{a}{b}" for a in range(10) for b in range(10)]
DIGITS = np.array([[int(digit) for digit in pair] for pair in PAIRS], np.int32)


def points(digits, text):
    """What passes, as a person would say it."""
    before = text.removesuffix(".")
    return [
        text.endswith("."),
        len(text) == len(digits) + 1,
        sorted(c for c in text if c.isdigit()) == sorted(digits),
        before.isdigit() and list(before) == sorted(before),
    ]


@pytest.mark.covers("rlvr")
def test_exactly_one_answer_is_right():
    """Of all texts, for all pairs of digits."""
    task = tasks.sort(num_digits=2)
    answers, texts = every_answer(task)
    reward = judged(task.reward, DIGITS, answers.tokens, answers.mask)
    for pair, row in zip(PAIRS, reward, strict=True):
        assert [text for text, r in zip(texts, row, strict=True) if r == 1] == ["".join(sorted(pair)) + "."]
    assert set(np.unique(reward)) == {0, 1}


@pytest.mark.covers("rlvr")
def test_every_point_of_the_rubric_is_that_of_a_rule_in_python():
    """For all texts, each point alone by its weight; all of them together are the right answer and no other."""
    answers, texts = every_answer(tasks.sort(num_digits=2))
    pairs = DIGITS[::7]
    expected = np.array([[points(pair, text) for text in texts] for pair in PAIRS[::7]])
    for k, weights in enumerate([*np.eye(4), (3.0, 1.0, 0.0, 4.0)]):
        task = tasks.sort_rubric(num_digits=2, weights=tuple(weights))
        reward = judged(task.reward, pairs, answers.tokens, answers.mask)
        of_rule = expected[..., k] if k < 4 else expected @ np.array(weights) / 8
        np.testing.assert_allclose(reward, of_rule, atol=1e-6)
    right = judged(tasks.sort(num_digits=2).reward, pairs, answers.tokens, answers.mask)
    np.testing.assert_array_equal(expected.all(axis=-1), right == 1)


@pytest.mark.covers("rlvr")
@pytest.mark.parametrize(
    ("text", "reward", "rubric"),
    [
        ("11345.", 1, 1.0),
        ("11345", 0, 0.5),  # no stop
        ("1134.", 0, 0.5),  # a part
        ("31415.", 0, 0.75),  # the prompt again
        ("11111.", 0, 0.75),  # ascends, with other digits
        ("=1345.", 0, 0.5),
        (".", 0, 0.25),
        ("555555", 0, 0.5),
    ],
)
def test_answers_that_look_right(text, reward, rubric):
    """Partial, unfinished and empty ones are worth nothing, or what the rubric says."""
    digits = jnp.array([[3, 1, 4, 1, 5]])
    for task, expected in ((tasks.sort(), reward), (tasks.sort_rubric(), rubric)):
        np.testing.assert_allclose(task.reward(digits, *arrays(task, [text])), [expected])


def test_prompts_are_digits_and_what_is_told_are_they():
    """As many as were asked for, all of them drawn."""
    task = tasks.sort(num_digits=3)
    prompts = task.draw(jax.random.key(0), 300)
    texts = tasks.decode(task.vocab, prompts.ids.T, prompts.mask.T)
    assert texts == ["".join(map(str, row)) + "=" for row in prompts.info.tolist()]
    assert len(set("".join(texts))) == 11 and (task.prompt_length, task.max_tokens) == (4, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.sort(num_digits=0), "num_digits=0"),
        (lambda: tasks.sort_rubric(weights=(1.0, 1.0)), "four"),
        (lambda: tasks.sort_rubric(weights=(1.0, 1.0, 1.0, -1.0)), "at least 0"),
        (lambda: tasks.sort_rubric(weights=(0.0,) * 4), "not all 0"),
    ],
)
def test_arguments_out_of_range_are_refused(make, words):
    """By name."""
    with pytest.raises(ValueError, match=words):
        make()
