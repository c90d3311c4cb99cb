"""The scans over ``env.step``: rollouts for learning, complete episodes for evaluation.

Automatic reset happens here, not in the environments, which buys two things. The observation before a reset is
never lost (``Transition.next_obs``), so truncation can bootstrap. And the keys of a whole rollout are drawn in one
call, instead of being split in every step.

Every policy is ``(carry, seen, input) -> (carry, action, extras)``, over a batch of environments. The carry goes from
step to step of an episode, such as the memory of a recurrent agent, and is that of a fresh episode after a reset; a
reactive policy has ``()``. Extras are what the policy wants remembered with the step (``Transition.extras``).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.envs.base import Environment, in_float
from purerl.envs.games import Game
from purerl.envs.wrappers import episode_statistics
from purerl.kernels.recurrence import forward_linear_recurrence
from purerl.sharding import shard
from purerl.types import Episodes, Mean, PyTree, Seen, Transition

# Resets whose state and observation are at most this large are computed for all steps before the loop, larger
# ones inside it: writing and slicing them would cost more than it saves (benchmarks/env.py shows both sides).
_SMALL_RESET_BYTES = 256


class Envs(struct.PyTreeNode):
    """A batch of running environments: what a rollout starts from and leaves behind."""

    obs: PyTree  # [B, ...]
    state: PyTree  # [B, ...]
    episode_return: jax.Array  # [B] undiscounted, of the episode so far
    episode_length: jax.Array  # [B]
    carry: PyTree = ()  # [B, ...] of the policy


def reset(env: Environment | Game, key: jax.Array, num_envs: int, carry: PyTree = ()) -> Envs:
    """Start ``num_envs`` environments.

    Args:
        env: the environment.
        key: typed key.
        num_envs: B.
        carry: what the policy meets a fresh episode with, without an axis of environments.
    """
    obs, state = jax.vmap(env.reset)(shard(jax.random.split(key, num_envs)))
    nothing, carry = jnp.zeros(num_envs, jnp.float32), _repeat(carry, num_envs)
    return shard(Envs(obs=obs, state=state, episode_return=nothing, episode_length=nothing, carry=carry))


def rollout(
    env: Environment | Game,
    policy: Callable,
    envs: Envs,
    key: jax.Array,
    inputs: PyTree,
    num_steps: int,
    carry: PyTree = (),
) -> tuple[Envs, Transition, dict[str, Mean]]:
    """Step a batch of environments ``num_steps`` times, resetting each one whose episode ends.

    Args:
        env: the environment.
        policy: ``(carry [B, ...], seen [B, ...], input) -> (carry, action [B, ...], extras [B, ...])``, where ``seen``
            is a :class:`~purerl.types.Seen`.
        envs: where to start, from :func:`reset` or the last rollout.
        key: randomness of the environments.
        inputs: randomness of the policy, drawn in one call: leaves ``[T, ...]``, one slice a step.
        num_steps: T.
        carry: what the policy meets a fresh episode with, without an axis of environments, as :func:`reset` has it.

    Returns:
        The environments afterwards, the transitions ``[T, B, ...]``, and the metrics ``episode_return`` and
        ``episode_length``: means over the episodes that ended, with their count.
    """
    num_envs = envs.episode_return.shape[0]
    step_key, reset_key = jax.random.split(key)
    step_keys = shard(jax.random.split(step_key, (num_steps, num_envs)), axis=1)
    resets = shard(jax.random.split(reset_key, (num_steps, num_envs)), axis=1)
    fresh_starts = jax.vmap(env.reset)
    if _reset_bytes(env) <= _SMALL_RESET_BYTES:
        resets, fresh_starts = jax.vmap(fresh_starts)(resets), lambda starts: starts
    fresh_carry = _repeat(carry, num_envs)

    def step(now: tuple, inputs: tuple) -> tuple[tuple, Transition]:
        carry, obs, state = now
        policy_input, step_keys, resets = inputs
        carry, action, extras = policy(carry, Seen(obs, state), policy_input)
        next_obs, state, reward, terminated, truncated, info = jax.vmap(env.step)(step_keys, state, action)
        fresh = (fresh_carry, *fresh_starts(resets))
        after = _where(terminated | truncated, fresh, (carry, next_obs, state))
        return shard(after), Transition(
            obs=obs,
            action=action,
            reward=in_float(reward),
            terminated=terminated,
            truncated=truncated,
            next_obs=next_obs,
            info=info,
            extras=extras,
        )

    start = shard((envs.carry, envs.obs, envs.state))
    (carry, obs, state), transitions = jax.lax.scan(step, start, (inputs, step_keys, resets), length=num_steps)
    transitions = shard(transitions, axis=1)
    totals, metrics = _episode_statistics(envs, transitions)
    return Envs(obs, state, *totals, carry), transitions, metrics


def _episode_statistics(envs: Envs, transitions: Transition) -> tuple[tuple[jax.Array, jax.Array], dict[str, Mean]]:
    """Returns and lengths of the episodes, those still running ``[B]`` and the mean over those that ended.

    Computed after the rollout, ``x_t = now_t + (1 - ended_{t-1}) x_{t-1}``, so that its loop does not pay for it. Where
    ``info`` tells them, they are those: a wrapper that saw the true rewards knows better. An episode whose return is
    not finite is left out of the means.
    """
    ended = transitions.terminated | transitions.truncated  # [T, B]
    began = jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])
    before = jnp.stack([envs.episode_return, envs.episode_length])  # [2, B]
    now = jnp.stack([transitions.reward, jnp.ones_like(transitions.reward)]).astype(before.dtype)  # [2, T, B]
    running = forward_linear_recurrence(
        jnp.where(began, 0.0, 1.0)[:, None], jnp.moveaxis(now, 0, 1), before
    )  # [T, 2, B]
    names = ("episode_return", "episode_length")
    known = [transitions.info.get(name, running[:, i]).astype(running.dtype) for i, name in enumerate(names)]
    running = jnp.stack(known, axis=1)
    totals = jnp.where(ended[-1], 0.0, running[-1])
    counted = ended & jnp.isfinite(running[:, 0])
    finished = jnp.sum(jnp.where(counted[:, None], running, 0.0), axis=(0, 2))
    count = jnp.sum(counted, dtype=jnp.float32)
    return (totals[0], totals[1]), {name: Mean(total, count) for name, total in zip(names, finished, strict=True)}


def episodes(
    env: Environment,
    policy: Callable,
    key: jax.Array,
    num_episodes: int,
    carry: PyTree = (),
    max_steps: int = 100_000,
) -> Episodes:
    """Play ``num_episodes`` complete episodes, each in a fresh environment, all at once.

    Args:
        env: the environment.
        policy: as in :func:`rollout`, for N environments; its input is a key.
        key: randomness of the environments and the policy.
        num_episodes: N.
        carry: as in :func:`rollout`.
        max_steps: an episode still going on after so many steps counts as it stands. A guard against
            environments that never end, whose episodes are marked as cut.

    Returns:
        Undiscounted returns, lengths, and which were cut, ``[N]``.
    """
    env = episode_statistics(env, replace=False)
    reset_key, key = jax.random.split(key)
    obs, state = jax.vmap(env.reset)(jax.random.split(reset_key, num_episodes))
    result = Episodes(returns=jnp.zeros(num_episodes), lengths=jnp.zeros(num_episodes, jnp.int32))
    running = jnp.ones(num_episodes, bool)

    def unfinished(now: tuple) -> jax.Array:
        t, _, _, _, running, _ = now
        return jnp.any(running) & (t < max_steps)

    def step(now: tuple) -> tuple:
        t, carry, obs, state, running, result = now
        policy_key, step_key = jax.random.split(jax.random.fold_in(key, t))
        carry, action, _ = policy(carry, Seen(obs, state.env_state), policy_key)
        step_keys = jax.random.split(step_key, num_episodes)
        obs, state, _, terminated, truncated, info = jax.vmap(env.step)(step_keys, state, action)
        played = Episodes(
            returns=jnp.asarray(info["episode_return"], result.returns.dtype),
            lengths=jnp.asarray(info["episode_length"], jnp.int32),
        )
        return t + 1, carry, obs, state, running & ~(terminated | truncated), _where(running, played, result)

    start = (0, _repeat(carry, num_episodes), obs, state, running, result)
    *_, running, result = jax.lax.while_loop(unfinished, step, start)
    return result.replace(cut=running)


def evaluation(env: Environment, start: Callable, act: Callable, max_steps: int = 100_000) -> Callable:
    """``Spec.evaluate`` of an agent in its environment.

    Args:
        env: the environment.
        start: of :class:`~purerl.algorithm.Algorithm`.
        act: likewise.
        max_steps: as in :func:`episodes`.
    """

    def evaluate(hypers: PyTree, state: PyTree, key: jax.Array, num_episodes: int, sample: bool = False) -> Episodes:
        how = {"sample": True} if sample else {}  # an agent that is deployed in one way alone takes no such argument

        def policy(carry: PyTree, seen: Seen, key: jax.Array) -> tuple[PyTree, jax.Array, tuple]:
            return *act(hypers, state, carry, seen, key, **how), ()

        return episodes(env, policy, key, num_episodes, start(), max_steps)

    return evaluate


def _repeat(carry: PyTree, num_envs: int) -> PyTree:
    """A carry for each environment, ``[B, ...]``."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *jnp.shape(x))), carry)


def _where(flag: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """Leaf by leaf, ``yes`` where the flag ``[B]`` is set, else ``no``."""
    return jax.tree.map(lambda y, n: jnp.where(flag.reshape(flag.shape + (1,) * (n.ndim - 1)), y, n), yes, no)


def _reset_bytes(env: Environment | Game) -> int:
    shapes = jax.eval_shape(env.reset, jax.random.key(0))
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
