"""The game of Countdown: reach a target from a few numbers, judged by a stack machine that runs on the device.

    345:17=   is answered by   34*5+.

Numbers are digits from 1 to 9, targets from 0 to 99. An expression is written in postfix: what it does is read off from
left to right, without brackets.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.language.tasks.task import Task, encode
from purerl.language.tasks.verifiers import has_digits
from purerl.recipes import recorded

VOCAB = (*"0123456789+-*:=", ".")
PLUS, MINUS, TIMES, COLON, EQUALS, STOP = range(10, 16)
_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


class Problems(NamedTuple):
    """All problems that have a solution, M of them, numbers in ascending order."""

    numbers: np.ndarray  # [M, N] uint8
    target: np.ndarray  # [M] uint8
    solution: np.ndarray  # [M, 2N] uint8, tokens of one that reaches it, the stop token included


@recorded
def countdown(num_numbers: int = 3) -> Task:
    """A target from numbers by ``+ - *``, each number once: ``345:17=`` is answered by any such as ``34*5+.``.

    An answer is worth 1 if it is an expression in postfix that uses the numbers, each as often as it was given, reaches
    the target, and ends with the stop token; otherwise 0. Problems are uniform over those that have a solution, and
    their numbers in any order.

    Args:
        num_numbers: N, from 2 to 4.

    Raises:
        ValueError: if it is none of these.
    """
    if not 2 <= num_numbers <= 4:
        raise ValueError(f"countdown: num_numbers={num_numbers} must be 2, 3 or 4.")
    problems = solvable(num_numbers)

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        key, order_key = jax.random.split(key)
        problem = jax.random.randint(key, (num_prompts,), 0, len(problems.target), jnp.int32)
        numbers, target = (jnp.asarray(x)[problem].astype(jnp.int32) for x in problems[:2])
        numbers = jax.random.permutation(order_key, numbers, axis=1, independent=True)
        colon, equals = (jnp.full(num_prompts, token, jnp.int32) for token in (COLON, EQUALS))
        ids = jnp.concatenate([numbers, jnp.stack([colon, target // 10, target % 10, equals], axis=1)], axis=1)
        return Prompts(ids, jnp.ones(ids.shape, bool), problem)

    def answer(problem: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens = jnp.asarray(problems.solution)[problem].T.astype(jnp.int32)
        return tokens, jnp.ones(tokens.shape, bool)

    def reward(problem: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        numbers, target = (jnp.asarray(x)[problem].astype(jnp.int32) for x in problems[:2])
        value, valid = postfix(tokens, mask)
        return (valid & (value == target) & has_digits(numbers, tokens, mask)).astype(jnp.float32)

    return Task("countdown", VOCAB, num_numbers + 4, 2 * num_numbers, STOP, draw, reward, answer)


def postfix(tokens: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values of expressions in postfix, by a stack machine for all of them at once.

    A digit is put on the stack; an operation takes two from it, the upper one on its right, and puts the result there;
    the stop token ends an expression if one value is left.

    Args:
        tokens: ``[T, B]`` int, of :data:`VOCAB`.
        mask: ``[T, B]`` bool, True from the first token to the last of each text, without holes.

    Returns:
        ``(value [B] int32, valid [B] bool)``; a value is one only where the text is a whole expression and no more.
    """

    def step(machine: tuple, read: tuple) -> tuple[tuple, None]:
        stack, depth, valid, ended = machine  # [T, B], of which the first row is on top; [B]
        token, there = read
        is_digit, is_operation, stops = token < 10, (token >= PLUS) & (token <= TIMES), token == STOP
        upper, lower = stack[0], stack[1]
        result = jnp.select([token == PLUS, token == MINUS], [lower + upper, lower - upper], lower * upper)
        pushed = jnp.concatenate([token[None], stack[:-1]])
        applied = jnp.concatenate([result[None], stack[2:], jnp.zeros_like(stack[:1])])
        fits = is_digit | (is_operation & (depth >= 2)) | (stops & (depth == 1))
        stack = jnp.where(there & is_digit, pushed, jnp.where(there & is_operation, applied, stack))
        depth = depth + jnp.where(there, is_digit.astype(jnp.int32) - is_operation, 0)
        return (stack, depth, valid & (fits | ~there), ended | (there & stops)), None

    tokens = tokens.astype(jnp.int32)
    no, nothing = jnp.zeros_like(mask[0]), jnp.zeros((max(len(tokens), 2), *mask.shape[1:]), jnp.int32)
    (stack, _, valid, ended), _ = jax.lax.scan(step, (nothing, nothing[0], ~no, no), (tokens, mask))
    return stack[0], valid & ended


@functools.cache
def solvable(num_numbers: int) -> Problems:
    """All problems that have a solution, with one, found by splitting the numbers in two in all ways."""
    rows = [
        (numbers, target, encode(VOCAB, f"{text}."))
        for numbers in itertools.combinations_with_replacement(range(1, 10), num_numbers)
        for target, text in sorted(_reached(numbers).items())
        if 0 <= target <= 99
    ]
    return Problems(*(np.array(column, np.uint8) for column in zip(*rows, strict=True)))


@functools.cache
def _reached(numbers: tuple[int, ...]) -> dict[int, str]:
    """Every value that these numbers in ascending order can reach, with an expression for it."""
    if len(numbers) == 1:
        return {numbers[0]: str(numbers[0])}
    found: dict[int, str] = {}
    places = range(len(numbers))
    for size in range(1, len(numbers)):
        for chosen in itertools.combinations(places, size):
            left = _reached(tuple(numbers[i] for i in chosen))
            right = _reached(tuple(numbers[i] for i in places if i not in chosen))
            for (a, of_a), (b, of_b) in itertools.product(left.items(), right.items()):
                for sign, operation in _OPERATIONS.items():
                    found.setdefault(operation(a, b), of_a + of_b + sign)
    return found
