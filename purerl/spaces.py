"""What an observation or an action may be: a bounded array, one or several of a few integers, text, or a container.

Bounds are compared in the space's own dtype, without overflow, and every draw lies in its space and is finite.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from purerl.types import PyTree


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers ``0 .. n-1``.

    Raises:
        ValueError: if ``n`` is not a positive integer, or ``n-1`` is more than an integer of the dtype holds.
    """

    n: int
    dtype: Any = np.int32

    shape: tuple[int, ...] = dataclasses.field(default=(), init=False)

    def __post_init__(self) -> None:
        _check_choices(f"Discrete(n={self.n!r})", "n", [self.n], self.dtype)

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniform draw, ``[]``."""
        return jax.random.randint(key, (), 0, self.n, self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` (of this space's shape) lies in the space, ``[] bool``; a fraction does not."""
        return _between(x, 0, self.n - 1) & _whole(x)


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Vectors of K integers, the k-th of them one of ``0 .. nvec[k]-1``.

    Raises:
        ValueError: as :class:`Discrete`, for any of them, or where there is none.
    """

    nvec: tuple[int, ...]
    dtype: Any = np.int32

    def __post_init__(self) -> None:
        object.__setattr__(self, "nvec", tuple(self.nvec))
        _check_choices(f"MultiDiscrete(nvec={self.nvec!r})", "each of nvec", self.nvec, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(K,)``."""
        return (len(self.nvec),)

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniform draw, ``[K]``."""
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.nvec, jnp.int32), jnp.int32).astype(self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x [K]`` lies in the space, ``[] bool``; a fraction does not."""
        return jnp.all(_between(x, 0, np.asarray(self.nvec) - 1) & _whole(x))


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of a given shape with every entry in ``[low, high]``; an infinite bound means unbounded.

    Where the dtype is an integer, an entry without a bound goes as far as the dtype does. Of 64 bits the bounds are at
    most 2^62 from 0.

    Raises:
        ValueError: if a bound is NaN, exceeds the other, leaves nothing between, or does not fit shape or dtype.
    """

    low: Any  # scalar, or array that broadcasts to `shape`
    high: Any
    shape: tuple[int, ...]
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        low, high = (np.asarray(bound, np.float64) for bound in (self.low, self.high))
        name, dtype = f"Box(low={self.low!r}, high={self.high!r})", np.dtype(self.dtype)
        if not all(_broadcasts(x.shape, self.shape) for x in (low, high)):
            raise ValueError(f"{name}: a bound is one number, or broadcasts to shape={self.shape}.")
        if np.any(low > high):
            raise ValueError(f"{name}: low exceeds high.")
        if dtype.kind not in "biuf":
            raise ValueError(f"{name}: dtype={dtype} is no number; use a float, an integer or bool.")
        most = np.finfo(_canonical(dtype)).max if dtype.kind == "f" else np.inf
        if np.any(np.isnan(low) | np.isnan(high) | (low > most) | (high < -most) | (low == np.inf) | (high == -np.inf)):
            raise ValueError(
                f"{name}: no finite {dtype} lies between these bounds; use -inf and inf where there is no bound."
            )
        if dtype.kind != "f":
            least, most = _limits(dtype)
            if np.any(np.isfinite(low) & (low < least)) or np.any(np.isfinite(high) & (high > most)):
                raise ValueError(f"{name}: {dtype} holds {least} to {most}; use bounds among these, or a wider dtype.")
            if np.any(np.ceil(low) > np.floor(high)):
                raise ValueError(f"{name}: no {dtype} lies between these bounds.")

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniform draw where both bounds are finite, ``shape``.

        Beyond a lone finite bound it is exponential with mean 1, where there is none a unit normal; rounded towards the
        bound for integers.
        """
        draw = self._sample_float if np.dtype(self.dtype).kind == "f" else self._sample_integer
        return draw(*jax.random.split(key))

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` (of this space's shape) lies in the space, ``[] bool``."""
        return jnp.all(_between(x, *self.bounds()))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value of every entry in the space's dtype, ``shape`` each; of bools as uint8."""
        dtype, low, high = _canonical(self.dtype), np.asarray(self.low), np.asarray(self.high)
        if dtype.kind != "f":
            low, high = _within_limits(low, high, dtype)
            dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, as unbounded
            return tuple(np.broadcast_to(x, self.shape).astype(dtype) for x in (low, high))  # type: ignore[return-value]

    def _sample_float(self, uniform_key: jax.Array, normal_key: jax.Array) -> jax.Array:
        low, high = self.bounds()
        dtype = jnp.promote_types(low.dtype, jnp.float32)
        uniform = jax.random.uniform(uniform_key, self.shape, dtype)
        below, above = np.isfinite(low), np.isfinite(high)
        start, stop = jnp.where(below & above, low, 0), jnp.where(below & above, high, 0)
        draw = interpolate(start, stop, uniform)
        if not np.all(below & above):
            tail, normal = -jnp.log1p(-uniform), jax.random.normal(normal_key, self.shape, dtype)
            start, stop = jnp.where(below, low, 0), jnp.where(above, high, 0)
            draw = jnp.select([below & above, below, above], [draw, start + tail, stop - tail], normal)
        return jnp.clip(draw, low, high).astype(low.dtype)

    def _sample_integer(self, uniform_key: jax.Array, tail_key: jax.Array) -> jax.Array:
        low, high = self.bounds()
        # Differences and sums are modulo 2^32 (2^64), where those of the widest ranges are right as well.
        wide: Any = np.dtype(np.uint64 if low.dtype.itemsize == 8 else np.uint32)
        start, span = low.astype(wide), high.astype(wide) - low.astype(wide)
        whole = span == np.iinfo(wide).max
        (uniform_key, bits_key), (tail_key, normal_key) = jax.random.split(uniform_key), jax.random.split(tail_key)
        offset = jax.random.randint(uniform_key, self.shape, 0, np.where(whole, 1, span + wide.type(1)), wide)
        if np.any(whole):
            offset = jnp.where(whole, jax.random.bits(bits_key, self.shape, wide), offset)
        below, above = (np.broadcast_to(np.isfinite(np.asarray(x)), self.shape) for x in (self.low, self.high))
        if not np.all(below & above):
            tail = jnp.minimum(jnp.floor(-jnp.log1p(-jax.random.uniform(tail_key, self.shape))).astype(wide), span)
            around = jnp.clip(jnp.round(jax.random.normal(normal_key, self.shape)), max(-99, _limits(low.dtype)[0]), 99)
            around = around.astype(jnp.int32).astype(wide) - start
            offset = jnp.select([below & above, below, above], [offset, tail, span - tail], around)
        return jnp.asarray(start + offset).astype(low.dtype).astype(self.dtype)


class Tokens(NamedTuple):
    """A text of an array. The mask says what is padding; an id never does."""

    ids: jax.Array  # [..., L] int32, one of the vocabulary also where there is nothing
    mask: jax.Array  # [..., L] bool


@dataclasses.dataclass(frozen=True)
class Text:
    """Texts of 1 to L tokens of a vocabulary, as :class:`Tokens`: no one array, and nothing for networks of numbers.

    Raises:
        ValueError: if ``length`` or ``vocab_size`` is not a positive integer.
    """

    length: int  # L
    vocab_size: int  # V
    pad_left: bool = False  # as prompts are; otherwise on the right, as answers are

    def __post_init__(self) -> None:
        numbers = [self.length, self.vocab_size]
        _check_choices(f"Text(length={self.length!r}, vocab_size={self.vocab_size!r})", "each", numbers, np.int32)

    def sample(self, key: jax.Array) -> Tokens:
        """A uniform length, and as many uniform tokens."""
        length_key, key = jax.random.split(key)
        mask = jnp.arange(self.length) < jax.random.randint(length_key, (), 1, self.length + 1)
        mask = mask[::-1] if self.pad_left else mask
        ids = jax.random.randint(key, (self.length,), 0, self.vocab_size, jnp.int32)
        return Tokens(jnp.where(mask, ids, 0), mask)

    def contains(self, x: Tokens) -> jax.Array:
        """Whether ``x`` is a text without holes, padded on that side, ``[] bool``."""
        mask = x.mask[::-1] if self.pad_left else x.mask
        inside = _between(x.ids, 0, self.vocab_size - 1) & _whole(x.ids)
        return jnp.all(inside) & mask[0] & jnp.all(mask[:-1] | ~mask[1:])

    @property
    def shape(self) -> NoReturn:
        """It has none."""
        no_array(self)

    dtype = shape


@dataclasses.dataclass(frozen=True)
class Dict:
    """Dictionaries with a value of each of some spaces: no array, but networks see their parts."""

    spaces: Mapping[str, "Space"]

    def sample(self, key: jax.Array) -> dict[str, PyTree]:
        """A draw of each."""
        keys = jax.random.split(key, len(self.spaces))
        return {name: self.spaces[name].sample(k) for name, k in zip(sorted(self.spaces), keys, strict=True)}

    def contains(self, x: Mapping[str, PyTree]) -> jax.Array:
        """Whether ``x`` has these keys and each value lies in its space, ``[] bool``."""
        if set(x) != set(self.spaces):
            return jnp.array(False)
        return jnp.all(jnp.stack([self.spaces[name].contains(x[name]) for name in self.spaces]))

    @property
    def shape(self) -> NoReturn:
        """It has none."""
        no_array(self)

    dtype = shape


@dataclasses.dataclass(frozen=True)
class Tuple:
    """Tuples with a value of each of some spaces: no array, but networks see their parts."""

    spaces: tuple["Space", ...]

    def sample(self, key: jax.Array) -> tuple[PyTree, ...]:
        """A draw of each."""
        keys = jax.random.split(key, len(self.spaces))
        return tuple(space.sample(k) for space, k in zip(self.spaces, keys, strict=True))

    def contains(self, x: tuple[PyTree, ...]) -> jax.Array:
        """Whether ``x`` has as many values and each lies in its space, ``[] bool``."""
        if len(x) != len(self.spaces):
            return jnp.array(False)
        return jnp.all(jnp.stack([space.contains(part) for space, part in zip(self.spaces, x, strict=True)]))

    @property
    def shape(self) -> NoReturn:
        """It has none."""
        no_array(self)

    dtype = shape


class Masked(NamedTuple):
    """An observation, and which actions are legal at it."""

    obs: PyTree
    legal: jax.Array  # [..., A] bool, or [..., K, A] of K integers, padded to the longest; see :func:`entries`


@dataclasses.dataclass(frozen=True)
class MaskedSpace:
    """Observations with the legal actions beside them, as :class:`Masked`. At least one is, of each integer."""

    space: "Space"
    actions: Discrete | MultiDiscrete

    def sample(self, key: jax.Array) -> Masked:
        """A draw of the observation, and of each integer's actions one that is legal and half of the others."""
        obs_key, half_key, one_key = jax.random.split(key, 3)
        exists = entries(self.actions)
        numbers = jax.random.randint(one_key, exists.shape[:-1], 0, exists.sum(axis=-1))
        one = jnp.arange(exists.shape[-1]) == numbers[..., None]
        legal = jnp.asarray(exists) & (one | jax.random.bernoulli(half_key, 0.5, exists.shape))
        return Masked(self.space.sample(obs_key), legal)

    def contains(self, x: Masked) -> jax.Array:
        """Whether the observation lies in its space, and of each integer some action is legal that is one, ``[]``."""
        exists = entries(self.actions)
        some = jnp.all(jnp.any(x.legal & exists, axis=-1)) & ~jnp.any(x.legal & ~exists)
        return self.space.contains(x.obs) & some

    @property
    def shape(self) -> NoReturn:
        """It has none."""
        no_array(self)

    dtype = shape


Space = Discrete | MultiDiscrete | Box | Text | Dict | Tuple | MaskedSpace


def entries(actions: Discrete | MultiDiscrete) -> np.ndarray:
    """Which entries of logits stand for an action: all ``[A]``, or of K integers ``[K, A]``, padded to the longest."""
    if isinstance(actions, Discrete):
        return np.ones(actions.n, bool)
    return np.arange(max(actions.nvec)) < np.asarray(actions.nvec)[:, None]


def no_array(space: Space) -> NoReturn:
    """Refuse text, or a container of spaces, where an array is needed.

    Raises:
        ValueError: always, with the remedy.
    """
    if isinstance(space, Text):
        raise ValueError(
            "Text is no array of numbers: take an algorithm for language models (purerl.algorithms.language), or "
            f"`env = purerl.envs.token_by_token(task)`. The space is {space}."
        )
    if isinstance(space, MaskedSpace):
        raise ValueError(f"an observation with its legal actions is no array, but its part .obs may be: {space}.")
    raise ValueError(
        f"{type(space).__name__} is no array. For observations make one of its parts by "
        f"`env = purerl.envs.flatten_observation(env)`; no learner takes such actions. The space is {space}."
    )


def tree(space: Space) -> PyTree:
    """The array spaces of a space, in the containers that its values have."""
    if isinstance(space, Dict):
        return {name: tree(part) for name, part in space.spaces.items()}
    if isinstance(space, Text):
        ids: Any = Box(0, space.vocab_size - 1, (space.length,), np.int32)
        mask: Any = Box(0, 1, (space.length,), np.bool_)
        return Tokens(ids, mask)
    if isinstance(space, MaskedSpace):
        legal: Any = Box(0, 1, entries(space.actions).shape, np.bool_)
        return Masked(tree(space.space), legal)
    return tuple(map(tree, space.spaces)) if isinstance(space, Tuple) else space


def interpolate(low: jax.Array, high: jax.Array, share: jax.Array) -> jax.Array:
    """``low + share (high - low)``, also where the difference of two floats is none."""
    width = high - low
    return jnp.where(jnp.isfinite(width), low + share * width, low * (1 - share) + high * share)


def _between(x: jax.Array, low: Any, high: Any) -> jax.Array:
    """Whether ``low <= x <= high``, entry by entry, where a bound may be more than the dtype of ``x`` holds."""
    x, low, high = jnp.asarray(x), np.asarray(low), np.asarray(high)
    if x.dtype.kind == "f":
        return (x >= jnp.asarray(low)) & (x <= jnp.asarray(high))
    least, most = _limits(x.dtype)
    possible = (low <= most) & (high >= least)
    low, high = _within_limits(low, high, x.dtype)
    x = x.astype(jnp.uint8) if x.dtype == bool else x
    return (x >= low.astype(x.dtype)) & (x <= high.astype(x.dtype)) & possible


def _within_limits(low: np.ndarray, high: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The integers next to two bounds, inside them, as far as a dtype goes."""
    least, most = _limits(dtype)
    low, high = (x.astype(np.float64 if x.dtype.kind == "f" else np.int64) for x in (low, high))
    inside = np.ceil(np.clip(low, least, most)), np.floor(np.clip(high, least, most))
    return np.clip(inside[0], least, most), np.clip(inside[1], least, most)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    axes = zip(shape[::-1], tuple(to)[::-1], strict=False)
    return len(shape) <= len(to) and all(a in (1, b) for a, b in axes)


def _whole(x: jax.Array) -> jax.Array | bool:
    x = jnp.asarray(x)
    return (x == jnp.floor(x)) if x.dtype.kind == "f" else True


def _limits(dtype: Any) -> tuple[int, int]:
    """Least and greatest integer of a dtype that bounds may be."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return max(int(limits.min), -(2**62)), min(int(limits.max), 2**62)


def _canonical(dtype: Any) -> np.dtype:
    """The dtype that JAX's arrays really have: of 32 bits, unless 64 are enabled."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def _check_choices(name: str, field: str, numbers: Any, dtype: Any) -> None:
    dtype = np.dtype(dtype)
    if not numbers or any(int(n) != n or n < 1 for n in numbers):
        raise ValueError(f"{name}: {field} must be a positive integer.")
    if dtype.kind not in "iu":
        raise ValueError(f"{name}: dtype={dtype} is no integer; use np.int32.")
    if max(numbers) - 1 > np.iinfo(dtype).max:
        raise ValueError(f"{name}: {dtype} holds integers up to {np.iinfo(dtype).max}; use a wider dtype.")
