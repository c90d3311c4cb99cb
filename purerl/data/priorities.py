"""A sum tree: draws leaves as often as their masses say, whatever single masses change, in a few steps.

A node has many children, not two. Their masses are neighbours in memory, so that a level costs one read of a row; and
a tree of a million leaves has four levels, so that a change is four writes. The top level is one row, however
wide, whose prefix sums all draws of a batch share. Every sum is of children, never a running total, so that rounding
does not accumulate.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import struct

# The fastest on a CPU (benchmarks/replay.py). Not measured on a GPU, which should like 32: a warp reads that at once,
# and there are threads to spare for wide rows while every level is waited for.
FAN_OUT = 4
WIDEST_ROOT = 2048


class SumTree(struct.PyTreeNode):
    """Masses and their sums; behind the last leaf, zeros up to a multiple of the number of children."""

    levels: tuple[jax.Array, ...]  # leaves [N], the sums of each F of them [N / F], and so on up to the root
    fan_out: int = struct.field(pytree_node=False)  # F


def empty(num_leaves: int, fan_out: int = FAN_OUT, widest_root: int = WIDEST_ROOT) -> SumTree:
    """A tree whose masses are all 0.

    Args:
        num_leaves: at least 1.
        fan_out: children of a node, F, at least 2.
        widest_root: nodes that the top level may have.
    """
    sizes = [math.ceil(num_leaves / fan_out)]
    while sizes[-1] > widest_root:
        sizes.append(math.ceil(sizes[-1] / fan_out))
    below = (jnp.zeros(size * fan_out) for size in sizes)
    return SumTree(levels=(*below, jnp.zeros(sizes[-1])), fan_out=fan_out)


def fill(tree: SumTree, mass: jax.Array) -> SumTree:
    """Set all masses, ``[num_leaves]``, at least 0."""
    levels = []
    for level in tree.levels:
        levels.append(jnp.zeros_like(level).at[: mass.shape[0]].set(mass))
        mass = jnp.sum(_rows(tree, levels[-1]), axis=-1) if level is not tree.levels[-1] else mass
    return SumTree(levels=tuple(levels), fan_out=tree.fan_out)


def update(tree: SumTree, leaf: jax.Array, mass: jax.Array) -> SumTree:
    """Set some masses; of those given for one leaf the largest.

    Args:
        tree: before.
        leaf: ``[M]`` int, repetitions allowed.
        mass: ``[M]``, at least 0 and finite.
    """
    levels = [write(tree.levels[0], leaf, mass)]
    node = leaf
    for level in tree.levels[1:]:
        node = node // tree.fan_out
        mass = jnp.sum(_rows(tree, levels[-1])[node], axis=-1)
        levels.append(level.at[node].set(mass, mode="promise_in_bounds"))  # repetitions all write the same
    return SumTree(levels=tuple(levels), fan_out=tree.fan_out)


def write(values: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
    """Set some of the values ``[N]``; of those given for one index the largest."""
    # Not 0 first: that would not wait for values computed from the old ones, and XLA would copy the array for them.
    any_of_them = values.at[index].set(value, mode="promise_in_bounds")
    return any_of_them.at[index].max(value, mode="promise_in_bounds")


def draw(tree: SumTree, key: jax.Array, num_draws: int) -> jax.Array:
    """Draw leaves, stratified: ``P(leaf) = mass / sum of masses``, one draw from each M-th of the sum.

    A leaf of mass 0 is never drawn, unless all are: then the first.

    Args:
        tree: the masses.
        key: consumed.
        num_draws: M.

    Returns:
        ``[M]`` int32.

    Source: Schaul et al. 2016, appendix B.2.1.
    """
    *below, root = tree.levels
    prefix = jax.lax.cummax(jnp.where(root > 0, jnp.cumsum(root), 0))
    # A float32 between 0 and the whole sum has eight values for each of a million leaves, and nine for some. So the
    # last digits are kept apart, until a subtraction has made room for them.
    bits = jax.random.bits(key, (num_draws,), jnp.uint32)
    coarse = prefix[-1] * ((jnp.arange(num_draws) + (bits >> 27) / 2.0**5) / num_draws)
    fine = prefix[-1] * ((bits << 5) / 2.0**37 / num_draws)
    last = jnp.sum(prefix < prefix[-1])  # node with any mass
    node = jnp.minimum(jnp.searchsorted(prefix, coarse + fine, side="right"), last)
    target = jnp.maximum((coarse - jnp.where(node > 0, prefix[node - 1], 0)) + fine, 0)
    for level in reversed(below):
        child, target = _choose(_rows(tree, level)[node], target)
        node = node * tree.fan_out + child
    return node


def _choose(mass: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The child ``[M]`` in whose part of the sum a target falls, and how far into it, ``[M]``; masses ``[M, F]``.

    Sums from left to right neither shrink nor pass over a mass of 0, whatever the rounding; those computed in
    parallel do both.
    """
    prefix = jnp.stack(list(itertools.accumulate(mass.T)), axis=-1)
    passed = (prefix <= target[:, None]) & (prefix < prefix[:, -1:])
    return jnp.sum(passed, axis=-1), target - jnp.max(jnp.where(passed, prefix, 0), axis=-1)


def _rows(tree: SumTree, level: jax.Array) -> jax.Array:
    return level.reshape(-1, tree.fan_out)
