"""Tasks for language policies: prompts that are drawn, and completions that are judged by a rule.

A task is a record of pure functions of arrays, so that prompts and rewards are computed inside the program that
learns. A rule that is written in Python joins by :func:`python_reward`. Completions are time-major, ``[T, B]``.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.recipes import Recipe, recorded
from purerl.types import PyTree

Reward: TypeAlias = Callable[[PyTree, jax.Array, jax.Array], jax.Array]

ARITHMETIC = (*"0123456789+=", ".")
STOP = ARITHMETIC.index(".")


class Task(NamedTuple):
    """What is asked, and what an answer is worth."""

    name: str
    vocab: tuple[str, ...]  # V tokens
    prompt_length: int  # P
    max_tokens: int  # T, of a completion
    stop_token: int  # -1 for none
    draw: Callable[[jax.Array, int], Prompts]  # (key, B) -> prompts [B, P]
    reward: Reward  # (info [B, ...], tokens [T, B], mask [T, B]) -> [B] float
    recipe: Recipe | None = None  # how it was made


@recorded
def addition() -> Task:
    """One-digit sums: ``3+9=`` is answered by ``21.``, the digits of 12 with the lowest first, and the stop token.

    An answer is worth 1 if it is that and no more, and 0 otherwise. Prompts are uniform over the hundred sums.
    """

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        a, b = jax.random.randint(key, (2, num_prompts), 0, 10)
        plus, equals = (jnp.full(num_prompts, ARITHMETIC.index(sign)) for sign in "+=")
        ids = jnp.stack([a, plus, b, equals], axis=1).astype(jnp.int32)
        return Prompts(ids, jnp.ones(ids.shape, bool), a + b)

    def reward(total: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        stop = jnp.full_like(total, STOP)
        long = total >= 10
        answer = jnp.stack([total % 10, jnp.where(long, total // 10, stop), stop])
        return exact_match(answer, jnp.stack([total >= 0, total >= 0, long]), tokens, mask)

    return Task("addition", ARITHMETIC, 4, 3, STOP, draw, reward)


@recorded
def two_plus_two() -> Task:
    """The smallest task: ``2+2=`` is answered by one token, which is worth 1 if it is ``4`` and 0 otherwise."""

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        ids = jnp.broadcast_to(jnp.array(encode(ARITHMETIC, "2+2="), jnp.int32), (num_prompts, 4))
        return Prompts(ids, jnp.ones(ids.shape, bool))

    def reward(info: PyTree, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return exact_match(jnp.full_like(tokens[:1], 4), jnp.ones_like(mask[:1]), tokens, mask)

    return Task("two_plus_two", ARITHMETIC, 4, 1, -1, draw, reward)


def exact_match(answer: jax.Array, answer_mask: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Whether a completion is the answer and nothing more: ``r = 1[y = answer]``, its length and stop token included.

    Args:
        answer: ``[A, B]`` int, one for each completion.
        answer_mask: ``[A, B]`` bool, True from its first token to its last.
        tokens: ``[T, B]`` int.
        mask: ``[T, B]`` bool.

    Returns:
        ``[B]`` float32, 0 or 1.
    """
    chex.assert_equal_shape((answer, answer_mask))
    chex.assert_equal_shape((tokens, mask))
    rows = max(len(answer), len(tokens))
    answer, answer_mask, tokens, mask = (
        jnp.pad(x, ((0, rows - len(x)), (0, 0))) for x in (answer, answer_mask, tokens, mask)
    )
    same = (mask == answer_mask) & ((tokens == answer) | ~mask)
    return jnp.all(same, axis=0).astype(jnp.float32)


def python_reward(verify: Callable[[Any, tuple[int, ...]], float]) -> Reward:
    """A task's reward by a Python function of one completion, which runs on the host.

    It may be called again for the same completion or not at all, so it must not remember anything. An integer is
    refused, since a reward of 1 is too often a count or a truth value that was meant to be scaled, and a number that
    is not finite is, since it would reach the whole group through its mean.

    Args:
        verify: ``(info of one prompt, its completion's tokens) -> reward``, a float. Say ``float(x)`` where it is one.

    Returns:
        the reward of a task. Calling it raises ``jax.errors.JaxRuntimeError``, with the function's name and the value,
        for a reward that is refused.
    """
    name = getattr(verify, "__name__", type(verify).__name__)

    def on_host(info: PyTree, tokens: Any, mask: Any) -> np.ndarray:
        info, tokens, mask = jax.tree.map(np.asarray, (info, tokens, mask))

        def judge(i: int) -> float:
            told = jax.tree.map(lambda x: x[i], info)
            return _checked(name, verify(told, tuple(tokens[mask[:, i], i].tolist())))

        return np.array([judge(i) for i in range(tokens.shape[1])], np.float32)

    def reward(info: PyTree, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct(tokens.shape[1:], jnp.float32)
        return jax.pure_callback(on_host, shape, info, tokens, mask, vmap_method="sequential")

    return reward


def _checked(name: str, reward: Any) -> float:
    if not isinstance(reward, float | np.floating):
        raise ValueError(
            f"The verifier {name} returned {reward!r}, a value of type {type(reward).__name__}; a reward is a float. "
            "If that is what you mean, return float(...) of it."
        )
    if not np.isfinite(reward):
        raise ValueError(f"The verifier {name} returned {reward}; a reward is a finite number.")
    return float(reward)


def encode(vocab: tuple[str, ...], text: Iterable[str]) -> tuple[int, ...]:
    """Ids of a text's tokens, which are single characters where the text is a string.

    Raises:
        ValueError: naming a token that is not in the vocabulary.
    """
    unknown = sorted({token for token in text if token not in vocab})
    if unknown:
        raise ValueError(f"encode: {unknown[0]!r} is no token of {' '.join(vocab)}.")
    return tuple(vocab.index(token) for token in text)


def decode(vocab: tuple[str, ...], tokens: Any, mask: Any) -> list[str]:
    """Texts of completions ``[T, B]``, or of ``ids.T, mask.T`` of prompts; what is masked is left out."""
    tokens, mask = np.asarray(tokens), np.asarray(mask)
    return ["".join(vocab[token] for token in tokens[mask[:, i], i]) for i in range(tokens.shape[1])]
