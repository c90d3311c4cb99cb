"""flashbax's buffers in the loop of ``replay_loop``. Runs in flashbax's own environment.

A pair is what its flat buffers return: a step and the next one.
"""

import flashbax
import jax
import jax.numpy as jnp

from benchmarks.peers import replay_loop

setup = replay_loop.setup()
sizes = {"max_length": setup["capacity"], "min_length": setup["sample"], "sample_batch_size": setup["sample"]}
item = replay_loop.STEP if setup["pairs"] else replay_loop.TRANSITION
steps = replay_loop.steps(item, setup["add"])
if setup["pairs"]:
    make = flashbax.make_prioritised_flat_buffer if setup["prioritized"] else flashbax.make_flat_buffer
    buffer = make(**sizes, add_batch_size=setup["add"])
else:
    make = flashbax.make_prioritised_item_buffer if setup["prioritized"] else flashbax.make_item_buffer
    buffer = make(**sizes, add_batches=True)


def iterate(state, key: jax.Array):
    state = buffer.add(state, steps)
    drawn = buffer.sample(state, key)
    if setup["prioritized"]:
        first = drawn.experience.first if setup["pairs"] else drawn.experience
        state = buffer.set_priorities(state, drawn.indices, jnp.abs(first["reward"]) + 0.01)
        return state, (drawn.experience, drawn.probabilities)
    return state, drawn.experience


replay_loop.measure(buffer.init(item), iterate, setup)
