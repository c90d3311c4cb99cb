"""Arithmetic in steps that are written down, so that each can be judged, and answers that may be longer than needed."""

import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.language.policy import Prompts
from purerl.language.tasks import arithmetic
from purerl.language.tasks.task import Task
from purerl.language.tasks.verifiers import exact_match
from purerl.recipes import recorded

ARITHMETIC, STOP = arithmetic.ARITHMETIC, arithmetic.STOP
FILLER = len(ARITHMETIC)


@recorded
def running_sums(num_terms: int = 4) -> Task:
    """Last digits of sums from left to right: ``3+9+4+5=`` is answered by ``261.``, for 12, 16 and 21.

    An answer is worth 1 if it has so many digits and the stop token, and the *last* digit is right: the outcome. Its
    steps are judged by ``step_correct``: a digit is correct if it follows from the one before it, be that right or
    wrong, and the next term. So one wrong step makes the outcome wrong, and two may cancel out.

    Terms are uniform digits.

    Args:
        num_terms: at least 2; an answer has so many tokens.

    Raises:
        ValueError: if it is less.
    """
    if num_terms < 2:
        raise ValueError(f"running_sums: num_terms={num_terms} must be at least 2.")

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        terms = jax.random.randint(key, (num_prompts, num_terms), 0, 10, jnp.int32)
        signs = jnp.full(terms.shape, ARITHMETIC.index("+"), jnp.int32).at[:, -1].set(ARITHMETIC.index("="))
        ids = jnp.stack([terms, signs], axis=2).reshape(num_prompts, -1)
        return Prompts(ids, jnp.ones(ids.shape, bool), terms)

    def answer(terms: jax.Array) -> tuple[jax.Array, jax.Array]:
        sums = jnp.cumsum(terms, axis=1)[:, 1:].T % 10
        tokens = jnp.pad(sums, ((0, 1), (0, 0)), constant_values=STOP)
        return tokens, jnp.ones(tokens.shape, bool)

    def reward(terms: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        right, there = answer(terms)
        steps = jnp.where((jnp.arange(num_terms) < num_terms - 2)[:, None] & (tokens < 10), tokens, right)
        return exact_match(steps, there, tokens, mask)

    def step_correct(terms: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        before = jnp.concatenate([terms[:, :1].T, tokens[:-1]])
        expected = jnp.pad((before[:-1] + terms[:, 1:].T) % 10, ((0, 1), (0, 0)), constant_values=STOP)
        return mask & (before < 10) & (tokens == expected)

    return Task(
        "running_sums", ARITHMETIC, 2 * num_terms, num_terms, STOP, draw, reward, answer, step_correct=step_correct
    )


@recorded
def wordy_addition(max_filler: int = 6) -> Task:
    """One-digit sums whose answers may begin with filler: ``3+9=`` is answered by ``~~21.``, and as well by ``21.``.

    Two rewards: 1 if the answer is right after any number of fillers, otherwise 0; and the length, ``-l / T``.
    Demonstrations have 0 to ``max_filler`` of them, equally often. So what is learned from them is right and long, and
    may become short.

    Args:
        max_filler: at least 0; T is 3 more.

    Raises:
        ValueError: if it is less.
    """
    if max_filler < 0:
        raise ValueError(f"wordy_addition: max_filler={max_filler} must be at least 0.")
    plain, max_tokens = arithmetic.addition(), max_filler + 3

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        key, filler_key = jax.random.split(key)
        prompts = plain.draw(key, num_prompts)
        filler = jax.random.randint(filler_key, (num_prompts,), 0, max_filler + 1)
        return prompts._replace(info={"total": prompts.info, "filler": filler})

    def answer(info: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _after_filler(info["filler"], *arithmetic.total_digits(info["total"]), max_tokens)

    def reward(info: dict[str, jax.Array], tokens: jax.Array, mask: jax.Array) -> jax.Array:
        filler = jnp.sum(jnp.cumprod((tokens == FILLER) & mask, axis=0), axis=0)
        # An answer that the token limit cuts off is not right: there is room for all of it in what it is compared with.
        right = _after_filler(filler, *arithmetic.total_digits(info["total"]), max_tokens + 3)
        length = sequences.length(mask).astype(jnp.float32)
        return jnp.stack([exact_match(*right, tokens, mask), -length / max_tokens], axis=-1)

    return Task("wordy_addition", (*ARITHMETIC, "~"), 4, max_tokens, STOP, draw, reward, answer)


@recorded
def long_addition(max_filler: int = 6) -> Task:
    """:func:`wordy_addition` with its first reward alone, for learners that have one for short answers themselves."""
    task = wordy_addition(max_filler)

    def reward(info: dict[str, jax.Array], tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return task.reward(info, tokens, mask)[:, 0]

    return task._replace(name="long_addition", reward=reward, recipe=None)


def _after_filler(filler: jax.Array, tokens: jax.Array, mask: jax.Array, num_rows: int) -> tuple[jax.Array, jax.Array]:
    """Texts ``[A, B]`` behind so many fillers ``[B]``, in that many rows."""
    place = jnp.arange(num_rows)[:, None] - filler
    tokens, mask = (jnp.take_along_axis(x, jnp.clip(place, 0, len(x) - 1), axis=0) for x in (tokens, mask))
    there = mask & (place >= 0) & (place < 3)
    return jnp.where(place < 0, FILLER, jnp.where(there, tokens, 0)), there | (place < 0)
