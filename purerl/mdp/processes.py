"""Finite Markov decision and reward processes as arrays: the records, checked construction, random ones.

A terminal state has value 0: its row of every ``V`` and ``Q`` is 0, whatever the arrays say. This makes
``gamma = 1`` mean the plain sum of rewards until the end.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.mdp import checks
from purerl.types import Scalar


class MDP(struct.PyTreeNode):
    """A finite Markov decision process (MDP); :func:`make` builds one from plain arrays and checks it."""

    transition: jax.Array  # [S, A, S] P[s, a, s'], rows sum to 1; terminal states absorb
    reward: jax.Array  # [S, A, S] of the transition s, a -> s'; 0 out of terminal states
    start: jax.Array  # [S] distribution of the first state
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class MRP(struct.PyTreeNode):
    """A Markov reward process (MRP): what is left of a decision process when the policy has decided."""

    transition: jax.Array  # [S, S] rows sum to 1
    reward: jax.Array  # [S] expected reward of the step out of s
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class SparseMDP(struct.PyTreeNode):
    """A sparse Markov decision process, which lists the successors of each pair: for many states with few successors.

    ``K`` is the number of successors listed for each pair; one may be listed twice. :mod:`purerl.mdp.sparse`
    makes them. :func:`~purerl.mdp.lookahead`, :func:`~purerl.mdp.induced`, :func:`~purerl.mdp.backup` and all that
    rests on these take either form.
    """

    transition: jax.Array  # [S, A, K] probability of each successor, rows sum to 1
    next_state: jax.Array  # [S, A, K] int, the successors
    reward: jax.Array  # [S, A, K] of the transition to each; 0 out of terminal states
    start: jax.Array  # [S] distribution of the first state
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class SparseMRP(struct.PyTreeNode):
    """A sparse Markov reward process: a sparse decision process when the policy has decided. ``N = A K``."""

    transition: jax.Array  # [S, N] probability of each successor, rows sum to 1
    next_state: jax.Array  # [S, N] int
    reward: jax.Array  # [S] expected reward of the step out of s
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


def make(transition: Any, reward: Any, *, gamma: float, start: Any = None, terminal: Any = None) -> MDP:
    """Build and check a finite Markov decision process (:class:`MDP`) from arrays or nested lists.

    What the arrays say of the steps out of terminal states is replaced: those states absorb, with reward 0.

    Args:
        transition: ``[S, A, S]``, each row a distribution within 1e-5; the remainder is divided out.
        reward: ``[]`` for every step, ``[S]`` or ``[S, A]``, for leaving, or ``[S, A, S]``. Axes of length 1
            repeat, so a reward for arriving is ``arrival[None, None, :]``.
        gamma: discount in [0, 1]. At 1 a terminal state must be reachable from every state, and a policy that never
            ends has no value: its linear solve is singular and its sweeps do not settle.
        start: ``[S]`` distribution; uniform over the states that are not terminal where None. No episode starts in a
            terminal state.
        terminal: ``[S]`` bool; where None no state is terminal.

    Returns:
        The process, in JAX's default float type.

    Raises:
        ValueError: naming the first entry that is wrong.
    """
    transition, reward = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
        raise ValueError(f"transition has the shape {transition.shape}; it must be [S, A, S] with S, A at least 1.")
    num_states = len(transition)
    checks.discount(gamma)
    terminal = checks.terminal(terminal, num_states)
    transition = checks.rows("transition", transition, ignored=terminal)
    reward = checks.reward(reward, transition.shape, ignored=terminal)
    start = checks.start(start, terminal)
    if gamma == 1:
        leads_to = (transition > 0).any(1)  # [S, S]
        checks.ends(terminal, lambda ends: leads_to[:, ends].any(1))
    transition, reward = absorb(jnp.asarray(transition, float), jnp.asarray(reward, float), jnp.asarray(terminal))
    return MDP(
        transition=transition,
        reward=reward,
        start=jnp.asarray(start, float),
        terminal=jnp.asarray(terminal),
        gamma=jnp.asarray(gamma, float),
    )


def random_mdp(
    key: jax.Array,
    num_states: int,
    num_actions: int,
    *,
    gamma: Scalar,
    branching: int | None = None,
    num_terminal: int = 0,
) -> MDP:
    """Random MDP (Garnet): each pair leads to ``branching`` states by a flat Dirichlet draw, with normal rewards.

    Args:
        key: one key; ``vmap`` over keys for many processes.
        num_states: S, static.
        num_actions: A, static.
        gamma: discount in [0, 1]. Nothing ensures that episodes end, so 1 is for those who know that they do.
        branching: number of states that a pair may lead to, in [1, S], static; S where None.
        num_terminal: the last so many states are terminal, in [0, S), static.

    Returns:
        The process, its start uniform over the states that are not terminal.

    Raises:
        ValueError: if ``branching`` or ``num_terminal`` is out of range.

    Source: Archibald, McKinnon & Thomas 1995 (Garnet processes).
    """
    branching = num_states if branching is None else branching
    if not 1 <= branching <= num_states:
        raise ValueError(f"branching={branching} must lie in [1, num_states] = [1, {num_states}].")
    if not 0 <= num_terminal < num_states:
        raise ValueError(f"num_terminal={num_terminal} must lie in [0, num_states) = [0, {num_states}).")
    shape = (num_states, num_actions, num_states)
    order_key, weight_key, reward_key = jax.random.split(key, 3)
    # The ranks of iid uniforms are a uniform permutation; normalised exponentials are a flat Dirichlet.
    rank = jax.random.uniform(order_key, shape, float).argsort(-1).argsort(-1)
    weight = jnp.where(rank < branching, jax.random.exponential(weight_key, shape, float), 0.0)
    terminal = jnp.arange(num_states) >= num_states - num_terminal
    transition, reward = absorb(
        weight / weight.sum(-1, keepdims=True), jax.random.normal(reward_key, shape, float), terminal
    )
    return MDP(
        transition=transition,
        reward=reward,
        start=jnp.where(terminal, 0.0, 1 / (num_states - num_terminal)),
        terminal=terminal,
        gamma=jnp.asarray(gamma, float),
    )


def require_dense(where: str, process: Any) -> None:
    """Raise for a sparse process where every pair of states is needed."""
    if isinstance(process, SparseMDP | SparseMRP):
        raise TypeError(
            f"{where}: needs a dense process, not {type(process).__name__}; convert it by `sparse_mdp.to_dense`, or "
            "use policy_evaluation, value_iteration or modified_policy_iteration, which take both."
        )


def absorb(transition: jax.Array, reward: jax.Array, terminal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Transition and reward whose terminal states lead to themselves, with reward 0."""
    ended = terminal[:, None, None]
    stay = jnp.eye(len(terminal), dtype=transition.dtype)[:, None]
    return jnp.where(ended, stay, transition), jnp.where(ended, 0.0, reward)
