"""All texts over three tokens, the last of which stops, up to length three, with random policies and rewards."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from purerl.language import enumeration

VOCAB, MAX_TOKENS, STOP = 3, 3, 2
SEQUENCES = enumeration.all_sequences(VOCAB, MAX_TOKENS, STOP)
NUM_PREFIXES, NUM_SEQUENCES = 7, 15


class Setting(NamedTuple):
    """Policies as logits ``[N, V]``: the current one, the one that sampled, the reference, and a reward; float64."""

    policy: np.ndarray
    old: np.ndarray
    ref: np.ndarray
    reward: np.ndarray  # [Y]


def setting(seed: int = 0) -> Setting:
    """Normal logits and rewards."""
    rng = np.random.default_rng(seed)
    tables = (rng.normal(size=(NUM_PREFIXES, VOCAB)) for _ in range(3))
    return Setting(*tables, reward=rng.normal(size=NUM_SEQUENCES))


def compiled(function: Callable) -> Callable:
    """One program for all small operations of a function, and NumPy for what a test goes on to do with its result."""
    program = jax.jit(function)

    def run(*arguments):
        result = program(*arguments)
        return result if isinstance(result, jax.core.Tracer) else np.asarray(result)

    return run


# Of a policy, or of two, as functions of logits alone:
tokens_of = compiled(functools.partial(enumeration.token_log_probs, SEQUENCES))  # [T, Y]
sequence_of = compiled(functools.partial(enumeration.log_probs, SEQUENCES))  # [Y]
expectation = compiled(functools.partial(enumeration.expectation, SEQUENCES))
exact_gradient = compiled(functools.partial(enumeration.policy_gradient, SEQUENCES))
divergence = compiled(functools.partial(enumeration.kl, SEQUENCES))


def cosine(x: jax.Array, y: jax.Array) -> float:
    """Cosine of the angle between two gradients."""
    return float(np.vdot(x, y) / np.linalg.norm(x) / np.linalg.norm(y))
