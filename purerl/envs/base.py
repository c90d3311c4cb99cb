"""The environment protocol: five attributes, two of them pure functions.

Anything that has these attributes is an environment, whatever its type; :class:`Environment` is the plain
record that our own environments and adapters return. Nothing here is batched: ``vmap`` does that.

Automatic reset is *not* an environment's business. :mod:`purerl.rollout` resets, so that it can draw a whole
rollout's resets in one call, and so that the observation before a reset is never lost.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.recipes import Recipe
from purerl.spaces import Space


class Environment(NamedTuple):
    """A Markov decision process as pure functions.

    Attributes:
        name: for titles and messages.
        reset: ``(key) -> (obs, state)``, the start of an episode.
        step: ``(key, state, action) -> (obs, state, reward, terminated, truncated, info)``.
            ``obs`` is what the step led to. ``reward`` is a float scalar. ``terminated`` (bool): the process
            ended, no reward follows. ``truncated`` (bool): the episode was cut short (a time limit), though the process
            would have gone on. ``info``: a dict of arrays, the same keys at every step, often empty.
        observation_space: what ``obs`` may be.
        action_space: what ``action`` may be.
        recipe: how it was made (:mod:`purerl.recipes`), for the record of a run; not part of the protocol.
    """

    name: str
    reset: Callable
    step: Callable
    observation_space: Space
    action_space: Space
    recipe: Recipe | None = None


def in_32_bits(function: Callable) -> Callable:
    """A function that counts and computes in 32 bits also where JAX does in 64 (``JAX_ENABLE_X64``).

    What environments of other libraries need: they mix the two where both are at hand, and fail.
    """
    narrow = {np.dtype(wide): np.dtype(wide.replace("64", "32")) for wide in ("float64", "int64", "uint64")}

    def narrowed(leaf: Any) -> Any:
        dtype: Any = getattr(leaf, "dtype", None)
        return leaf.astype(narrow[dtype]) if dtype in narrow else leaf

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        args = jax.tree.map(narrowed, args)
        with jax.enable_x64(False):
            return function(*args)

    return wrapped


def in_float(reward: jax.Array) -> jax.Array:
    """A reward as learners read it: floats as they are, integers and bools in float32."""
    return reward if jnp.issubdtype(reward.dtype, jnp.floating) else reward.astype(jnp.float32)
