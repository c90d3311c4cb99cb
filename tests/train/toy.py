"""A learner that does nothing but count and draw, so that a test of the driver waits for the driver alone."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm, Spec
from purerl.types import Episodes, Mean

STEPS_PER_UPDATE = 10


class ToyHypers(struct.PyTreeNode):
    """How far an update moves, and the level above which a seed diverges."""

    rate: float = 1.0
    limit: float = float("inf")


class ToyState(struct.PyTreeNode):
    """A random walk, with a key and a flag as states of other algorithms have them."""

    x: jax.Array  # []
    level: jax.Array  # [] in [0, 1), fixed at the start
    num_updates: jax.Array  # [] int
    even: jax.Array  # [] bool
    key: jax.Array  # typed


def toy(*, evaluates: bool = True, finishes_episodes: bool = True) -> Algorithm:
    """A random walk. An "episode", of return x, ends in every second update, or there is no such metric."""

    def init(hypers: ToyHypers, key: jax.Array) -> ToyState:
        level_key, key = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        return ToyState(jnp.zeros(()), jax.random.uniform(level_key), zero, jnp.array(True), key)

    def update(hypers: ToyHypers, state: ToyState, key: jax.Array):
        # Sums of these draws round alike in every program, so that runs can be compared bit for bit.
        x = state.x + hypers.rate * jax.random.uniform(key, minval=-1.0, maxval=1.0)
        x = jnp.where(state.level > hypers.limit, jnp.nan, x)
        count = (state.num_updates % 2).astype(jnp.float32)
        metrics = {"x": x, "number": state.num_updates.astype(jnp.float32)}
        if finishes_episodes:
            metrics["episode_return"] = Mean(jnp.where(count > 0, x, 0.0), count)
        return state.replace(x=x, num_updates=state.num_updates + 1, even=~state.even), metrics

    def evaluate(hypers: ToyHypers, state: ToyState, key: jax.Array, num_episodes: int) -> Episodes:
        returns = state.num_updates + jax.random.uniform(key, (num_episodes,))
        return Episodes(returns=returns, lengths=jnp.full(num_episodes, 3))

    settings = {"env": "nowhere", "sizes": (1, 2)}
    return Algorithm(init, update, None, Spec("toy", STEPS_PER_UPDATE, evaluate if evaluates else None, settings))
