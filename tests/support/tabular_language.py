"""A table of logits, a row for each prefix, as a language policy; the prompt is one token that only begins a text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from tests.support.tiny_language import SEQUENCES


def following() -> np.ndarray:
    """Row of the prefix that a token leads to, ``[N, V]``; 0 where the text is over."""
    rows = np.zeros((SEQUENCES.num_prefixes, int(SEQUENCES.tokens.max()) + 1), np.int32)
    goes_on = SEQUENCES.mask[1:]
    rows[SEQUENCES.prefix[:-1][goes_on], SEQUENCES.tokens[:-1][goes_on]] = SEQUENCES.prefix[1:][goes_on]
    return rows


class TablePolicy(NamedTuple):
    """Logits ``[N, V]``; its state and its features are rows of it, -1 before the prompt."""

    table: jax.Array

    def start(self, batch_size: int, num_slots: int) -> jax.Array:
        """Before the prompt; a table needs no room."""
        del num_slots
        return jnp.full(batch_size, -1)

    def extend(self, state: jax.Array, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One row on for each token."""
        rows = []
        for token, there in zip(ids.T, mask.T, strict=True):
            after = jnp.where(state < 0, 0, jnp.asarray(following())[state, token])
            state = jnp.where(there, after, state)
            rows.append(state)
        return state, jnp.stack(rows, axis=1)

    def logits(self, features: jax.Array) -> jax.Array:
        """Look them up."""
        return self.table[features]


def begin(num_prompts: int) -> Prompts:
    """That many prompts, each of the one token."""
    return Prompts(jnp.zeros((num_prompts, 1), jnp.int32), jnp.ones((num_prompts, 1), bool))
