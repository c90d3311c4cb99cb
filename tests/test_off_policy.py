"""What off-policy learners share: the end of an update, the sizes of a replay, and what fills it."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl import off_policy, rollout
from purerl.algorithms.value.dqn import DQNHypers
from purerl.data.replay import ReplayConfig, uniform
from tests.support.ppo_setup import busy_env


class Targets(struct.PyTreeNode):
    """What an update of the target network needs of a state."""

    params: Any
    target_params: Any
    num_env_steps: Any
    target_clock: Any


@pytest.mark.covers("target-net", "polyak")
def test_target_network_updates():
    """Steps 24 to 114 in threes: a hard copy after updates that cross a multiple, divisible or not, and else no change.

    A Polyak average moves by tau with every update.
    """
    passed, every = np.meshgrid(np.arange(24, 114, 3), [1.0, 7.0, 10.0, 12.5, 1000.0], indexing="ij")
    sizes: dict[str, Any] = {"num_envs": 3, "num_steps": 1}

    def finished(rule, passed, every):
        config: Any = SimpleNamespace(**sizes, target_update=rule)
        hypers = DQNHypers(tau=0.3).replace(target_update_every=every)
        return off_policy.finish_update(config, hypers, Targets(jnp.float32(5.0), jnp.float32(1.0), passed, passed))

    for rule in ("hard", "polyak"):
        state = jax.vmap(lambda *x, rule=rule: finished(rule, *x))(passed.ravel(), every.ravel())
        np.testing.assert_array_equal(state.num_env_steps, passed.ravel() + 3)
        crossed = (passed + 3) // every > passed // every
        assert crossed.sum(axis=0).tolist() == [30, 13, 9, 8, 0]
        expected = np.where(crossed, 5.0, 1.0) if rule == "hard" else 1 + 0.3 * 4
        np.testing.assert_allclose(state.target_params, np.broadcast_to(expected, passed.shape).ravel(), rtol=1e-6)


def test_a_replay_is_filled_by_what_was_played():
    """The behaviour's carry is that of a fresh episode after a reset, its extras are kept with the step, ``info`` is
    not; the replay has these steps and no others, and a batch of them is of neighbours in time."""
    env, key = busy_env(), jax.random.key(1)

    def choose(count: jax.Array, obs: jax.Array, chance: jax.Array) -> tuple:
        return count + 1, (chance * 3).astype(jnp.int32), count

    envs = rollout.reset(env, key, 2, jnp.int32(0))
    inputs = jnp.linspace(0, 0.99, 12).reshape(6, 2)
    envs, played, _ = off_policy.play(env, choose, envs, inputs, jax.random.key(2), 6, jnp.int32(0))
    ended = np.asarray(played.terminated | played.truncated)
    age = np.zeros((7, 2), int)
    for t in range(6):
        age[t + 1] = np.where(ended[t], 0, age[t] + 1)
    np.testing.assert_array_equal(played.extras, age[:6])
    np.testing.assert_array_equal(envs.carry, age[6])
    np.testing.assert_array_equal(played.action, np.asarray(inputs * 3).astype(int))
    assert ended.any() and played.info == {}
    replay = uniform(ReplayConfig(capacity=12, num_envs=2, batch_size=8))
    state = off_policy.fill(replay, played)
    assert state.ring.size == 6
    indices, batch = off_policy.draw(replay, state, jax.random.key(3), 1, 0.5)
    for i, (row, column) in enumerate(zip(indices.row, indices.env, strict=True)):
        np.testing.assert_array_equal(batch.next_obs[i], played.next_obs[row, column])
        assert batch.discount[i] == (0 if played.terminated[row, column] else 0.5)


def test_sizes_that_do_not_fit_are_refused():
    """A warm-up that is no multiple of the environments, and a replay that does not hold it; in both numbers."""
    sizes: dict[str, Any] = {"num_envs": 3, "num_steps": 2, "batch_size": 7, "num_warmup_steps": 6}
    off_policy.check_replay_sizes(SimpleNamespace(**sizes, replay_capacity=9))
    with pytest.raises(ValueError, match=r"must hold the warm-up.*: at least 9 are needed"):
        off_policy.check_replay_sizes(SimpleNamespace(**sizes, replay_capacity=6))
    with pytest.raises(ValueError, match="num_warmup_steps = 7 is not a positive multiple of num_envs = 3"):
        off_policy.check_replay_sizes(SimpleNamespace(**sizes | {"num_warmup_steps": 7}, replay_capacity=9))
