"""Q-value transforms: the scale on which a node's mean returns are weighed against its prior, ``(Node) -> [B, A]``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl.search.tree import Node, mean_value
from purerl.types import Scalar


def identity(node: Node) -> jax.Array:
    """Untransformed ``Q``, and 0 for an unvisited action, ``[B, A]``.

    For values that are on a fixed scale already, such as the -1 and 1 of a lost and a won game.
    """
    return node.value


def fixed_range(lowest: Scalar, highest: Scalar) -> Callable[[Node], jax.Array]:
    """Q normalised by known bounds of the return: ``(Q - lowest) / (highest - lowest)``; 0 for an unvisited action."""
    return lambda node: jnp.where(node.visits > 0, (node.value - lowest) / (highest - lowest), 0.0)


def min_max(node: Node) -> jax.Array:
    """Min-max normalised ``Q`` among siblings: 0 to 1 between the extremes of a node and its children, ``[B, A]``.

    ``(Q - min) / (max - min)``

    An unvisited action has 0.

    Source: Schrittwieser et al. 2020 (MuZero), appendix B (5), with the extremes of a node in place of the tree's.
    """
    visited, value = node.visits > 0, mean_value(node)[:, None]
    known = jnp.where(visited, node.value, value)
    lowest = jnp.minimum(value, jnp.min(known, axis=-1, keepdims=True))
    highest = jnp.maximum(value, jnp.max(known, axis=-1, keepdims=True))
    return jnp.where(visited, (node.value - lowest) / jnp.maximum(highest - lowest, 1e-8), 0.0)


def completed_q(
    node: Node, value_scale: Scalar = 0.1, visit_offset: Scalar = 50.0, rescale: bool = True, mixed: bool = True
) -> jax.Array:
    """Completed Q-values: ``sigma(Q) = (visit_offset + max_b N_b) value_scale Q``, with a ``Q`` for every action.

    An unvisited action has :func:`mixed_value`, or the model's own value.

    Args:
        node: whose ``prior`` are logits.
        value_scale: weight of values against the prior's logits.
        visit_offset: visits of the most visited action that count from the start.
        rescale: whether ``Q`` is brought to the range from 0 to 1 first.
        mixed: whether it is completed by the mixed value, or by ``v``, the model's own.

    Returns:
        ``[B, A]``, to add to logits.

    Source: Danihelka et al. 2022, (8), appendix D (33).
    """
    visited = node.visits > 0
    missing = mixed_value(node) if mixed else node.raw_value
    value = jnp.where(visited, node.value, missing[:, None])
    if rescale:
        lowest = jnp.min(value, axis=-1, keepdims=True)
        highest = jnp.max(value, axis=-1, keepdims=True)
        value = (value - lowest) / jnp.maximum(highest - lowest, 1e-8)
    return (visit_offset + jnp.max(node.visits, axis=-1, keepdims=True)) * value_scale * value


def mixed_value(node: Node) -> jax.Array:
    """Mixed value of a node: ``(v + sum_b N_b  sum_visited pi Q / sum_visited pi) / (1 + sum_b N_b)``, ``[B]``.

    Args:
        node: whose ``prior`` are logits of ``pi``.

    Source: Danihelka et al. 2022, appendix D (33).
    """
    visited = node.visits > 0
    weight = jnp.where(visited, jnp.maximum(jax.nn.softmax(node.prior), jnp.finfo(node.prior.dtype).tiny), 0.0)
    total_weight, total_visits = jnp.sum(weight, axis=-1), jnp.sum(node.visits, axis=-1)
    average = jnp.sum(weight * node.value, axis=-1) / jnp.where(total_visits > 0, total_weight, 1.0)
    return (node.raw_value + total_visits * average) / (total_visits + 1)
