"""The only scan over ``env.step``: rollouts for learning, complete episodes for evaluation.

Automatic reset happens here, not in the environments, which buys two things. The observation before a reset is
never lost (``Transition.next_obs``), so truncation can bootstrap. And the keys of a whole rollout are drawn in one
call, instead of being split in every step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.envs.base import Environment
from purerl.envs.wrappers import episode_statistics
from purerl.types import Episodes, Mean, PyTree, Transition

# Resets whose state and observation are at most this large are computed for all steps before the loop, larger
# ones inside it: writing and slicing them would cost more than it saves (benchmarks/env.py shows both sides).
_SMALL_RESET_BYTES = 256


class Envs(struct.PyTreeNode):
    """A batch of running environments: what a rollout starts from and leaves behind."""

    obs: PyTree  # [B, ...]
    state: PyTree  # [B, ...]


def reset(env: Environment, key: jax.Array, num_envs: int) -> Envs:
    """Start ``num_envs`` environments."""
    env = episode_statistics(env)
    obs, state = jax.vmap(env.reset)(jax.random.split(key, num_envs))
    return Envs(obs=obs, state=state)


def rollout(
    env: Environment, policy: Callable, envs: Envs, key: jax.Array, policy_inputs: PyTree, num_steps: int
) -> tuple[Envs, Transition]:
    """Step a batch of environments ``num_steps`` times, resetting each one whose episode ends.

    Args:
        env: the environment.
        policy: ``(obs [B, ...], policy_input) -> action [B, ...]``.
        envs: where to start, from :func:`reset` or the last rollout.
        key: randomness of the environments.
        policy_inputs: randomness of the policy, drawn in one call: leaves ``[T, ...]``, one slice a step.
        num_steps: T.

    Returns:
        The environments afterwards, and the transitions ``[T, B, ...]``. ``info`` holds ``episode_return`` and
        ``episode_length``, which are those of the whole episode wherever it ended.
    """
    env = episode_statistics(env)
    num_envs = jax.tree.leaves(envs.obs)[0].shape[0]
    step_key, reset_key = jax.random.split(key)
    step_keys = jax.random.split(step_key, (num_steps, num_envs))
    resets = jax.random.split(reset_key, (num_steps, num_envs))
    fresh_starts = jax.vmap(env.reset)
    if _reset_bytes(env) <= _SMALL_RESET_BYTES:
        resets, fresh_starts = jax.vmap(fresh_starts)(resets), lambda starts: starts

    def step(envs: Envs, inputs):
        policy_input, step_keys, resets = inputs
        action = policy(envs.obs, policy_input)
        next_obs, state, reward, terminated, truncated, info = jax.vmap(env.step)(step_keys, envs.state, action)
        transition = Transition(
            obs=envs.obs,
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            next_obs=next_obs,
            info=info,
        )
        obs, state = _where(terminated | truncated, fresh_starts(resets), (next_obs, state))
        return Envs(obs=obs, state=state), transition

    return jax.lax.scan(step, envs, (policy_inputs, step_keys, resets), length=num_steps)


def episode_metrics(transitions: Transition) -> dict[str, Mean]:
    """Mean return and length over the episodes that ended in a rollout, with their count."""
    ended = transitions.terminated | transitions.truncated
    count = jnp.sum(ended, dtype=jnp.float32)
    return {
        name: Mean(jnp.sum(jnp.where(ended, transitions.info[name], 0), dtype=jnp.float32), count)
        for name in ("episode_return", "episode_length")
    }


def episodes(
    env: Environment,
    policy: Callable,
    key: jax.Array,
    num_episodes: int,
    memory: PyTree = (),
    max_steps: int = 100_000,
) -> Episodes:
    """Play ``num_episodes`` complete episodes, each in a fresh environment, all at once.

    Args:
        env: the environment.
        policy: ``(memory, obs [N, ...], key) -> (memory, action [N, ...])``.
        key: randomness of the environments and the policy.
        num_episodes: N.
        memory: the policy's memory at the start of an episode, ``[N, ...]``; nothing for memoryless policies.
        max_steps: an episode still going on after so many steps counts as it stands. A guard against
            environments that never end.

    Returns:
        Undiscounted returns and lengths, ``[N]``.
    """
    env = episode_statistics(env)
    reset_key, key = jax.random.split(key)
    obs, state = jax.vmap(env.reset)(jax.random.split(reset_key, num_episodes))
    result = Episodes(returns=jnp.zeros(num_episodes), lengths=jnp.zeros(num_episodes, jnp.int32))
    running = jnp.ones(num_episodes, bool)

    def unfinished(carry):
        t, _, _, _, running, _ = carry
        return jnp.any(running) & (t < max_steps)

    def step(carry):
        t, memory, obs, state, running, result = carry
        policy_key, step_key = jax.random.split(jax.random.fold_in(key, t))
        memory, action = policy(memory, obs, policy_key)
        step_keys = jax.random.split(step_key, num_episodes)
        obs, state, _, terminated, truncated, info = jax.vmap(env.step)(step_keys, state, action)
        now = Episodes(returns=info["episode_return"], lengths=info["episode_length"])
        return t + 1, memory, obs, state, running & ~(terminated | truncated), _where(running, now, result)

    return jax.lax.while_loop(unfinished, step, (0, memory, obs, state, running, result))[-1]


def _where(flag: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """Leaf by leaf, ``yes`` where the flag ``[B]`` is set, else ``no``."""
    return jax.tree.map(lambda y, n: jnp.where(flag.reshape(flag.shape + (1,) * (n.ndim - 1)), y, n), yes, no)


def _reset_bytes(env: Environment) -> int:
    shapes = jax.eval_shape(env.reset, jax.random.key(0))
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
