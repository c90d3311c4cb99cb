"""Countdown: the stack machine against Python, problems that all have a solution, and answers that only look right."""

import itertools

import jax
import numpy as np
import pytest

from purerl.language import tasks
from purerl.language.tasks import expressions
from tests.support.texts import arrays, every_answer, judged


def value_of(text):
    """Value of an expression in postfix and its digits, by brackets and Python; None if it is none."""
    if not text.endswith("."):
        return None
    stack = []
    for token in text[:-1]:
        if token.isdigit():
            stack.append(token)
        elif token in "+-*" and len(stack) >= 2:
            upper = stack.pop()
            stack.append(f"({stack.pop()}{token}{upper})")
        else:
            return None
    return eval(stack[0]) if len(stack) == 1 else None


def digits_of(text):
    """In ascending order."""
    return sorted(int(token) for token in text if token.isdigit())


@pytest.mark.covers("rlvr")
def test_the_stack_machine_agrees_with_python():
    """On all texts of four tokens, and on random expressions of eight, right and nearly right."""
    answers, texts = every_answer(tasks.countdown(num_numbers=2))
    longer = tasks.countdown(num_numbers=4)
    rng = np.random.default_rng(0)
    solutions = ["".join(longer.vocab[i] for i in row) for row in expressions.solvable(4).solution[::41]]
    spoilt = [spoil(rng, text) for text in solutions for _ in range(4)]
    for these, (tokens, mask) in (
        (texts, answers[:2]),
        (solutions + spoilt, arrays(longer, solutions + spoilt)),
    ):
        value, valid = (np.asarray(x) for x in jax.jit(expressions.postfix)(tokens, mask))
        expected = [value_of(text) for text in these]
        np.testing.assert_array_equal(valid, [x is not None for x in expected])
        np.testing.assert_array_equal(value[valid], [x for x in expected if x is not None])
        assert valid.sum() > 50


def spoil(rng, text):
    """The text with a token changed, left out, doubled or two swapped."""
    i, j = rng.integers(0, len(text), 2)
    kind = rng.integers(4)
    if kind == 0:
        return text[:i] + rng.choice(list("0123456789+-*:=")) + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    if kind == 2:
        return (text[:i] + text[i] + text[i:])[:8]
    swapped = list(text)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return "".join(swapped).partition(".")[0] + "." * ("." in text)


@pytest.mark.covers("rlvr")
def test_right_answers_are_those_of_a_rule_in_python():
    """Of all texts, for a few problems: the value is the target and the digits are the numbers."""
    task = tasks.countdown(num_numbers=2)
    answers, texts = every_answer(task)
    numbers, target, _ = expressions.solvable(2)
    chosen = np.arange(0, len(target), 19, dtype=np.int32)
    reward = judged(task.reward, chosen, answers.tokens, answers.mask)
    told = [(text, value_of(text)) for text in texts]
    for problem, row in zip(chosen, reward, strict=True):
        right = {t for t, value in told if value == target[problem] and digits_of(t) == list(numbers[problem])}
        assert {text for text, r in zip(texts, row, strict=True) if r == 1} == right
        assert right
    assert set(np.unique(reward)) == {0, 1}


@pytest.mark.covers("rlvr")
@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("34*5+.", 1),
        ("543*+.", 1),
        ("34*5+", 0),  # no stop
        ("34*5.", 0),  # two values are left
        ("9835..", 0),  # the first stop ends it
        ("98+.", 0),  # 17, of other numbers
        ("345=17", 0),
        ("34*5+:", 0),
        ("345+*.", 0),  # 27
        ("+34*5.", 0),
        ("17.", 0),
    ],
)
def test_answers_that_look_right(text, reward):
    """Unfinished, of other numbers, in another order, or the target itself are worth nothing."""
    task = tasks.countdown()
    numbers, target, _ = expressions.solvable(3)
    (problem,) = np.flatnonzero((numbers == [3, 4, 5]).all(axis=1) & (target == 17))
    np.testing.assert_array_equal(task.reward(np.array([problem]), *arrays(task, [text])), [reward])


def test_problems_are_all_those_that_can_be_solved():
    """Of three numbers, by trying every order of numbers and operations; each has a solution that is one."""
    numbers, target, solution = expressions.solvable(3)
    vocab = tasks.countdown().vocab
    for problem in range(0, len(target), 7):
        text = "".join(vocab[i] for i in solution[problem])
        assert value_of(text) == target[problem] and digits_of(text) == list(numbers[problem])
    for given in ((1, 1, 1), (2, 3, 9), (4, 4, 7)):
        orders = {
            "".join(order)
            for signs in itertools.combinations_with_replacement("+-*", 2)
            for order in itertools.permutations((*map(str, given), *signs))
        }
        values = {value_of(f"{order}.") for order in orders}
        found = set(target[(numbers == given).all(axis=1)].tolist())
        assert found == {value for value in values if value is not None and 0 <= value <= 99}


@pytest.mark.parametrize("num_numbers", [2, 3])
def test_prompts_are_problems_with_their_numbers_in_any_order(num_numbers):
    """The target in two digits; demonstrations are right."""
    task = tasks.countdown(num_numbers=num_numbers)
    prompts = jax.jit(task.draw, static_argnums=1)(jax.random.key(0), 400)
    numbers, target, _ = expressions.solvable(num_numbers)
    unordered = 0
    texts = tasks.decode(task.vocab, prompts.ids.T, prompts.mask.T)
    for text, problem in zip(texts, prompts.info.tolist(), strict=True):
        given, _, wanted = text.removesuffix("=").partition(":")
        assert digits_of(given) == list(numbers[problem]) and wanted == f"{target[problem]:02d}"
        unordered += digits_of(given) != [int(digit) for digit in given]
    assert unordered > 100 and len(set(prompts.info.tolist())) > 100
    np.testing.assert_array_equal(task.reward(prompts.info, *task.answer(prompts.info)), np.ones(400))


@pytest.mark.parametrize("num_numbers", [1, 5])
def test_other_numbers_of_numbers_are_refused(num_numbers):
    """By name."""
    with pytest.raises(ValueError, match=f"num_numbers={num_numbers} must be 2, 3 or 4"):
        tasks.countdown(num_numbers=num_numbers)
