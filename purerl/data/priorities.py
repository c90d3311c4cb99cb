"""Sum tree of scaled priorities: proportional sampling and single updates in a few steps.

A node has four children, neighbours in memory, so that a level costs one read. Sums are kept only of levels that are
too wide to be summed again for every batch of samples: an update of one of a million leaves is four writes, of one of
ten thousand a single one. The highest level is one row, whose prefix sums all samples of a batch share. Every sum is of
children, never a running total, so that rounding does not accumulate.
"""

import functools
import itertools
import math
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import struct

# The fastest on a CPU (benchmarks/replay.py). Not measured on a GPU, which should like 32: a warp reads that at once,
# and there are threads to spare for wide rows while every level is waited for.
FAN_OUT = 4
WIDEST_ROOT = 256
WIDEST_SUMMED = 2**14


class SumTree(struct.PyTreeNode):
    """Scaled priorities and those of their sums that are kept; after the last leaf, zeros."""

    levels: tuple[jax.Array, ...]  # leaves [N], the sums of each F of them [N / F], and so on
    fan_out: int = struct.field(pytree_node=False)  # F
    widest_root: int = struct.field(pytree_node=False)  # up to which sums are computed when sampling


def empty(
    num_leaves: int, fan_out: int = FAN_OUT, widest_root: int = WIDEST_ROOT, widest_summed: int = WIDEST_SUMMED
) -> SumTree:
    """New sum tree whose scaled priorities are all 0.

    Args:
        num_leaves: at least 1.
        fan_out: children of a node, F, at least 2.
        widest_root: nodes that the highest level may have, at least 1.
        widest_summed: nodes of a level whose sums are not kept, but computed for every batch of samples.
    """
    size, height = num_leaves, 0
    while size > widest_root:
        size, height = math.ceil(size / fan_out), height + 1
    sizes = [size * fan_out**i for i in reversed(range(height + 1))]
    kept = [i for i in range(height + 1) if i == 0 or sizes[i - 1] > widest_summed]
    return SumTree(levels=tuple(jnp.zeros(sizes[i]) for i in kept), fan_out=fan_out, widest_root=widest_root)


def fill(tree: SumTree, scaled_priority: jax.Array) -> SumTree:
    """Set all scaled priorities, ``[num_leaves]``, at least 0."""
    levels = [jnp.zeros_like(tree.levels[0]).at[: scaled_priority.shape[0]].set(scaled_priority)]
    for _ in tree.levels[1:]:
        levels.append(_sums(tree, levels[-1]))
    return tree.replace(levels=tuple(levels))


def update(tree: SumTree, leaf: jax.Array, scaled_priority: jax.Array) -> SumTree:
    """Set some scaled priorities; of those given for one leaf the largest.

    Args:
        tree: the sum tree.
        leaf: ``[M]`` int, repetitions allowed.
        scaled_priority: ``[M]``, at least 0 and finite.
    """
    levels = [write(tree.levels[0], leaf, scaled_priority)]
    node = leaf
    for level in tree.levels[1:]:
        node = node // tree.fan_out
        scaled_priority = _sum(_children(tree, levels[-1], node))
        levels.append(level.at[node].set(scaled_priority, mode="promise_in_bounds"))  # repetitions all write the same
    return tree.replace(levels=tuple(levels))


def write(values: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
    """Set some of the values ``[N]``; of those given for one index the largest."""
    # Not 0 first: that would not wait for values computed from the old ones, and XLA would copy the array for them.
    any_of_them = values.at[index].set(value, mode="promise_in_bounds")
    return any_of_them.at[index].max(value, mode="promise_in_bounds")


def draw(tree: SumTree, key: jax.Array, num_draws: int) -> jax.Array:
    """Stratified proportional sampling: ``P(leaf) = p / sum of p``, one sample from each M-th of the sum.

    A leaf of scaled priority ``p = 0`` is never drawn, unless all are 0: then the first.

    Args:
        tree: scaled priorities.
        key: consumed.
        num_draws: M.

    Returns:
        ``[M]`` int32.

    Source: Schaul et al. 2016, appendix B.2.1.
    """
    levels = [*tree.levels]
    while levels[-1].shape[0] > tree.widest_root:
        levels.append(_sums(tree, levels[-1]))
    *below, root = levels
    prefix = jax.lax.cummax(jnp.where(root > 0, jnp.cumsum(root), 0))
    # A float32 between 0 and the whole sum has eight values for each of a million leaves, and nine for some. So the
    # last digits are kept apart, until a subtraction has made room for them.
    bits = jax.random.bits(key, (num_draws,), jnp.uint32)
    coarse = prefix[-1] * ((jnp.arange(num_draws) + (bits >> 27) / 2.0**5) / num_draws)
    fine = prefix[-1] * ((bits << 5) / 2.0**37 / num_draws)
    last = jnp.sum(prefix < prefix[-1])  # last node with a sum above 0
    node = jnp.minimum(_num_reached(prefix, coarse + fine), last)
    target = jnp.maximum((coarse - jnp.where(node > 0, prefix[node - 1], 0)) + fine, 0)
    for level in reversed(below):
        # Apart, or XLA computes the choice above anew for each of the children that it leads to.
        node, target = jax.lax.optimization_barrier((node, target))
        child, target = _choose(_children(tree, level, node), target)
        node = node * tree.fan_out + child
    return jax.lax.optimization_barrier(node)


def _num_reached(prefix: jax.Array, target: jax.Array) -> jax.Array:
    """How many of the prefix sums ``[R]`` each target has reached, ``[M]``; one target in each M-th of the sum.

    No search: a prefix sum in the k-th of these parts has k targets below it, or that in its own part as well.
    """
    num_draws, whole = target.shape[0], jnp.where(prefix[-1] > 0, prefix[-1], 1)
    part = jnp.minimum((prefix / whole * num_draws).astype(jnp.int32), num_draws - 1)
    num_below = part + (target[part] < prefix)
    return jnp.cumsum(jnp.zeros(num_draws, jnp.int32).at[num_below].add(1, mode="drop"))


def _choose(scaled_priorities: list[jax.Array], target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The child ``[M]`` in whose part of the sum a target falls, and how far into it, ``[M]``.

    Scaled priorities are F times ``[M]``. Sums from left to right neither shrink nor pass over a 0, whatever the
    rounding; those computed in parallel do both.
    """
    *prefix, whole = itertools.accumulate(scaled_priorities)
    child, passed = jnp.zeros_like(target, jnp.int32), jnp.zeros_like(target)
    for so_far in prefix:
        is_passed = (so_far <= target) & (so_far < whole)
        child, passed = child + is_passed, jnp.where(is_passed, so_far, passed)
    return child, target - passed


def _children(tree: SumTree, level: jax.Array, node: jax.Array) -> list[jax.Array]:
    """Values of the children of some nodes, F times ``[M]``: XLA reads rows of F far slower on a CPU."""
    first = node * tree.fan_out
    return [level.at[first + i].get(mode="promise_in_bounds") for i in range(tree.fan_out)]


def _sums(tree: SumTree, level: jax.Array) -> jax.Array:
    """The next higher level."""
    return _sum(level[i :: tree.fan_out] for i in range(tree.fan_out))


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, terms)
