"""Names that every part of purerl shares: axis letters, aliases and a few small records.

Axis letters, used in every shape comment and docstring:

    T time    B batch (environments)    A actions or action dimensions    N nodes
    S seeds   P points of a sweep       V vocabulary                      ... any further axes
    I agents of a team (in games with hidden cards: information sets)
    M trials of a run (P times S); in a gradient step, a minibatch

Arrays of a rollout are time-major, ``[T, B, ...]``.
"""

from typing import Any, NamedTuple

import jax
from flax import struct

PyTree = Any
Scalar = jax.Array | float
Metrics = dict[str, Any]  # name -> scalar array, or Mean where the scalar is an average
ENVS = "envs"  # axis of a mesh of devices over which B is split: the driver makes it, rollouts heed it


class Mean(NamedTuple):
    """An average that is not finished yet: ``total / number``, with ``number == 0`` meaning "no data".

    Episodes end when they end, so the number of finished episodes differs from update to update. Carrying
    the sum and the number lets the driver pool any number of updates, weigh each episode once, and leave a
    gap in the log where nothing finished, instead of a placeholder.
    """

    total: jax.Array  # []
    number: jax.Array  # []


class Seen(NamedTuple):
    """What a policy sees of a batch of environments before it acts."""

    obs: PyTree  # [B, ...]
    env_state: PyTree = ()  # [B, ...] for planners, which search from it, and for the legal moves of a game


class Transition(struct.PyTreeNode):
    """One environment step, or a whole rollout of them (then every field has leading axes ``[T, B]``).

    ``next_obs`` is what the step led to *before* any automatic reset: it is the observation to bootstrap
    from, also on the last step of an episode. ``terminated`` ends the return, ``truncated`` only cuts the
    episode short, and the two are never merged.
    """

    obs: PyTree  # [T, B, ...]
    action: PyTree  # [T, B, ...]
    reward: jax.Array  # [T, B]
    terminated: jax.Array  # [T, B] bool
    truncated: jax.Array  # [T, B] bool
    next_obs: PyTree  # [T, B, ...]
    info: dict[str, jax.Array]  # [T, B, ...]
    extras: PyTree = ()  # [T, B, ...] what the policy wants remembered: log-probabilities, carries, search policies


class Episodes(struct.PyTreeNode):
    """Complete episodes, as evaluation returns them. Leading axis: episode."""

    returns: jax.Array  # [N] undiscounted sum of rewards
    lengths: jax.Array  # [N] number of steps
    cut: jax.Array | None = None  # [N] bool, stopped by a guard before its end; None where nothing is
    solved: jax.Array | None = None  # [N] bool, reached their goal; None where that is no question of yes or no
    shown: PyTree = None  # [K, ...] a few of them as they were played, for the words of a ``Spec``; None: nothing

    @property
    def num_cut(self) -> jax.Array | None:
        """How many were cut, ``[]``; with further leading axes one number each, as for the trials of a run."""
        return None if self.cut is None else self.cut.sum(axis=-1)
