"""The members that every algorithm is run with: three seeds of the same hyperparameters."""

from typing import Any

import jax

from purerl.train.members import Members

NUM_SEEDS = 3
KEY = jax.random.key(7)


def members_of(hypers: Any) -> tuple[Any, jax.Array]:
    """Hyperparameters and keys of all seeds."""
    members = Members.of(hypers, KEY, NUM_SEEDS)
    return members.hypers, members.keys
