"""A table that knows every text, the finished ones too: numbers of prefixes and of whole texts can be looked up."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.language.answers import Answers
from purerl.nets.heads import Head
from purerl.nets.language_model import LanguageModel
from tests.support.tabular_language import begin, following
from tests.support.tiny_language import NUM_PREFIXES, NUM_SEQUENCES, SEQUENCES, VOCAB

NUM_TEXTS = NUM_PREFIXES + NUM_SEQUENCES  # rows: those of unfinished prefixes, and text y as N + y


def after_each() -> np.ndarray:
    """Row of the text that a token leads to, ``[N, V]``."""
    rows, ends = (
        following(),
        SEQUENCES.mask & ~np.append(SEQUENCES.mask[1:], np.zeros((1, NUM_SEQUENCES), bool), axis=0),
    )
    rows[SEQUENCES.prefix[ends], SEQUENCES.tokens[ends]] = NUM_PREFIXES + np.nonzero(ends)[1]
    return rows


class TextPolicy(NamedTuple):
    """Logits ``[N, V]``; its state and its features are rows of texts, -1 before the prompt."""

    table: jax.Array

    def start(self, batch_size: int, num_slots: int) -> jax.Array:
        """Before the prompt."""
        del num_slots
        return jnp.full(batch_size, -1)

    def extend(self, state: jax.Array, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One row on for each token, and no further than the end."""
        rows, table = [], jnp.asarray(np.pad(after_each(), ((0, NUM_SEQUENCES), (0, 0))))
        for token, there in zip(ids.T, mask.T, strict=True):
            after = jnp.where(state < 0, 0, table[state, token])
            state = jnp.where(there, after, state)
            rows.append(state)
        return state, jnp.stack(rows, axis=1)

    def logits(self, features: jax.Array) -> jax.Array:
        """Look them up; after the end they mean nothing."""
        return self.table[jnp.minimum(features, NUM_PREFIXES - 1)]


def text_model(logits: Any) -> LanguageModel:
    """A table ``[N, V]`` that begins with these logits."""
    return LanguageModel(lambda key: jnp.asarray(logits, float), TextPolicy)


def table_head(first: float = 0.0) -> Head:
    """A number for each text."""
    return Head(lambda key, features: jnp.full(NUM_TEXTS, first, float), lambda params, features: params[features])


def answers_of(chosen: np.ndarray, log_prob: np.ndarray | None = None) -> Answers:
    """Texts by their numbers, ``[B]``, as answers; with log-probabilities of their tokens ``[T, Y]``."""
    tokens, mask = SEQUENCES.tokens.T[chosen], SEQUENCES.mask.T[chosen]
    of_tokens = np.zeros(mask.shape) if log_prob is None else np.asarray(log_prob).T[chosen]
    return jax.tree.map(jnp.asarray, Answers(begin(len(chosen)), tokens, mask, of_tokens, None, mask[:, -1]))


def sixty_fourths() -> tuple[np.ndarray, np.ndarray]:
    """A policy whose texts have chances of whole 64ths, as logits ``[N, V]``, and texts by number, as often as that."""
    logits = np.log(np.array([[2, 1, 1], [1, 2, 1], [1, 1, 2], [2, 1, 1], [1, 2, 1], [1, 1, 2], [2, 1, 1]]) / 4)
    chance = np.exp(np.where(SEQUENCES.mask, logits[SEQUENCES.prefix, SEQUENCES.tokens], 0).sum(axis=0))
    assert logits.shape == (NUM_PREFIXES, VOCAB)
    return logits, np.repeat(np.arange(NUM_SEQUENCES), np.rint(64 * chance).astype(int))
