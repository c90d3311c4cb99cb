"""The task of all texts over three tokens, and the table that learns it: what a learner arrives at is known exactly."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.language.tasks import Task
from purerl.nets.language_model import LanguageModel
from tests.support.tabular_language import TablePolicy, begin
from tests.support.tiny_language import MAX_TOKENS, NUM_PREFIXES, NUM_SEQUENCES, SEQUENCES, STOP, VOCAB


def table_model(logits: Any = None) -> LanguageModel:
    """A table ``[N, V]`` that begins with these logits; None: random ones, of each seed its own."""

    def init(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (NUM_PREFIXES, VOCAB)) if logits is None else jnp.asarray(logits, jnp.float32)

    return LanguageModel(init, TablePolicy)


def table_task(reward: Any = None, law: Any = None) -> Task:
    """One prompt; an answer is worth its entry of ``reward [Y]``, demonstrations are distributed as ``law [Y]``."""
    reward = np.zeros(NUM_SEQUENCES) if reward is None else reward
    law = np.full(NUM_SEQUENCES, 1 / NUM_SEQUENCES) if law is None else law

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        shown = jax.random.categorical(key, jnp.log(jnp.asarray(law, jnp.float32)), shape=(num_prompts,))
        return begin(num_prompts)._replace(info=shown)

    def of_answer(info: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.asarray(reward, jnp.float32)[index(tokens, mask)]

    def answer(info: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(SEQUENCES.tokens)[:, info], jnp.asarray(SEQUENCES.mask)[:, info]

    return Task("table", ("a", "b", "."), 1, MAX_TOKENS, STOP, draw, of_answer, answer)


def index(tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Which of the Y texts answers ``[T, B]`` are, ``[B]``."""
    tokens, all_tokens = jnp.where(mask, tokens, -1), np.where(SEQUENCES.mask, SEQUENCES.tokens, -1)
    return jnp.argmax(jnp.all(tokens[:, :, None] == all_tokens[:, None], axis=0), axis=-1)
