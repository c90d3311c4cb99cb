"""Digits to be sorted, judged as a whole or point by point."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from purerl.kernels.language import rewards, sequences
from purerl.language.policy import Prompts
from purerl.language.tasks.task import Task
from purerl.language.tasks.verifiers import exact_match, has_digits
from purerl.recipes import recorded

VOCAB = (*"0123456789=", ".")
EQUALS, STOP = 10, 11


@recorded
def sort(num_digits: int = 5) -> Task:
    """Digits in ascending order: ``31415=`` is answered by ``11345.``, the last token being the stop token.

    An answer is worth 1 if it is that and no more, and 0 otherwise. Digits are uniform and independent.

    Args:
        num_digits: at least 1.

    Raises:
        ValueError: if it is less.
    """
    if num_digits < 1:
        raise ValueError(f"sort: num_digits={num_digits} must be at least 1.")

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        digits = jax.random.randint(key, (num_prompts, num_digits), 0, 10, jnp.int32)
        ids = jnp.pad(digits, ((0, 0), (0, 1)), constant_values=EQUALS)
        return Prompts(ids, jnp.ones(ids.shape, bool), digits)

    def reward(digits: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return exact_match(*_sorted(digits), tokens, mask)

    return Task("sort", VOCAB, num_digits + 1, num_digits + 1, STOP, draw, reward, _sorted)


@recorded
def sort_rubric(num_digits: int = 5, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Task:
    """Digits in ascending order, by a rubric: ``sum_k w_k 1[k passed] / sum_k w_k``.

    Its points: the answer ends with the stop token; has as many tokens as it should; has the digits of the prompt and
    no others, in whatever order; and its tokens before the stop are digits of which none is less than the one before
    it, at least one of them. All of them together are a right answer, and only that is worth 1.

    Args:
        num_digits: at least 1.
        weights: four, of these points, at least 0 and not all 0.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if len(weights) != 4 or min(weights) < 0 or max(weights) == 0:
        raise ValueError(f"sort_rubric: weights={tuple(weights)} must be four of at least 0, and not all 0.")
    task = sort(num_digits)

    def reward(digits: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        passed = [
            jnp.any(mask & (tokens == STOP), axis=0),
            sequences.length(mask) == num_digits + 1,
            has_digits(digits, tokens, mask),
            _ascends(tokens, mask),
        ]
        return rewards.rubric(jnp.stack(passed, axis=-1), jnp.asarray(weights, jnp.float32))

    return task._replace(name="sort_rubric", reward=reward, recipe=None)


def _sorted(digits: jax.Array) -> tuple[jax.Array, jax.Array]:
    tokens = jnp.pad(jnp.sort(digits, axis=1).T, ((0, 1), (0, 0)), constant_values=STOP)
    return tokens, jnp.ones(tokens.shape, bool)


def _ascends(tokens: jax.Array, mask: jax.Array) -> jax.Array:
    before = mask & (tokens != STOP)
    falls = before[1:] & (tokens[1:] < tokens[:-1])
    return before[0] & jnp.all((tokens < 10) | ~before, axis=0) & ~jnp.any(falls, axis=0)
