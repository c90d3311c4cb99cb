"""Episodes in arrays of a fixed length, for the prediction of state values: sampled, or from lists."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.kernels import exploration
from purerl.kernels.numerics import safe_divide
from purerl.mdp import MDP

_ROW_TOLERANCE = 1e-5  # by which the probabilities of a policy may miss 1


class Episode(struct.PyTreeNode):
    """One episode, or many along leading axes, in arrays of a fixed length T. Entries beyond the length are ignored.

    ``reward[t]`` belongs to ``action[t]``, on the way from ``state[t]`` to ``state[t + 1]``.
    """

    state: jax.Array  # [T + 1] int
    action: jax.Array  # [T] int
    reward: jax.Array  # [T]
    length: jax.Array  # [] int, number of steps, at most T
    terminated: jax.Array  # [] bool: it ended by itself; otherwise it was truncated


def sample_episodes(mdp: MDP, policy: jax.Array, key: jax.Array, num_episodes: int, max_steps: int) -> Episode:
    """Sample episodes of a policy in a known process.

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        key: typed key; all randomness is drawn in one call.
        num_episodes: E, at least 1.
        max_steps: T, at least 1; longer episodes are truncated.

    Returns:
        Episodes, leaves ``[E, ...]``.

    Raises:
        ValueError: naming the number, or the row of the policy, that is wrong.
    """
    for name, number in (("num_episodes", num_episodes), ("max_steps", max_steps)):
        if number < 1:
            raise ValueError(f"sample_episodes: {name}={number} must be at least 1.")
    _check_policy(mdp, policy)
    uniform = jax.random.uniform(key, (num_episodes, 2 * max_steps + 1), mdp.start.dtype)

    def one(uniform: jax.Array) -> Episode:
        def step(state: jax.Array, uniform: jax.Array) -> tuple[jax.Array, tuple]:
            action = exploration.sample(policy[state], uniform[0])
            after = exploration.sample(mdp.transition[state, action], uniform[1])
            return after, (after, action, mdp.reward[state, action, after])

        first = exploration.sample(mdp.start, uniform[0])
        _, (after, action, reward) = jax.lax.scan(step, first, uniform[1:].reshape(max_steps, 2))
        # Terminal states absorb, so that the length is the number of steps out of others.
        state = jnp.append(first, after)
        length = jnp.sum(~mdp.terminal[state[:-1]], dtype=jnp.int32)
        return Episode(state, action, reward, length, mdp.terminal[state[-1]])

    return jax.vmap(one)(uniform)


def make_episode(
    state: Any, reward: Any, *, action: Any = None, terminated: bool = True, max_steps: int | None = None
) -> Episode:
    """Make an episode from lists, padded to a fixed length.

    Args:
        state: ``[length + 1]`` int, the last being where it ended.
        reward: ``[length]``, at least one.
        action: ``[length]`` int; zeros where None. Only importance ratios ask for them.
        terminated: whether it ended by itself; the value of the last state is 0 then.
        max_steps: T, at least the length, which it is where None.

    Raises:
        ValueError: if the lengths do not fit each other.
    """
    length = len(reward)
    action = np.zeros(length, int) if action is None else action
    if not len(state) - 1 == len(action) == length > 0:
        raise ValueError(
            f"make_episode: {len(state)} states, {len(action)} actions and {length} rewards; an episode of N steps has "
            "N + 1, N and N, with N at least 1."
        )
    max_steps = length if max_steps is None else max_steps
    if max_steps < length:
        raise ValueError(f"make_episode: the episode has {length} steps; max_steps={max_steps} must be at least that.")

    def padded(x: Any, dtype: type) -> jax.Array:
        return jnp.asarray(np.pad(np.asarray(x), (0, max_steps - length)), dtype)

    return Episode(
        padded(state, int), padded(action, int), padded(reward, float), jnp.asarray(length), jnp.asarray(terminated)
    )


def importance_ratios(episode: Episode, target: jax.Array, behaviour: jax.Array) -> jax.Array:
    """Importance sampling ratios ``rho_t = pi(a_t | s_t) / mu(a_t | s_t)``, 1 beyond the end.

    Args:
        episode: drawn by the behaviour policy.
        target: pi, ``[S, A]``.
        behaviour: mu, ``[S, A]``, positive wherever pi is.

    Returns:
        ``[T]``.

    Source: Sutton & Barto 2018, (5.3).
    """
    state = episode.state[:-1]
    ratio = safe_divide(target[state, episode.action], behaviour[state, episode.action])
    return jnp.where(time_steps(episode) < episode.length, ratio, 1.0)


def time_steps(episode: Episode) -> jax.Array:
    """``0 .. T - 1``."""
    return jnp.arange(episode.reward.shape[-1])


def endings(episode: Episode) -> tuple[jax.Array, jax.Array]:
    """``(terminated [T], truncated [T])``: whether the step was the last, by kind."""
    last = time_steps(episode) == episode.length - 1
    return last & episode.terminated, last & ~episode.terminated


def _check_policy(mdp: MDP, policy: jax.Array) -> None:
    """A table of distributions, one for each state; of a traced table the shape alone is checked."""
    shape = mdp.transition.shape[:2]
    if jnp.shape(policy) != shape:
        raise ValueError(f"policy has the shape {jnp.shape(policy)}; this process needs [S, A] = {shape}.")
    if isinstance(policy, jax.core.Tracer):
        return
    rows = np.asarray(policy, np.float64)
    bad = ~((rows >= 0).all(-1) & (np.abs(rows.sum(-1) - 1) <= _ROW_TOLERANCE))
    if bad.any():
        state = np.argmax(bad)
        raise ValueError(f"policy[{state}] = {rows[state].tolist()}; each row must be a distribution.")
