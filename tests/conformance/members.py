"""The members that every algorithm is run with, three seeds of the same hyperparameters, and for how long."""

from collections.abc import Callable
from typing import Any

import jax

from purerl.algorithm import Algorithm
from purerl.driver.running import program
from purerl.driver.running.members import Members

NUM_SEEDS = 3
KEY = jax.random.key(7)
HALF, WHOLE = 18, 36  # updates; the smallest replay buffers wrap after 16


def members_of(hypers: Any) -> tuple[Any, jax.Array]:
    """Hyperparameters and keys of all seeds."""
    members = Members.of(hypers, KEY, NUM_SEEDS)
    return members.hypers, members.keys


def compiled(algorithm: Algorithm, carry: program.Carry, keys: jax.Array) -> Callable:
    """``(carry, keys, start, stop) -> carry`` for members like these and for any number of updates. What it was not
    compiled for, be it another shape, dtype or weak type, it refuses."""

    def run(carry, keys, start, stop):
        return program.run(algorithm, carry, keys, start, stop)[0]

    return jax.jit(run).lower(carry, keys, 0, 1).compile()
