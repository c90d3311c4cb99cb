"""What generation and scoring ask of a language model, whatever it is: a transformer, a table, a recurrent network."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from purerl.types import PyTree


class Policy(Protocol):
    """A policy over tokens, as three functions of arrays. Its state holds the text so far, N tokens in each row.

    Leaves of the state have the rows as their first axis, but for scalars, which all rows share. If it has an attribute
    ``routes``, with what the policy chose within itself for each token, generation returns that.
    """

    def start(self, batch_size: int, num_slots: int) -> PyTree:
        """State of no text: B rows, with room for that many tokens, padding included."""

    def extend(self, state: PyTree, ids: jax.Array, mask: jax.Array) -> tuple[PyTree, jax.Array]:
        """``(state, ids [B, N], mask [B, N]) -> (state, features [B, N, ...])``; masked tokens change nothing."""

    def logits(self, features: jax.Array) -> jax.Array:
        """Logits of the token after each: ``[B, N, ...] -> [B, N, V]``, and so for any leading axes."""


def next_logits(policy: Policy, features: jax.Array) -> jax.Array:
    """Logits of a policy in single precision at least, whatever it computes in: ``[B, N, ...] -> [B, N, V]``.

    Half precision has 256 steps from 1 to 2: a draw by perturbed logits never gets to the last of a thousand equal
    tokens, and log-probabilities are off by hundredths.
    """
    logits = policy.logits(features)
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


class Prompts(NamedTuple):
    """Prompts of one array, shorter ones padded on the left. The mask says what is padding; an id never does."""

    ids: jax.Array  # [B, P] int32
    mask: jax.Array  # [B, P] bool, True in the last column
    info: PyTree = ()  # [B, ...] what a reward needs to know


def extended(prompts: Prompts, tokens: jax.Array, mask: jax.Array) -> Prompts:
    """Prompts with what was written after them, ``[B, P] and [T, B] -> [B, P + T]``.

    An unfinished text is so a prompt of its own, to be gone on with by another policy, at another time: a partial
    rollout. Say to the generator which are: a text that has just ended is not told apart by its tokens.
    """
    ids = jnp.concatenate([prompts.ids, tokens.T], axis=1)
    return Prompts(ids, jnp.concatenate([prompts.mask, mask.T], axis=1), prompts.info)


def repeat(rows: PyTree, times: int) -> PyTree:
    """Each row so many times, one after the other: ``[B, ...] -> [B times, ...]``; scalars stay."""
    return jax.tree.map(lambda x: x.repeat(times, axis=0) if x.ndim else x, rows)
