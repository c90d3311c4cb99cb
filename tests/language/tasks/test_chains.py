"""Steps that are judged one by one, and answers with filler: against rules in Python, on all that can be written."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import process_rewards
from purerl.language import tasks
from tests.support.texts import arrays, every_answer, judged

SUMS = tasks.running_sums(num_terms=3)
TERMS = np.random.default_rng(0).integers(0, 10, (20, 3)).astype(np.int32)


@pytest.mark.covers("rlvr", "orm")
def test_the_outcome_is_the_last_digit():
    """Of all texts: two digits and the stop, of which the last digit is that of the sum."""
    answers, texts = every_answer(SUMS)
    reward = judged(SUMS.reward, TERMS, answers.tokens, answers.mask)
    for terms, row in zip(TERMS, reward, strict=True):
        right = {f"{first}{sum(terms) % 10}." for first in range(10)}
        assert {text for text, r in zip(texts, row, strict=True) if r == 1} == right
    assert set(np.unique(reward)) == {0, 1}


@pytest.mark.covers("prm-data")
def test_a_step_is_correct_if_it_follows():
    """On all texts, from what was written before it, be that right or wrong; nothing follows what is no digit."""
    answers, texts = every_answer(SUMS)
    found = judged(SUMS.step_correct, TERMS[:6], answers.tokens, answers.mask)
    for terms, of_texts in zip(TERMS[:6], found, strict=True):
        for text, steps in zip(texts, of_texts.T, strict=True):
            before, expected = str(terms[0]), []
            for t, token in enumerate(text):
                follows = str((int(before) + terms[t + 1]) % 10) if before.isdigit() and t < 2 else "."
                expected.append(before.isdigit() and token == follows)
                before = token
            assert steps.tolist() == expected + [False] * (3 - len(text)), (terms, text)


@pytest.mark.covers("prm-data", "orm")
def test_two_errors_cancel_out_in_the_outcome_and_not_in_the_steps():
    """3 + 9 + 4 + 5: one error makes the outcome wrong, a second one right again."""
    task = tasks.running_sums()
    texts = ["261.", "361.", "371.", "372.", "26.", "2611"]
    terms = jnp.array([[3, 9, 4, 5]] * len(texts))
    tokens, mask = arrays(task, texts)
    np.testing.assert_array_equal(task.reward(terms, tokens, mask), [1, 1, 1, 0, 0, 0])
    steps = task.step_correct(terms, tokens, mask)
    assert ["".join("01"[x] for x in column) for column in np.asarray(steps).T.astype(int)] == [
        "1111",
        "0011",
        "0101",
        "0111",
        "1100",
        "1110",
    ]
    labels = process_rewards.outcome_labels(task.reward(terms, tokens, mask), jnp.asarray(mask))
    assert labels[0, 1] == 1 and not steps[0, 1]


WORDY = tasks.wordy_addition(max_filler=1)


@pytest.mark.covers("rlvr")
def test_filler_is_no_error_and_costs_its_length():
    """On all texts, against a regular expression; an answer that the limit cuts off is wrong."""
    answers, texts = every_answer(WORDY)
    totals = {"total": np.arange(19), "filler": np.zeros(19, int)}
    reward = judged(WORDY.reward, totals, answers.tokens, answers.mask)
    assert reward.dtype == np.float32 and reward.shape == (19, len(texts), 2)
    for total in range(19):
        expected = [re.fullmatch(rf"~*{str(total)[::-1]}\.", text) is not None for text in texts]
        np.testing.assert_array_equal(reward[total, :, 0], expected)
        assert sum(expected) == (2 if total >= 10 else 3)
    np.testing.assert_allclose(reward[0, :, 1], [-len(text) / 4 for text in texts], rtol=1e-6)
    alone = tasks.long_addition(max_filler=1).reward
    np.testing.assert_array_equal(judged(alone, totals, answers.tokens, answers.mask), reward[..., 0])


def test_demonstrations_have_every_number_of_fillers():
    """Equally often, and all are right."""
    task = tasks.wordy_addition()
    prompts = task.draw(jax.random.key(0), 700)
    tokens, mask = jax.jit(task.answer)(prompts.info)
    texts = tasks.decode(task.vocab, tokens, mask)
    assert [text.count("~") for text in texts] == prompts.info["filler"].tolist()
    assert np.bincount(prompts.info["filler"]).min() > 60 and prompts.info["filler"].max() == 6
    np.testing.assert_array_equal(jax.jit(task.reward)(prompts.info, tokens, mask)[:, 0], np.ones(700))


def test_sums_are_told_as_they_are_asked():
    """Terms of the prompt; the demonstration has all partial sums."""
    task = tasks.running_sums(num_terms=4)
    prompts = task.draw(jax.random.key(0), 50)
    asked = tasks.decode(task.vocab, prompts.ids.T, prompts.mask.T)
    written = tasks.decode(task.vocab, *task.answer(prompts.info))
    for text, terms, answer in zip(asked, prompts.info.tolist(), written, strict=True):
        assert text == "+".join(map(str, terms)) + "="
        assert answer == "".join(str(total % 10) for total in itertools.accumulate(terms))[1:] + "."


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.running_sums(num_terms=1), "num_terms=1 must be at least 2"),
        (lambda: tasks.wordy_addition(max_filler=-1), "max_filler=-1 must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(make, words):
    """By name."""
    with pytest.raises(ValueError, match=words):
        make()
