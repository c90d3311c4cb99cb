"""Strategies of small games with hidden information in sequence form: what they earn, best responses, equilibria.

A policy of a player is a table ``[I, A]``, a distribution in each of its information sets; its realization plan ``[L]``
is in :mod:`purerl.games.extensive`. Both players' plans decide what is earned, ``x U y``, and ``g = U y`` is what each
sequence of the first earns where the game ends right after it. All functions are traced, but for the linear programme.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.games.extensive import Side, Tree
from purerl.kernels import exploration
from purerl.kernels.numerics import safe_divide

Plans = Sequence[jax.Array]  # [L] of player 0 and of player 1


def uniform(side: Side) -> jax.Array:
    """The policy that plays all legal actions alike, ``[I, A]``."""
    legal = jnp.asarray(side.legal, jnp.result_type(float))
    return legal / jnp.sum(legal, axis=-1, keepdims=True)


def realization_plan(side: Side, policy: jax.Array) -> jax.Array:
    """Realization plan of a policy: ``x(empty) = 1``, ``x(i, a) = x(parent(i)) pi(i, a)``.

    Args:
        side: of the player.
        policy: ``[I, A]``, 0 where an action is not legal.

    Returns:
        ``[L]`` in [0, 1].

    Source: Koller, Megiddo and von Stengel 1996.
    """
    plan = jnp.ones(1, policy.dtype)
    for begin, end in zip(side.levels[:-1], side.levels[1:], strict=True):
        plan = jnp.concatenate([plan, (plan[side.parent[begin:end], None] * policy[begin:end]).ravel()])
    return plan


def behaviour(side: Side, plan: jax.Array) -> jax.Array:
    """Policy of a realization plan: ``pi(i, a) = x(i, a) / sum_b x(i, b)``, uniform where one does not get.

    The mean of realization plans is the plan of the mixture of their policies, whose behaviour this is.

    Args:
        side: of the player.
        plan: ``[L]``, at least 0, of any scale.

    Returns:
        ``[I, A]`` probabilities.
    """
    weight = plan[1:].reshape(side.legal.shape)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    return jnp.where(total > 0, safe_divide(weight, total), uniform(side).astype(plan.dtype))


def act(tree: Tree, policies: Sequence[jax.Array], obs: jax.Array, key: jax.Array) -> jax.Array:
    """Actions drawn by the policies of both players, in the information sets that the observations tell.

    Args:
        tree: of a game whose observations tell them (:func:`~purerl.games.extensive.extract_known`).
        policies: ``[I, A]`` of each player.
        obs: ``[B, ...]``, of whoever is to move.
        key: of the draws.

    Returns:
        ``[B]`` int32.
    """
    known, policy = tree.obs, jnp.concatenate(list(policies))
    alike = jnp.all((obs[:, None] == known).reshape(len(obs), len(known), -1), axis=-1)
    return exploration.sample(policy[jnp.argmax(alike, axis=-1)], jax.random.uniform(key, (len(obs),), policy.dtype))


def end_values(side: Side, other_plan: jax.Array, deal_weight: jax.Array | None = None) -> jax.Array:
    """What each sequence earns where the game ends right after it: ``g(s) = sum_t U(s, t) y(t)``.

    Args:
        side: of the player who earns it.
        other_plan: ``[L]`` of the other player.
        deal_weight: ``[D]``, by which each deal counts besides its probability; None: all by 1.

    Returns:
        ``[L]``.
    """
    reach = other_plan[side.other]
    reach = reach if deal_weight is None else reach * deal_weight[side.deal]
    return jnp.sum(jnp.asarray(side.payoff, other_plan.dtype) * reach, axis=-1)


def counterfactual_values(side: Side, value: jax.Array, policy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Counterfactual values of all actions, from the ends to the start.

    ``q(i, a) = g(i, a) + sum_{j after (i, a)} sum_b pi(j, b) q(j, b)``

    They are weighted by the probability with which chance and the other player, but not the player itself, get there.

    Args:
        side: of the player.
        value: ``[L]``, ``g``.
        policy: ``[I, A]``, its own.

    Returns:
        ``q`` ``[I, A]``, and what is earned from the start, ``[]``.

    Source: Zinkevich et al. 2007, (5).
    """
    return _backward(side, value, lambda q, level: jnp.sum(q * policy[level], axis=-1))


def best_response(side: Side, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Best response: in each information set, from the last to the first, the action of the highest value.

    ``q(i, a) = g(i, a) + sum_{j after (i, a)} max_b q(j, b)``

    Args:
        side: of the player.
        value: ``[L]``, ``g`` against the other's plan.

    Returns:
        Its policy ``[I, A]``, the first of the best actions, and what it earns, ``[]``.
    """
    legal = jnp.asarray(side.legal)
    q, earned = _backward(side, value, lambda q, level: jnp.max(q, axis=-1, where=legal[level], initial=-jnp.inf))
    best = jnp.argmax(jnp.where(legal, q, -jnp.inf), axis=-1)
    return jax.nn.one_hot(best, legal.shape[1], dtype=value.dtype), earned


def expected_payoff(tree: Tree, plans: Plans) -> jax.Array:
    """What player 0 earns on average: ``x U y``, ``[]``.

    Args:
        tree: of the game.
        plans: ``[L]`` of each player.
    """
    return jnp.sum(plans[0] * end_values(tree.sides[0], plans[1]))


def nash_conv(tree: Tree, plans: Plans) -> jax.Array:
    """NashConv: what both players together would gain by best responses, ``max_x' x' U y - min_y' x U y'``.

    Args:
        tree: of the game.
        plans: ``[L]`` of each player.

    Returns:
        ``[]``, 0 in a Nash equilibrium and there alone.
    """
    first, second = tree.sides
    return best_response(first, end_values(first, plans[1]))[1] + best_response(second, end_values(second, plans[0]))[1]


class Equilibrium(NamedTuple):
    """An equilibrium of a game."""

    value: float  # what player 0 earns
    plans: tuple[np.ndarray, np.ndarray]  # [L] of each player


def equilibrium(tree: Tree) -> Equilibrium:
    """Nash equilibrium by linear programmes over realization plans, on the host in double precision.

    ``max_{x, v} v(start)`` subject to ``x`` being a plan and, for each sequence of the other player, ``v(its
    information set) <= sum_{its next sets} v + (x U)(sequence)``

    Args:
        tree: of the game.

    Source: Koller, Megiddo and von Stengel 1996; von Stengel 1996.
    """
    plan, value = _maximin(tree, 0)
    return Equilibrium(value, (plan, _maximin(tree, 1)[0]))


def payoff_matrix(tree: Tree) -> np.ndarray:
    """Payoffs of player 0 by the sequences of both, times the probability of chance: ``U``, ``[L0, L1]``."""
    side, other = tree.sides
    matrix = np.zeros((side.num_sequences, other.num_sequences))
    np.add.at(matrix, (np.arange(side.num_sequences)[:, None], side.other), side.payoff)
    return matrix


def _backward(side: Side, value: jax.Array, worth) -> tuple[jax.Array, jax.Array]:
    """``q [I, A]`` level by level from the last, where ``worth(q, level) -> [levels]`` is that of information sets."""
    num_actions, num_sets = side.legal.shape[1], len(side.legal)
    below, parts = jnp.zeros(1, value.dtype), []
    first_below = num_sets  # of the level below; `below` has a 0 at its end, for where nothing follows
    for begin, end in reversed(list(zip(side.levels[:-1], side.levels[1:], strict=True))):
        here = slice(1 + begin * num_actions, 1 + end * num_actions)
        children = np.minimum(side.children[here] - first_below, len(below) - 1)
        q = (value[here] + jnp.sum(below[children], axis=-1)).reshape(-1, num_actions)
        parts.append(q)
        below = jnp.append(worth(q, slice(begin, end)), jnp.zeros(1, value.dtype))
        first_below = begin
    start = np.minimum(side.children[0], len(below) - 1)
    return jnp.concatenate(parts[::-1]), value[0] + jnp.sum(below[start])


def _maximin(tree: Tree, player: int) -> tuple[np.ndarray, float]:
    """The plan ``[L]`` of a player that guarantees most, and how much player 0 earns by it."""
    import scipy.sparse as sp
    from scipy.optimize import linprog

    own, other = tree.sides[player], tree.sides[1 - player]
    matrix = payoff_matrix(tree) if player == 0 else -payoff_matrix(tree).T
    (plan, start), (flow, _) = _constraints(own), _constraints(other)
    kept = np.concatenate([[True], other.legal.ravel()])  # a sequence that is not legal bounds nothing
    cost = np.concatenate([np.zeros(own.num_sequences), [-1.0], np.zeros(len(other.legal))])
    bounds = [(0, None if use else 0) for use in (True, *own.legal.ravel())] + [(None, None)] * (1 + len(other.legal))
    solution = linprog(
        cost,
        sp.hstack([-matrix.T, flow.T]).tocsr()[kept],
        np.zeros(kept.sum()),
        sp.hstack([plan, sp.csr_matrix((len(start), 1 + len(other.legal)))]),
        start,
        bounds,
        method="highs",
    )
    value = float(solution.x[own.num_sequences])
    return np.maximum(solution.x[: own.num_sequences], 0), value if player == 0 else -value


def _constraints(side: Side):
    """What makes a vector ``[L]`` a realization plan: ``E x = e``, with ``E [1 + I, L]`` and ``e = (1, 0, ..., 0)``."""
    import scipy.sparse as sp

    num_sets, num_actions = side.legal.shape
    row = np.concatenate([[0], np.repeat(1 + np.arange(num_sets), num_actions), 1 + np.arange(num_sets)])
    column = np.concatenate([[0], 1 + np.arange(num_sets * num_actions), side.parent])
    entry = np.concatenate([np.ones(1 + num_sets * num_actions), -np.ones(num_sets)])
    matrix = sp.csr_matrix((entry, (row, column)), shape=(1 + num_sets, side.num_sequences))
    return matrix, np.append(1.0, np.zeros(num_sets))
