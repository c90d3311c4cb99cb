"""The smallest model of any vocabulary: what comes next depends on the last token alone. It compiles in no time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.nets.language_model import LanguageModel


class BigramPolicy(NamedTuple):
    """Logits ``[V + 1, V]``, a row for each last token, and one for none; features are one-hot rows."""

    table: jax.Array

    def start(self, batch_size: int, num_slots: int) -> jax.Array:
        """No token yet."""
        del num_slots
        return jnp.full(batch_size, self.table.shape[1], jnp.int32)

    def extend(self, state: jax.Array, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The last token that is there; before the first one, what was there."""
        there = jnp.where(mask, jnp.arange(1, 1 + ids.shape[1]), 0)
        last = jax.lax.cummax(there, axis=1)
        rows = jnp.take_along_axis(jnp.concatenate([state[:, None], ids.astype(state.dtype)], axis=1), last, axis=1)
        return rows[:, -1], jax.nn.one_hot(rows, len(self.table), dtype=self.table.dtype)

    def logits(self, features: jax.Array) -> jax.Array:
        """Of rows."""
        return features @ self.table


def bigram_model(vocab_size: int) -> LanguageModel:
    """Random tables."""
    return LanguageModel(lambda key: jax.random.normal(key, (vocab_size + 1, vocab_size)) / 2, BigramPolicy)
