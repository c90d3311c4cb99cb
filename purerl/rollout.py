"""The scans over ``env.step``: rollouts for learning, complete episodes for evaluation.

Automatic reset happens here, not in the environments, which buys two things. The observation before a reset is
never lost (``Transition.next_obs``), so truncation can bootstrap. And the keys of a whole rollout are drawn in one
call, instead of being split in every step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import AxisType, PartitionSpec

from purerl.envs.base import Environment
from purerl.envs.wrappers import episode_statistics
from purerl.kernels.recurrence import forward_linear_recurrence
from purerl.types import ENVS, Episodes, Mean, PyTree, Transition

# Resets whose state and observation are at most this large are computed for all steps before the loop, larger
# ones inside it: writing and slicing them would cost more than it saves (benchmarks/env.py shows both sides).
_SMALL_RESET_BYTES = 256


class Envs(struct.PyTreeNode):
    """A batch of running environments: what a rollout starts from and leaves behind."""

    obs: PyTree  # [B, ...]
    state: PyTree  # [B, ...]
    episode_return: jax.Array  # [B] undiscounted, of the episode so far
    episode_length: jax.Array  # [B]


def reset(env: Environment, key: jax.Array, num_envs: int) -> Envs:
    """Start ``num_envs`` environments."""
    obs, state = jax.vmap(env.reset)(split(jax.random.split(key, num_envs)))
    nothing = jnp.zeros(num_envs)
    return split(Envs(obs=obs, state=state, episode_return=nothing, episode_length=nothing))


def rollout(
    env: Environment, policy: Callable, envs: Envs, key: jax.Array, policy_inputs: PyTree, num_steps: int
) -> tuple[Envs, Transition, dict[str, Mean]]:
    """Step a batch of environments ``num_steps`` times, resetting each one whose episode ends.

    Args:
        env: the environment.
        policy: ``(obs [B, ...], policy_input) -> action [B, ...]``.
        envs: where to start, from :func:`reset` or the last rollout.
        key: randomness of the environments.
        policy_inputs: randomness of the policy, drawn in one call: leaves ``[T, ...]``, one slice a step.
        num_steps: T.

    Returns:
        The environments afterwards, the transitions ``[T, B, ...]``, and the metrics ``episode_return`` and
        ``episode_length``: means over the episodes that ended, with their count.
    """
    num_envs = envs.episode_return.shape[0]
    step_key, reset_key = jax.random.split(key)
    step_keys = split(jax.random.split(step_key, (num_steps, num_envs)), axis=1)
    resets = split(jax.random.split(reset_key, (num_steps, num_envs)), axis=1)
    fresh_starts = jax.vmap(env.reset)
    if _reset_bytes(env) <= _SMALL_RESET_BYTES:
        resets, fresh_starts = jax.vmap(fresh_starts)(resets), lambda starts: starts

    def step(now, inputs):
        obs, state = now
        policy_input, step_keys, resets = inputs
        action = policy(obs, policy_input)
        next_obs, state, reward, terminated, truncated, info = jax.vmap(env.step)(step_keys, state, action)
        after = _where(terminated | truncated, fresh_starts(resets), (next_obs, state))
        return split(after), Transition(
            obs=obs,
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            next_obs=next_obs,
            info=info,
        )

    inputs = (policy_inputs, step_keys, resets)
    (obs, state), transitions = jax.lax.scan(step, split((envs.obs, envs.state)), inputs, length=num_steps)
    transitions = split(transitions, axis=1)
    totals, metrics = _episode_statistics(envs, transitions)
    return Envs(obs, state, *totals), transitions, metrics


def split(batch: PyTree, axis: int = 0) -> PyTree:
    """Spread a batch over the devices along the axis ``envs`` of the mesh that the program runs on, if it has one.

    Only says where arrays lie, never what is computed. Every device then steps its part of the environments, and of a
    minibatch it has its part of the gradient; XLA adds the parts up.

    Args:
        batch: arrays that have the axis.
        axis: which one to split.

    Raises:
        ValueError: if it is not a multiple of the devices.
    """
    mesh = jax.sharding.get_abstract_mesh()
    num_devices = mesh.shape[ENVS] if (ENVS, AxisType.Auto) in zip(mesh.axis_names, mesh.axis_types, strict=True) else 1
    if num_devices == 1:
        return batch
    spec = PartitionSpec(*[None] * axis, ENVS)

    def spread(leaf: jax.Array) -> jax.Array:
        if leaf.shape[axis] % num_devices:
            raise ValueError(
                f"A batch of {leaf.shape[axis]} does not divide over the {num_devices} devices of the mesh's axis "
                f"{ENVS}: make num_envs, and the size of a minibatch, multiples of {num_devices}."
            )
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map(spread, batch)


def _episode_statistics(envs: Envs, transitions: Transition) -> tuple[tuple[jax.Array, jax.Array], dict[str, Mean]]:
    """Returns and lengths of the episodes, those still running ``[B]`` and the mean over those that ended.

    Computed after the rollout, ``x_t = now_t + (1 - ended_{t-1}) x_{t-1}``, so that its loop does not pay for it.
    """
    ended = transitions.terminated | transitions.truncated  # [T, B]
    began = jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])
    now = jnp.stack([transitions.reward, jnp.ones_like(transitions.reward)])  # [2, T, B]
    before = jnp.stack([envs.episode_return, envs.episode_length])  # [2, B]
    running = forward_linear_recurrence(
        jnp.where(began, 0.0, 1.0)[:, None], jnp.moveaxis(now, 0, 1), before
    )  # [T, 2, B]
    totals = jnp.where(ended[-1], 0.0, running[-1])
    finished = jnp.sum(jnp.where(ended[:, None], running, 0.0), axis=(0, 2))
    count = jnp.sum(ended, dtype=jnp.float32)
    names = ("episode_return", "episode_length")
    return (totals[0], totals[1]), {name: Mean(total, count) for name, total in zip(names, finished, strict=True)}


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


def evaluation(env: Environment, act: Callable) -> Callable:
    """``Spec.evaluate`` of an agent that acts on observations alone, from its ``act`` over a batch of them."""

    def evaluate(hypers: PyTree, state: PyTree, key: jax.Array, num_episodes: int, sample: bool = False) -> Episodes:
        def follow(memory: PyTree, obs: jax.Array, key: jax.Array) -> tuple[PyTree, jax.Array]:
            return memory, act(hypers, state, obs, key, sample)

        return episodes(env, follow, key, num_episodes)

    return evaluate


def _where(flag: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """Leaf by leaf, ``yes`` where the flag ``[B]`` is set, else ``no``."""
    return jax.tree.map(lambda y, n: jnp.where(flag.reshape(flag.shape + (1,) * (n.ndim - 1)), y, n), yes, no)


def _reset_bytes(env: Environment) -> int:
    shapes = jax.eval_shape(env.reset, jax.random.key(0))
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
