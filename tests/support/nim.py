"""A game of two players that is small enough to know everything about."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.games import Game
from purerl.spaces import Box, Discrete
from purerl.types import Seen

STONES, MOST = 5, 3


def nim() -> Game:
    """From a heap of 1 to 5 stones both take 1 to 3 in turn; who takes the last one wins.

    A move that is not allowed costs 100, so that nobody who makes one goes unnoticed.
    """

    def see(heap):
        return jax.nn.one_hot(heap, STONES + 1, dtype=bool)

    def reset(key):
        heap = jax.random.randint(key, (), 1, STONES + 1)
        return see(heap), (heap, jnp.int32(0))

    def step(key, state, action):
        heap, player = state
        left, over = heap - action - 1, heap == 0
        reward = jnp.where(over | (left > 0), 0.0, jnp.where(left == 0, 1.0, -100.0))
        after = jnp.maximum(left, 0)
        return see(after), (after, jnp.where(over, player, 1 - player)), reward, after == 0, jnp.bool(False), {}

    def legal(state):
        return (jnp.arange(MOST) < state[0]) | (state[0] == 0)

    space = Box(0.0, 1.0, (STONES + 1,), np.dtype(bool))
    return Game("nim", reset, step, space, Discrete(MOST), legal, lambda state: state[1], None, str)


def heaps(sizes) -> Seen:
    """Positions of these sizes."""
    sizes = jnp.asarray(sizes, jnp.int32)
    return Seen(jax.nn.one_hot(sizes, STONES + 1, dtype=bool), (sizes, jnp.zeros_like(sizes)))
