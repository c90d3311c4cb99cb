"""Batches read from a replay at sample indices: single steps, n-step transitions, sequences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from purerl.data import ring as rings
from purerl.data.replay import SampleIndices
from purerl.types import PyTree, Scalar


class NStepTransition(struct.PyTreeNode):
    """n-step transitions, for a target ``reward + discount * value(next_obs)``."""

    obs: PyTree  # [M, ...] where the first action was taken
    action: PyTree  # [M, ...] the first one
    reward: jax.Array  # [M] discounted sum
    discount: jax.Array  # [M] of the value of next_obs; 0 where it is terminal
    next_obs: PyTree  # [M, ...] of the last step, before any reset


def first_steps(ring: rings.Ring, indices: SampleIndices, of: Callable[[PyTree], PyTree] = rings.whole) -> PyTree:
    """Sampled steps, or a part of each, ``[M, ...]``."""
    return rings.read(ring, indices.row, indices.env, of)


def n_step_transitions(ring: rings.Ring, indices: SampleIndices, n: int, gamma: Scalar) -> NStepTransition:
    """n-step transitions: fewer steps where the episode terminates, is truncated, or reaches the newest step.

    ``R = sum_{k<m} gamma^k r_{t+k}``, ``discount = gamma^m (1 - terminated_{t+m-1})``, where ``m`` is n or the number
    of steps to such an end, whichever is smaller

    For m < n that is an m-step target, equally valid: each step's next observation is kept, so any may be the last.

    Args:
        ring: of :class:`~purerl.types.Transition`.
        indices: where to start.
        n: static, at least 1.
        gamma: discount in [0, 1], scalar.

    Returns:
        ``[M]`` transitions.

    Raises:
        ValueError: if ``n < 1``.

    Source: Sutton & Barto 2018, (7.1); Hessel et al. 2018, section 3.
    """
    if n < 1:
        raise ValueError(f"n_step_transitions: n = {n} must be at least 1; n = 1 is the one-step target.")
    steps = jnp.arange(n)[:, None]
    row = indices.row + steps  # [n, M]
    reward, terminated, truncated = rings.read(
        ring, row, indices.env, lambda step: (step.reward, step.terminated, step.truncated)
    )
    ends = (terminated | truncated | rings.is_newest(ring, row)).at[-1].set(True)
    last = jnp.argmax(ends, axis=0)  # [M]
    inside = steps <= last
    gamma = jnp.asarray(gamma, reward.dtype)
    obs, action = rings.read(ring, indices.row, indices.env, lambda step: (step.obs, step.action))
    return NStepTransition(
        obs=obs,
        action=action,
        reward=jnp.sum(jnp.where(inside, gamma**steps * reward, 0), axis=0),
        discount=jnp.where(jnp.any(inside & terminated, axis=0), 0, gamma ** (last + 1)),
        next_obs=rings.read(ring, indices.row + last, indices.env, lambda step: step.next_obs),
    )


def sequences(
    ring: rings.Ring, indices: SampleIndices, length: int, of: Callable[[PyTree], PyTree] = rings.whole
) -> PyTree:
    """Sequences of consecutive steps, or a part of each, ``[length, M, ...]``, across the ends of episodes.

    Never across the newest step, if length is at most that of the replay's config.
    """
    return rings.read(ring, indices.row + jnp.arange(length)[:, None], indices.env, of)
