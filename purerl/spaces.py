"""What an observation or an action may be: a bounded array or one of ``n`` integers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers ``0 .. n-1``.

    Raises:
        ValueError: if ``n`` is not a positive integer.
    """

    n: int
    dtype: Any = np.int32

    shape: tuple[int, ...] = dataclasses.field(default=(), init=False)

    def __post_init__(self) -> None:
        if int(self.n) != self.n or self.n < 1:
            raise ValueError(f"Discrete(n={self.n!r}): n must be a positive integer.")

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniform draw, ``[]``."""
        return jax.random.randint(key, (), 0, self.n, self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` (of this space's shape) lies in the space, ``[] bool``."""
        return (x >= 0) & (x < self.n)


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of a given shape with every entry in ``[low, high]``; an infinite bound means unbounded.

    Raises:
        ValueError: if a lower bound exceeds its upper bound.
    """

    low: Any  # scalar, or array that broadcasts to `shape`
    high: Any
    shape: tuple[int, ...]
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        if np.any(np.asarray(self.low, np.float64) > np.asarray(self.high, np.float64)):
            raise ValueError(f"Box(low={self.low!r}, high={self.high!r}): low exceeds high.")

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniform draw where both bounds are finite, a unit normal where they are not, ``shape``."""
        low = jnp.broadcast_to(jnp.asarray(self.low, jnp.float32), self.shape)
        high = jnp.broadcast_to(jnp.asarray(self.high, jnp.float32), self.shape)
        bounded = jnp.isfinite(low) & jnp.isfinite(high)
        uniform_key, normal_key = jax.random.split(key)
        uniform = jax.random.uniform(uniform_key, self.shape)
        low, high = jnp.where(bounded, low, 0.0), jnp.where(bounded, high, 1.0)
        draw = jnp.where(bounded, low + uniform * (high - low), jax.random.normal(normal_key, self.shape))
        if not np.issubdtype(self.dtype, np.floating):
            draw = jnp.round(draw)
        return draw.astype(self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` (of this space's shape) lies in the space, ``[] bool``."""
        return jnp.all((x >= jnp.asarray(self.low)) & (x <= jnp.asarray(self.high)))


Space = Discrete | Box
