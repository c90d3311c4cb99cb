"""All answers that can be written to a task, and what a task says of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language import enumeration, tasks
from purerl.types import PyTree


def every_answer(task: tasks.Task) -> tuple[enumeration.Sequences, list[str]]:
    """``tokens, mask [T, Y]`` of all of them, and their texts."""
    found = enumeration.all_sequences(len(task.vocab), task.max_tokens, task.stop_token)
    return found, tasks.decode(task.vocab, found.tokens, found.mask)


def arrays(task: tasks.Task, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as answers, ``tokens, mask [T, B]``, cut off at the token limit."""
    tokens, mask = np.zeros((task.max_tokens, len(texts)), np.int32), np.zeros((task.max_tokens, len(texts)), bool)
    for i, text in enumerate(texts):
        ids = tasks.encode(task.vocab, text)[: task.max_tokens]
        tokens[: len(ids), i], mask[: len(ids), i] = ids, True
    return tokens, mask


def judged(rule, info: PyTree, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What a rule says of all these answers to each of some prompts, ``[prompts, ...]``."""
    number = tokens.shape[1]

    def of_prompt(info: PyTree) -> jax.Array:
        return rule(jax.tree.map(lambda x: jnp.broadcast_to(x, (number, *x.shape)), info), tokens, mask)

    return np.asarray(jax.jit(lambda info: jax.lax.map(of_prompt, info))(info))
