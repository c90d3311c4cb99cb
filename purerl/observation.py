"""How an observation meets a network: the one place that decides it, for every learner and for ``check_env``.

| observation space | what the network gets |
|---|---|
| ``Box`` of floats, integers, bools | the numbers as they are, in float32 |
| ``Box`` of uint8, such as an image | scaled to [0, 1] by the bounds, ``(x - low) / (high - low)`` |
| ``Discrete``, ``MultiDiscrete`` | one-hot, ``[n]``, one after the other |
| ``Dict``, ``Tuple`` | their parts so encoded, one after the other (names in order); images in front of a convolution |
| ``MaskedSpace`` | its observation; :func:`legal` has the rest, which policies and values are masked by |
| ``Text`` | refused: algorithms for language models read it, or apply :func:`purerl.envs.token_by_token` |

A replay keeps observations as they came, an image in its bytes and an integer as one: networks encode what they read.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.spaces import Box, Dict, Discrete, Masked, MaskedSpace, MultiDiscrete, Space, Text, Tuple, no_array, tree
from purerl.types import PyTree


def as_it_is(obs: jax.Array) -> jax.Array:
    """The observation itself: what a network that is given no encoding does."""
    return obs


def legal(obs: PyTree) -> jax.Array | None:
    """Which actions are legal where this was observed, ``[..., A]`` bool; None where that is not said."""
    return obs.legal if isinstance(obs, Masked) else None


def num_rows(obs: PyTree) -> int:
    """Length of the first axis of observations, M."""
    return jax.tree.leaves(obs)[0].shape[0]


def zeros(space: Space, shape: tuple[int, ...] = ()) -> PyTree:
    """Observations of zeros, with leading axes ``shape``: what networks are made for."""
    return jax.tree.map(lambda part: jnp.zeros((*shape, *part.shape), part.dtype), tree(space))


def encoding(space: Space) -> tuple[tuple[int, ...], Callable[[PyTree], jax.Array]]:
    """Shape in which a network sees an observation, and the function that brings observations there.

    Args:
        space: of observations.

    Returns:
        ``(shape, encode)``, with ``encode: [..., *space.shape] -> [..., *shape]``. Of a box that is not of uint8 the
        observation itself; of a container the vector of all its parts.

    Raises:
        ValueError: for text, or what is no space; with the remedy.
    """
    if isinstance(space, Text):
        no_array(space)
    if isinstance(space, MaskedSpace):
        shape, encode = encoding(space.space)
        return shape, lambda obs: encode(obs.obs)
    if isinstance(space, Dict | Tuple):
        known = parts(space)
        return (sum(math.prod(shape) for shape, _ in known),), lambda obs: _vector(known, obs)
    if isinstance(space, Discrete):
        return (space.n,), lambda obs: jax.nn.one_hot(obs, space.n, dtype=jnp.float32)
    if isinstance(space, MultiDiscrete):
        return (sum(space.nvec),), lambda obs: _one_hots(space, obs)
    if not isinstance(space, Box):
        raise ValueError(f"an observation_space is one of purerl.spaces, but this is {space!r}.")
    return tuple(space.shape), (lambda obs: _scaled(space, obs)) if np.dtype(space.dtype) == np.uint8 else as_it_is


def parts(space: Space) -> list[tuple[tuple[int, ...], Callable[[PyTree], jax.Array]]]:
    """Encodings, as of :func:`encoding`, of each of the arrays in an observation, all of them functions of the whole.

    Raises:
        ValueError: as :func:`encoding`.
    """
    if isinstance(space, MaskedSpace):
        return [(shape, _after(lambda obs: obs.obs, encode)) for shape, encode in parts(space.space)]
    if not isinstance(space, Dict | Tuple):
        return [encoding(space)]
    inner: Any = space.spaces if isinstance(space, Dict) else dict(enumerate(space.spaces))
    return [
        (shape, _after(operator.itemgetter(name), encode))
        for name in sorted(inner)
        for shape, encode in parts(inner[name])
    ]


def encoded(space: Space) -> Box:
    """The box in which a network sees an observation, of one array.

    Raises:
        ValueError: as :func:`encoding`.
    """
    shape, encode = encoding(space)
    if isinstance(space, Box) and encode is as_it_is:
        return space
    return Box(0.0, 1.0, shape)


def flattened(space: Space) -> tuple[Box, Callable[[PyTree], jax.Array]]:
    """The vector that :func:`purerl.envs.flatten_observation` makes of any observation: parts one after the other.

    A box alone keeps its numbers and dtype. Otherwise every part is encoded, and the vector is of float32.
    """
    if isinstance(space, Dict | Tuple):
        inner = [space.spaces[name] for name in sorted(space.spaces)] if isinstance(space, Dict) else space.spaces
        boxes = [_flat_part(part)[0] for part in inner]
        low, high = (np.concatenate([getattr(box, bound) for box in boxes]) for bound in ("low", "high"))
        return Box(low, high, low.shape), encoding(space)[1]
    if not isinstance(space, Box):
        return _flat_part(space)
    low, high = (x if np.ndim(x) == 0 else np.broadcast_to(x, space.shape).ravel() for x in (space.low, space.high))
    return Box(low, high, (int(np.prod(space.shape)),), space.dtype), jnp.ravel


def _flat_part(space: Space) -> tuple[Box, Callable[[PyTree], jax.Array]]:
    """The same of a part, always encoded, with bounds ``[D]``."""
    if isinstance(space, Dict | Tuple):
        return flattened(space)
    _, encode = encoding(space)
    low, high = (x.ravel().astype(np.float32) for x in encoded(space).bounds())
    return Box(low, high, low.shape), lambda obs: jnp.ravel(encode(obs)).astype(jnp.float32)


def _vector(known: list[tuple[tuple[int, ...], Callable]], obs: PyTree) -> jax.Array:
    """All parts of an observation in one vector ``[..., D]``, in float32."""
    vectors = [x.reshape(*x.shape[: x.ndim - len(shape)], -1) for shape, encode in known for x in (encode(obs),)]
    return jnp.concatenate([x.astype(jnp.float32) for x in vectors], axis=-1)


def _after(first: Callable, then: Callable) -> Callable:
    return lambda obs: then(first(obs))


def _one_hots(space: MultiDiscrete, obs: jax.Array) -> jax.Array:
    each = [jax.nn.one_hot(obs[..., k], n, dtype=jnp.float32) for k, n in enumerate(space.nvec)]
    return jnp.concatenate(each, axis=-1)


def _scaled(space: Box, obs: jax.Array) -> jax.Array:
    low, high = (x.astype(np.float32) for x in space.bounds())
    start: Any = low
    scale: Any = (1 / np.maximum(high - low, 1)).astype(np.float32)
    # One number for all entries where they have one range: an array would be a constant as large as an image.
    start, scale = (x.flat[0] if np.all(x == x.flat[:1]) else x for x in (start, scale))
    return (obs.astype(jnp.float32) - start) * scale
