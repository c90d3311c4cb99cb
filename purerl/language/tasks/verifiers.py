"""Rules that judge answers: on the device, or written in Python."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.tasks.task import Reward
from purerl.types import PyTree


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


def has_digits(digits: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Whether the digits in a text are the given ones, each as often, whatever else there is.

    Args:
        digits: ``[B, N]`` int.
        tokens: ``[T, B]`` int, digits being those from 0 to 9.
        mask: ``[T, B]`` bool.

    Returns:
        ``[B]`` bool.
    """
    all_digits = jnp.arange(10)[:, None]
    given = jnp.sum(digits == all_digits[..., None], axis=-1)  # [10, B]
    found = jnp.sum((tokens == all_digits[:, None]) & mask, axis=1)
    return jnp.all(given == found, axis=0)


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
