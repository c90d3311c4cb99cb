"""What SAC and TD3 have seen: the first steps of a run, the noise that episodes begin with, and batches of a replay."""

from typing import Any

import jax
import jax.numpy as jnp

from purerl import off_policy, rollout
from purerl.data.replay import Replay, ReplayConfig, uniform
from purerl.data.transitions import NStepTransition
from purerl.envs.base import Environment
from purerl.sharding import shard
from purerl.spaces import Box, Discrete
from purerl.types import Metrics, PyTree, Transition


def quiet(env: Environment) -> PyTree:
    """The noise that an episode begins with, 0 on each axis ``[A]``; nothing where actions are discrete."""
    return jnp.zeros(env.action_space.shape, jnp.float32) if isinstance(env.action_space, Box) else ()


def warm_up(
    env: Environment, config: Any, envs: rollout.Envs, key: jax.Array
) -> tuple[rollout.Envs, Transition, Metrics]:
    """Play uniform actions, whatever is seen: numbers in [-1, 1], or one of a few."""
    action_key, env_key = jax.random.split(key)
    num_steps, space = config.num_warmup_steps // config.num_envs, env.action_space
    shape = (num_steps, config.num_envs, *space.shape)
    if isinstance(space, Discrete):
        actions = jax.random.randint(action_key, shape, 0, space.n, jnp.int32)
    else:
        actions = jax.random.uniform(action_key, shape, jnp.float32, minval=-1.0, maxval=1.0)
    return off_policy.play(
        env, lambda noise, obs, action: (noise, action, ()), envs, actions, env_key, num_steps, quiet(env)
    )


def make_replay(config: Any) -> Replay:
    """The replay that a config means, of :class:`~purerl.types.Transition` with actions in [-1, 1]."""
    return uniform(
        ReplayConfig(capacity=config.replay_capacity, num_envs=config.num_envs, batch_size=config.batch_size)
    )


def draw(config: Any, replay: Replay, hypers: PyTree, state: PyTree, key: jax.Array) -> NStepTransition:
    """A batch from the replay."""
    return shard(off_policy.draw(replay, state.replay, key, config.n_step, hypers.gamma)[1])
