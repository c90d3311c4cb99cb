"""purerl's replay in the loop of ``replay_loop``."""

import jax
import jax.numpy as jnp

from benchmarks.peers import replay_loop
from purerl.data.prioritized import proportional
from purerl.data.replay import ReplayConfig, uniform
from purerl.data.transitions import first_steps, sequences

setup = replay_loop.setup()
length = 2 if setup["pairs"] else 1
config = ReplayConfig(capacity=setup["capacity"], num_envs=setup["add"], batch_size=setup["sample"], length=length)
item = replay_loop.STEP if setup["pairs"] else replay_loop.TRANSITION
rollout = jax.tree.map(lambda x: x[None], replay_loop.steps(item, setup["add"]))
replay = (proportional if setup["prioritized"] else uniform)(config)


def iterate(state, key: jax.Array):
    state = replay.add(state, rollout)
    indices = replay.sample(state, key, 0.5)
    items = sequences(state.ring, indices, length) if setup["pairs"] else first_steps(state.ring, indices)
    reward = items["reward"][0] if setup["pairs"] else items["reward"]
    state = replay.update_priorities(state, indices, jnp.abs(reward) + 0.01)
    return state, (items, indices.weight if setup["prioritized"] else ())


replay_loop.measure(replay.init(item), iterate, setup)
