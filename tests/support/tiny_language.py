"""All texts over three tokens, the last of which stops, up to length three, with random policies and rewards."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language import enumeration

VOCAB, MAX_TOKENS, STOP = 3, 3, 2
SEQUENCES = enumeration.all_sequences(VOCAB, MAX_TOKENS, STOP)
NUM_PREFIXES, NUM_SEQUENCES = 7, 15


class Setting(NamedTuple):
    """Policies as logits ``[N, V]``: the current one, the one that sampled, the reference, and a reward."""

    policy: jax.Array
    old: jax.Array
    ref: jax.Array
    reward: jax.Array  # [Y]


def setting(seed: int = 0) -> Setting:
    """Normal logits and rewards. Call it in double precision."""
    rng = np.random.default_rng(seed)
    tables = (jnp.asarray(rng.normal(size=(NUM_PREFIXES, VOCAB))) for _ in range(3))
    return Setting(*tables, reward=jnp.asarray(rng.normal(size=NUM_SEQUENCES)))


@jax.jit
def tokens_of(policy: jax.Array) -> jax.Array:
    """``log pi`` of every token of every sequence, ``[T, Y]``."""
    return enumeration.token_log_probs(SEQUENCES, policy)


@jax.jit
def sequence_of(policy: jax.Array) -> jax.Array:
    """``log pi`` of every sequence, ``[Y]``."""
    return enumeration.log_probs(SEQUENCES, policy)


def cosine(x: jax.Array, y: jax.Array) -> float:
    """Cosine of the angle between two gradients."""
    return float(jnp.vdot(x, y) / jnp.linalg.norm(x) / jnp.linalg.norm(y))
