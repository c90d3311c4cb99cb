"""Phrases to be written again, once or many times: answers as short or as long as one likes."""

import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.language.policy import Prompts
from purerl.language.tasks.task import Task
from purerl.recipes import recorded

VOCAB = (*"abcdefgh=", ".")
NUM_LETTERS, EQUALS, STOP = 8, 8, 9


@recorded
def copy(length: int = 5, times: int = 1, min_length: int | None = None) -> Task:
    """A phrase to be written so many times: ``abc=`` is answered, twice, by ``abcabc.``.

    An answer is worth the share of its tokens that are right, ``sum_t 1[y_t = answer_t] / max(T_y, T_answer)``, the
    stop token included: 1 for the right one alone, and something to climb where a text of hundreds of tokens is hardly
    ever right. With ``length=5, times=51`` it has 256 tokens.

    Phrases are uniform over lengths, and letters are uniform and independent.

    Args:
        length: of the longest phrase, at least 1.
        times: how often it is to be written, at least 1.
        min_length: of the shortest, in 1..length; None for ``length``. Shorter prompts are padded on the left.

    Raises:
        ValueError: if an argument is out of its range.
    """
    shortest = length if min_length is None else min_length
    if not 1 <= shortest <= length or times < 1:
        raise ValueError(
            f"copy: length={length} and times={times} must be at least 1, and min_length={min_length} in 1..length."
        )
    max_tokens = length * times + 1

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        key, length_key = jax.random.split(key)
        number = jax.random.randint(length_key, (num_prompts, 1), shortest, length + 1)
        letters = jax.random.randint(key, (num_prompts, length), 0, NUM_LETTERS, jnp.int32)
        there = jnp.arange(length) >= length - number
        ids = jnp.pad(jnp.where(there, letters, 0), ((0, 0), (0, 1)), constant_values=EQUALS)
        mask = jnp.pad(there, ((0, 0), (0, 1)), constant_values=True)
        return Prompts(ids, mask, {"letters": letters, "number": number[:, 0]})

    def answer(info: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        t, number = jnp.arange(max_tokens)[:, None], info["number"]
        place = length - number + t % number
        letters = jnp.take_along_axis(info["letters"].T, place, axis=0)
        end = number * times
        return jnp.where(t < end, letters, jnp.where(t == end, STOP, 0)), t <= end

    def reward(info: dict[str, jax.Array], tokens: jax.Array, mask: jax.Array) -> jax.Array:
        right, there = answer(info)
        matches = sequences.length((tokens == right) & mask & there)
        longest = jnp.maximum(sequences.length(mask), sequences.length(there))
        return matches.astype(jnp.float32) / longest.astype(jnp.float32)

    return Task("copy", VOCAB, length + 1, max_tokens, STOP, draw, reward, answer)
