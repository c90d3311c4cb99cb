"""Batched Monte Carlo tree search (MCTS): select, expand, evaluate, backup, once for every simulation.

Nothing here is wrapped in ``vmap``. A loop over levels carries a slot for each tree of the batch, never a tree; trees
are read by slot, and written in place by slot. So a simulation costs what its path costs, however large the trees have
grown.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.search.rules import Rule, masked_argmax
from purerl.search.tree import NOT_EXPANDED, Tree, at
from purerl.types import PyTree


class Output(NamedTuple):
    """Output of a search model: ``model(params, key, action [B], embedding) -> (Output, embedding)``."""

    reward: jax.Array  # [B] of the action, from the perspective of the player who took it
    discount: jax.Array  # [B] of what follows: gamma, -gamma where the turn passes to the opponent, 0 at the end
    logits: jax.Array  # [B, A] of the prior in the next state, -inf where an action is not allowed
    value: jax.Array  # [B] of the next state, from the perspective of the player to move there


def search(
    params: PyTree,
    key: jax.Array,
    tree: Tree,
    model: Callable,
    rule: Rule,
    num_simulations: int,
    root_score: Callable | None = None,
    evaluate: Callable | None = None,
    max_depth: int | None = None,
) -> Tree:
    """Monte Carlo tree search: run simulations one after another, in all trees of the batch at once.

    Args:
        params: of the model.
        key: of the model; split into one key a simulation.
        tree: from :func:`purerl.search.tree.init_tree` or :func:`~purerl.search.tree.reuse_subtree`, its last
            ``num_simulations`` slots free.
        model: ``(params, key, action [B], embedding [B, ...]) -> (Output, embedding)``.
        rule: which action a simulation follows.
        num_simulations: static.
        root_score: another score for the root, ``(Node) -> [B, A]``.
        evaluate: ``(params, key, output, embedding) -> value [B]`` of the leaf, if it is not the model's value.
        max_depth: actions between the root and the deepest node, at most; static.

    Returns:
        The trees afterwards. Terminal states, and states at the maximal depth, are not expanded: every simulation that
        reaches one evaluates it again.
    """
    num_slots = tree.parent.shape[0]
    free = num_slots - num_simulations

    def simulate(tree: Tree, now: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        slot, key = now
        model_key, evaluate_key = jax.random.split(key)
        node, action = select(tree, rule.score, root_score or rule.score, max_depth or num_slots)
        output, tree = expand(params, model_key, tree, model, rule, slot, node, action)
        value = output.value
        if evaluate is not None:
            value = evaluate(params, evaluate_key, output, jax.tree.map(lambda x: x[slot], tree.embedding))
        return backup(tree, node, action, output.reward, output.discount, value), None

    steps = (jnp.arange(free, num_slots), jax.random.split(key, num_simulations))
    return jax.lax.scan(simulate, tree, steps)[0]


def select(tree: Tree, score: Callable, root_score: Callable, max_depth: int) -> tuple[jax.Array, jax.Array]:
    """Selection: walk down from the roots to an unexpanded, terminal or maximally deep edge.

    Returns:
        The slots of the last nodes and the actions in them, ``[B]`` each.
    """
    batch = jnp.arange(tree.parent.shape[1], dtype=jnp.int32)

    def descend(node: jax.Array, action: jax.Array, depth: jax.Array | int) -> jax.Array:
        """The next node, or NOT_EXPANDED where the walk is over."""
        return jnp.where(depth < max_depth, tree.child[node, batch, action], NOT_EXPANDED)

    root = jnp.zeros_like(batch)
    action = masked_argmax(root_score(at(tree, root)))

    def walking(carry: tuple) -> jax.Array:
        return _anywhere(carry[-1] >= 0)

    def step(carry: tuple) -> tuple:
        depth, node, action, child = carry
        on = child >= 0
        node = jnp.where(on, child, node)
        action = jnp.where(on, masked_argmax(score(at(tree, node, depth))), action)
        return depth + 1, node, action, jnp.where(on, descend(node, action, depth + 1), NOT_EXPANDED)

    _, node, action, _ = jax.lax.while_loop(walking, step, (1, root, action, descend(root, action, 1)))
    return node, action


def expand(
    params: PyTree,
    key: jax.Array,
    tree: Tree,
    model: Callable,
    rule: Rule,
    slot: jax.Array,
    node: jax.Array,
    action: jax.Array,
) -> tuple[Output, Tree]:
    """Expansion: apply the model to the selected edges, and add their children to the trees, unless terminal."""
    batch = jnp.arange(node.shape[0])
    before = jax.tree.map(lambda x: x[node, batch], tree.embedding)
    output, embedding = model(params, key, action, before)

    def put(leaf: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(leaf, new.astype(leaf.dtype), slot, 0)

    child = jnp.where(output.discount == 0, NOT_EXPANDED, slot).astype(jnp.int32)
    tree = tree.replace(
        prior=put(tree.prior, rule.prior(output.logits)),
        raw_value=put(tree.raw_value, output.value),
        parent=put(tree.parent, node),
        action=put(tree.action, action),
        reward=put(tree.reward, output.reward),
        discount=put(tree.discount, output.discount),
        embedding=jax.tree.map(put, tree.embedding, embedding),
        child=tree.child.at[node, batch, action].set(child, unique_indices=True),
    )
    return output, tree


def backup(
    tree: Tree, node: jax.Array, action: jax.Array, reward: jax.Array, discount: jax.Array, value: jax.Array
) -> Tree:
    """Backup from the leaves to the roots: ``G <- r + d G`` a level, ``N <- N + 1``, ``Q <- Q + (G - Q) / N``.

    Args:
        tree: the trees.
        node: ``[B]``, slots of the last nodes.
        action: ``[B]``, taken there.
        reward: ``[B]``, of those actions.
        discount: ``[B]``, of the leaf's value.
        value: ``[B]``, of the leaf.
    """
    num_slots, batch_size = tree.parent.shape
    batch = jnp.arange(batch_size)

    def climbing(carry: tuple) -> jax.Array:
        return _anywhere(carry[0] >= 0)

    def step(carry: tuple) -> tuple:
        node, action, reward, discount, returned, visits, mean = carry
        on = node >= 0
        returned = reward + discount * returned
        count = visits[node, batch, action] + 1
        moved = mean[node, batch, action] + (returned - mean[node, batch, action]) / count
        place = jnp.where(on, node, num_slots), batch, action  # out of bounds, so dropped, where the root was passed
        visits = visits.at[place].set(count, mode="drop", unique_indices=True)
        mean = mean.at[place].set(moved, mode="drop", unique_indices=True)
        above = jnp.where(on, tree.parent[node, batch], NOT_EXPANDED)
        edge = tree.action[node, batch], tree.reward[node, batch], tree.discount[node, batch]
        return above, *edge, returned, visits, mean

    start = (node, action, reward, discount, value, tree.visits, tree.value)
    *_, visits, mean = jax.lax.while_loop(climbing, step, start)
    return tree.replace(visits=visits, value=mean)


@jax.custom_batching.custom_vmap
def _anywhere(flags: jax.Array) -> jax.Array:
    """Whether any flag is set, one answer for all vmapped instances.

    A loop whose condition differed between seeds would copy its whole carry, trees included, in every iteration.
    """
    return jnp.any(flags)


@_anywhere.def_vmap
def _anywhere_at_all(axis_size: int, in_batched: list, flags: jax.Array) -> tuple[jax.Array, bool]:
    return _anywhere(flags), False
