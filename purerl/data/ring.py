"""Storage of a replay: the last steps of a batch of environments, overwritten in place, oldest first.

Time-major, like a rollout: a window is a few consecutive rows of one environment, and a rollout is written at once.
"""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.types import PyTree


class Ring(struct.PyTreeNode):
    """The last C steps of B environments; row t holds what happened in all of them at one time."""

    items: PyTree  # [C, B, ...]
    head: jax.Array  # [] int32, row that is written next
    size: jax.Array  # [] int32, rows written so far, at most C


def empty(item: PyTree, num_rows: int, num_envs: int) -> Ring:
    """A ring of zeros.

    Args:
        item: arrays, or their shapes and dtypes, of one step of one environment.
        num_rows: C.
        num_envs: B.
    """
    items = jax.tree.map(lambda x: jnp.zeros((num_rows, num_envs, *jnp.shape(x)), jnp.result_type(x)), item)
    return Ring(items=items, head=jnp.zeros((), jnp.int32), size=jnp.zeros((), jnp.int32))


def push(ring: Ring, items: PyTree) -> Ring:
    """Write a rollout over the oldest rows.

    Args:
        ring: where to.
        items: ``[T, B, ...]``, with T at most C; it need not divide C.

    Raises:
        ValueError: if an array is missing, or has another shape or dtype than the ring keeps, or T is larger than C.
    """
    num_rows, num_steps = _length(ring.items), _check(ring.items, items)
    rows = (ring.head + jnp.arange(num_steps)) % num_rows

    def write(kept: jax.Array, new: jax.Array) -> jax.Array:
        return kept.at[rows].set(new, unique_indices=True, mode="promise_in_bounds")

    return Ring(
        items=jax.tree.map(write, ring.items, items),
        head=(ring.head + num_steps) % num_rows,
        size=jnp.minimum(ring.size + num_steps, num_rows),
    )


def read(ring: Ring, row: jax.Array, env: jax.Array) -> PyTree:
    """What is kept at these places. A row may run past the end of the ring; it goes on at the beginning.

    Args:
        ring: where from.
        row: ``[...]`` int.
        env: int, broadcastable to ``[...]``.

    Returns:
        Arrays ``[..., ...]``.
    """
    row = row % _length(ring.items)
    return jax.tree.map(lambda x: x.at[row, env].get(mode="promise_in_bounds"), ring.items)


def is_newest(ring: Ring, row: jax.Array) -> jax.Array:
    """Whether nothing has been written after a row, ``[...] -> [...]`` bool."""
    return (row + 1 - ring.head) % _length(ring.items) == 0


def _length(items: PyTree) -> int:
    return jax.tree.leaves(items)[0].shape[0]


def _check(kept: PyTree, new: PyTree) -> int:
    """Number of steps of a rollout that fits."""
    expected_tree, tree = str(jax.tree.structure(kept)), str(jax.tree.structure(new))
    if tree != expected_tree:
        raise ValueError(
            f"The replay was made for {expected_tree} but is given {tree}: make it from an item of the same kind."
        )
    num_rows, num_steps = _length(kept), _length(new)
    if num_steps > num_rows:
        raise ValueError(
            f"A rollout of {num_steps} steps does not fit into a replay of {num_rows} steps per environment: "
            "increase capacity or add shorter rollouts."
        )
    for (path, k), (_, n) in zip(
        jax.tree_util.tree_leaves_with_path(kept), jax.tree_util.tree_leaves_with_path(new), strict=True
    ):
        expected = (num_steps, *k.shape[1:])
        if n.shape != expected or n.dtype != k.dtype:
            raise ValueError(
                f"items{jax.tree_util.keystr(path)} is {n.dtype}{list(n.shape)}, but the replay keeps "
                f"{k.dtype}{list(expected)}: [T, num_envs, ...] of the item that it was made from."
            )
    return num_steps
