"""Ring buffer: the last steps of a batch of environments, overwritten in place, oldest first.

Time-major, like a rollout: a sequence is a few consecutive rows of one environment, and a rollout is written at once.
The arrays of a step lie side by side, in one array for each dtype and not in one of their own: no cache holds a large
replay, so what reading costs is the number of places to go to.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.types import PyTree


class Columns(NamedTuple):
    """Position of one array of a step in the rows of its dtype."""

    dtype: str  # which of the ring's arrays
    start: int  # from this number of a row
    stop: int  # to the one before this
    shape: tuple[int, ...]  # as it came


class Ring(struct.PyTreeNode):
    """Ring buffer of the last C steps of B environments; a row holds one time step of all of them."""

    rows: dict[str, jax.Array]  # by dtype: [C, B, K], the K numbers of a step that have it
    head: jax.Array  # [] int32, row that is written next
    size: jax.Array  # [] int32, rows written so far, at most C
    columns: tuple[Columns, ...] = struct.field(pytree_node=False)  # of the arrays of a step
    structure: jax.tree_util.PyTreeDef = struct.field(pytree_node=False)  # of a step

    @property
    def items(self) -> PyTree:
        """All rows, ``[C, B, ...]``: a copy."""
        return _unpack(self, lambda rows, columns: rows[..., columns.start : columns.stop], whole)


def empty(item: PyTree, num_rows: int, num_envs: int) -> Ring:
    """New ring buffer of zeros.

    Args:
        item: arrays, or their shapes and dtypes, of one step of one environment.
        num_rows: C.
        num_envs: B.
    """
    leaves, structure = jax.tree.flatten(item)
    columns, widths = [], dict[str, int]()
    for leaf in leaves:
        dtype, shape = str(jnp.result_type(leaf)), tuple(jnp.shape(leaf))
        start = widths.get(dtype, 0)
        widths[dtype] = start + int(np.prod(shape))
        columns.append(Columns(dtype, start, widths[dtype], shape))
    rows = {dtype: jnp.zeros((num_rows, num_envs, width), dtype) for dtype, width in widths.items()}
    head, size = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)  # two, for no array can be donated twice
    return Ring(rows=rows, head=head, size=size, columns=tuple(columns), structure=structure)


def full(items: PyTree) -> Ring:
    """Ring buffer of exactly these rows, ``[C, B, ...]``."""
    num_rows, num_envs = jax.tree.leaves(items)[0].shape[:2]
    return push(empty(jax.tree.map(lambda x: x[0, 0], items), num_rows, num_envs), items)


def push(ring: Ring, items: PyTree) -> Ring:
    """Write a rollout over the oldest rows.

    Args:
        ring: the buffer.
        items: ``[T, B, ...]``, with T at most C; it need not divide C.

    Raises:
        ValueError: if an array is missing, or has another shape or dtype than the ring keeps, or T is larger than C.
    """
    num_rows, num_steps = _num_rows(ring), _check(ring, items)
    at = (ring.head + jnp.arange(num_steps)) % num_rows
    parts: dict[str, list[jax.Array]] = {dtype: [] for dtype in ring.rows}
    for columns, leaf in zip(ring.columns, jax.tree.leaves(items), strict=True):
        parts[columns.dtype].append(leaf.reshape(*leaf.shape[:2], -1))

    def write(dtype: str, kept: jax.Array) -> jax.Array:
        new = jnp.concatenate(parts[dtype], axis=-1)
        return kept.at[at].set(new, unique_indices=True, mode="promise_in_bounds")

    return ring.replace(
        rows={dtype: write(dtype, kept) for dtype, kept in ring.rows.items()},
        head=(ring.head + num_steps) % num_rows,
        size=jnp.minimum(ring.size + num_steps, num_rows),
    )


def whole(step: PyTree) -> PyTree:
    """The whole step, the default part to read."""
    return step


def read(ring: Ring, row: jax.Array, env: jax.Array, of: Callable[[PyTree], PyTree] = whole) -> PyTree:
    """Read steps at these rows. A row past the end of the ring wraps around to the beginning.

    Args:
        ring: the buffer.
        row: ``[...]`` int.
        env: int, broadcastable to ``[...]``.
        of: the part of a step to read, ``lambda step: (step.obs, step.action)``.

    Returns:
        Arrays ``[..., ...]``.
    """
    row, env = jnp.broadcast_arrays(row % _num_rows(ring), env)

    def at(rows: jax.Array, columns: Columns) -> jax.Array:
        return rows.at[row, env].get(mode="promise_in_bounds")[..., columns.start : columns.stop]

    return _unpack(ring, at, of)


def is_newest(ring: Ring, row: jax.Array) -> jax.Array:
    """Whether nothing has been written after a row, ``[...] -> [...]`` bool."""
    return (row + 1 - ring.head) % _num_rows(ring) == 0


def _unpack(ring: Ring, take: Callable, of: Callable[[PyTree], PyTree]) -> PyTree:
    """The part of a step that ``of`` names, from ``take(rows, columns) -> [..., K]`` in the shapes that it had."""

    def one(columns: Columns) -> jax.Array:
        numbers = take(ring.rows[columns.dtype], columns)
        return numbers.reshape(*numbers.shape[:-1], *columns.shape)

    step = jax.tree.unflatten(ring.structure, ring.columns)
    return jax.tree.map(one, of(step), is_leaf=lambda x: isinstance(x, Columns))


def _num_rows(ring: Ring) -> int:
    return next(iter(ring.rows.values())).shape[0]


def _check(ring: Ring, new: PyTree) -> int:
    """Number of steps of a rollout that fits."""
    structure = jax.tree.structure(new)
    if structure != ring.structure:
        raise ValueError(
            f"The replay was made for {ring.structure} but is given {structure}: make it from an item of the same kind."
        )
    num_rows, num_envs, _ = next(iter(ring.rows.values())).shape
    num_steps = jax.tree.leaves(new)[0].shape[0]
    if num_steps > num_rows:
        raise ValueError(
            f"A rollout of {num_steps} steps does not fit into a replay of {num_rows} steps per environment: "
            "increase capacity or add shorter rollouts."
        )
    for columns, (path, leaf) in zip(ring.columns, jax.tree.leaves_with_path(new), strict=True):
        expected = (num_steps, num_envs, *columns.shape)
        if leaf.shape != expected or str(leaf.dtype) != columns.dtype:
            raise ValueError(
                f"items{jax.tree_util.keystr(path)} is {leaf.dtype}{list(leaf.shape)}, but the replay keeps "
                f"{columns.dtype}{list(expected)}: [T, num_envs, ...] of the item that it was made from."
            )
    return num_steps
