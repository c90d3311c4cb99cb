"""Search trees: a batch of them, as arrays.

A node is a slot: ``array[n, b]`` is what batch element ``b`` has in slot ``n``, and slot 0 is the root. Slots come
first, so that the nodes which one simulation adds to all trees of the batch lie together in memory and are written at
once.

Statistics belong to edges ``(node, action)``. Those of a node follow from them (:class:`Node`), so a backup writes two
numbers a level, and nothing else.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.types import PyTree

NOT_EXPANDED = -1
"""In the place of a slot: the node does not exist."""


class Root(NamedTuple):
    """Root of a search: a batch of states with their prior and value by the model."""

    logits: jax.Array  # [B, A] of the prior over actions, -inf where one is not allowed
    value: jax.Array  # [B] from the perspective of the player to move
    embedding: PyTree  # [B, ...] state of the model


class Node(NamedTuple):
    """Statistics of one node of each tree, for a selection rule."""

    prior: jax.Array  # [B, A] the rule's prior, made from the model's logits
    visits: jax.Array  # [B, A] N, simulations that took the action here
    value: jax.Array  # [B, A] Q, their mean return, from the perspective of the player to move; 0 where N = 0
    raw_value: jax.Array  # [B] v, the model's value of the node
    depth: jax.Array  # [] actions between the root and the node


class Tree(struct.PyTreeNode):
    """A batch of search trees of up to ``N`` nodes. Slots without a node hold zeros."""

    prior: jax.Array  # [N, B, A]
    visits: jax.Array  # [N, B, A] float32, exact up to 2^24
    value: jax.Array  # [N, B, A]
    child: jax.Array  # [N, B, A] int32, slot of the child; NOT_EXPANDED if unvisited or terminal
    raw_value: jax.Array  # [N, B]
    parent: jax.Array  # [N, B] int32
    action: jax.Array  # [N, B] int32, which action of the parent led here
    reward: jax.Array  # [N, B] of that action, from the perspective of the player who took it
    discount: jax.Array  # [N, B] of the node's value: negative where the turn passes, 0 where it is terminal
    embedding: PyTree  # [N, B, ...]


def init_tree(root: Root, prior: Callable, num_simulations: int) -> Tree:
    """New search trees of one node, the root, with room for ``num_simulations`` more.

    Args:
        root: the batch of states.
        prior: ``(logits [B, A]) -> [B, A]``, of the rule that will search.
        num_simulations: at least 1.

    Raises:
        ValueError: if the root's arrays do not fit each other, or there is nothing to simulate.
    """
    if root.logits.ndim != 2 or root.value.shape != root.logits.shape[:1]:
        raise ValueError(
            f"A root has logits [B, A] and value [B], but their shapes are {root.logits.shape} and {root.value.shape}."
        )
    if num_simulations < 1:
        raise ValueError(f"num_simulations = {num_simulations}: a search needs at least 1.")
    num_slots, dtype = 1 + num_simulations, root.value.dtype
    batch_size, _ = root.logits.shape

    def empty(leaf: jax.Array) -> jax.Array:
        return jnp.zeros((num_slots, *leaf.shape), leaf.dtype)

    def first(leaf: jax.Array) -> jax.Array:
        return empty(leaf).at[0].set(leaf)

    edges, nodes = empty(root.logits.astype(dtype)), jnp.zeros((num_slots, batch_size), dtype)
    nowhere = jnp.full((num_slots, batch_size), NOT_EXPANDED, jnp.int32)
    return Tree(
        prior=first(prior(root.logits)),
        visits=edges,
        value=edges,
        child=jnp.full(edges.shape, NOT_EXPANDED, jnp.int32),
        raw_value=first(root.value),
        parent=nowhere,
        action=nowhere,
        reward=nodes,
        discount=nodes,
        embedding=jax.tree.map(first, root.embedding),
    )


def at(tree: Tree, node: jax.Array, depth: jax.Array | int = 0) -> Node:
    """The nodes in the slots ``node`` ``[B]``."""
    batch = jnp.arange(node.shape[0])
    return Node(
        prior=tree.prior[node, batch],
        visits=tree.visits[node, batch],
        value=tree.value[node, batch],
        raw_value=tree.raw_value[node, batch],
        depth=jnp.asarray(depth),
    )


def root_of(tree: Tree) -> Node:
    """The nodes in slot 0."""
    return at(tree, jnp.zeros(tree.parent.shape[1], jnp.int32))


def mean_value(node: Node) -> jax.Array:
    """Mean value of a node: ``V = (v + sum_a N_a Q_a) / (1 + sum_a N_a)``, ``[B]``.

    ``v`` is the model's own value, which counts as one return.
    """
    returned = jnp.sum(node.visits * node.value, axis=-1)
    return (node.raw_value + returned) / (1 + jnp.sum(node.visits, axis=-1))


def reuse_subtree(
    tree: Tree, action: jax.Array, root: Root, prior: Callable, num_kept: int, num_simulations: int
) -> Tree:
    """Subtree reuse: the part of each tree below the action that was taken, with room for further simulations.

    Args:
        tree: of the last search.
        action: ``[B]``, taken in its root.
        root: the states that the actions led to. Where the action is unvisited in the tree, or ended the episode, the
            new tree has this root alone.
        prior: of the rule, as in :func:`init_tree`.
        num_kept: nodes that are kept, at most; static. Where there are more, the youngest are dropped: the edge to one
            keeps its statistics, and a simulation that takes it expands the node again.
        num_simulations: of the next search; static.

    Returns:
        Trees of ``num_kept + num_simulations`` slots.
    """
    num_slots, batch_size = tree.parent.shape
    batch = jnp.arange(batch_size)
    top = tree.child[0, batch, action]  # [B]

    def mark(inside: jax.Array, slot: jax.Array) -> tuple[jax.Array, None]:
        parent = tree.parent[slot]  # in an earlier slot than its children, so marked already
        linked = tree.child[parent, batch, tree.action[slot]] == slot  # or else a later node has replaced it
        now = (slot == top) | ((parent >= 0) & linked & inside[parent, batch])
        return inside.at[slot].set(now), None

    inside, _ = jax.lax.scan(mark, jnp.zeros((num_slots, batch_size), bool), jnp.arange(num_slots))
    place = jnp.cumsum(inside, axis=0) - 1
    place = jnp.where(inside & (place < num_kept), place, num_kept)  # [N, B] new slots; num_kept: dropped
    source = jnp.full((num_kept, batch_size), num_slots)
    source = source.at[place, batch].set(jnp.arange(num_slots)[:, None], mode="drop")  # [K, B] old slots
    moved = jnp.where(place < num_kept, place, NOT_EXPANDED).astype(jnp.int32)

    def slot_now(old: jax.Array) -> jax.Array:
        columns = batch.reshape(1, -1, *[1] * (old.ndim - 2))
        return jnp.where(old >= 0, moved[old, columns], NOT_EXPANDED)

    renamed = tree.replace(child=slot_now(tree.child), parent=slot_now(tree.parent))
    fresh = init_tree(root, prior, num_kept - 1 + num_simulations)

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        known = (source < num_slots).reshape(*source.shape, *[1] * (old.ndim - 2))
        kept = jnp.where(known, old[jnp.minimum(source, num_slots - 1), batch], new[:num_kept])
        return jnp.concatenate([kept, new[num_kept:]])

    return jax.tree.map(move, renamed, fresh)
