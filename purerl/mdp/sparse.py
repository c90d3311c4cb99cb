"""Decision processes of many states, each pair of state and action with a list of successors.

A dense process has ``S^2 A`` probabilities, this form ``S A K``, where K is the longest list. Shorter ones are filled
up with probability 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.kernels.numerics import safe_divide
from purerl.mdp import checks
from purerl.mdp.processes import MDP, SparseMDP
from purerl.types import Scalar


def make(
    next_state: Any, transition: Any, reward: Any, *, gamma: float, start: Any = None, terminal: Any = None
) -> SparseMDP:
    """A checked :class:`~purerl.mdp.SparseMDP` from plain arrays.

    What the arrays say of the steps out of terminal states is replaced: those states absorb, with reward 0.

    Args:
        next_state: ``[S, A, K]`` int in ``0 .. S-1``, the successors. One may be listed twice; probabilities add up.
        transition: ``[S, A, K]``, their probabilities, each row a distribution within 1e-5; the remainder is divided
            out.
        reward: ``[]`` for every step, ``[S]`` or ``[S, A]``, for leaving, or ``[S, A, K]``.
        gamma: discount in [0, 1]. At 1 a terminal state must be reachable from every state.
        start: ``[S]`` distribution; uniform over the states that are not terminal where None.
        terminal: ``[S]`` bool; where None no state is terminal.

    Returns:
        The process, in JAX's default float type.

    Raises:
        ValueError: naming the first entry that is wrong.
    """
    next_state, transition, reward = np.asarray(next_state), np.asarray(transition, float), np.asarray(reward, float)
    if next_state.ndim != 3 or next_state.shape != transition.shape or 0 in transition.shape:
        raise ValueError(
            f"next_state has the shape {next_state.shape} and transition {transition.shape}; both must be [S, A, K]."
        )
    num_states = len(next_state)
    checks.discount(gamma)
    terminal = checks.terminal(terminal, num_states)
    next_state = _checked_states(next_state, ignored=terminal)
    transition = checks.rows("transition", transition, ignored=terminal)
    reward = checks.reward(reward, transition.shape, ignored=terminal)
    start = checks.start(start, terminal)
    if gamma == 1:
        possible = transition > 0
        checks.ends(terminal, lambda ends: (ends[next_state] & possible).any((1, 2)))
    # Terminal states lead to themselves, by the first successor listed.
    ended = terminal[:, None, None]
    next_state = np.where(ended, np.arange(num_states)[:, None, None], next_state)
    transition = np.where(ended, np.arange(transition.shape[2]) == 0, transition)
    return SparseMDP(
        transition=jnp.asarray(transition, float),
        next_state=jnp.asarray(next_state, jnp.int32),
        reward=jnp.asarray(np.where(ended, 0.0, reward), float),
        start=jnp.asarray(start, float),
        terminal=jnp.asarray(terminal),
        gamma=jnp.asarray(gamma, float),
    )


def random_sparse_mdp(key: jax.Array, num_states: int, num_actions: int, *, branching: int, gamma: Scalar) -> SparseMDP:
    """A process whose pairs lead to ``branching`` states drawn with replacement, by a flat Dirichlet distribution.

    Args:
        key: one key.
        num_states: S, static.
        num_actions: A, static.
        branching: K, at least 1, static.
        gamma: discount in [0, 1).

    Returns:
        The process, with normal rewards, a uniform start and no terminal state.

    Raises:
        ValueError: if there is no successor.
    """
    if branching < 1:
        raise ValueError(f"branching={branching} must be at least 1.")
    shape = (num_states, num_actions, branching)
    state_key, weight_key, reward_key = jax.random.split(key, 3)
    weight = jax.random.exponential(weight_key, shape, float)
    return SparseMDP(
        transition=weight / weight.sum(-1, keepdims=True),
        next_state=jax.random.randint(state_key, shape, 0, num_states, jnp.int32),
        reward=jax.random.normal(reward_key, shape, float),
        start=jnp.full(num_states, 1 / num_states),
        terminal=jnp.zeros(num_states, bool),
        gamma=jnp.asarray(gamma, float),
    )


def from_dense(mdp: MDP) -> SparseMDP:
    """The same process with its successors listed, as many as the pair with the most has.

    Args:
        mdp: the process, not traced: K depends on its numbers.

    Returns:
        The process; impossible transitions, and their rewards, are gone.
    """
    possible = np.asarray(mdp.transition) > 0
    most = possible.sum(-1).max()
    next_state = np.argsort(~possible, axis=-1, kind="stable")[..., :most]  # the possible ones first, in their order
    transition, reward = (
        jnp.take_along_axis(x, jnp.asarray(next_state), axis=-1) for x in (mdp.transition, mdp.reward)
    )
    return SparseMDP(
        transition=transition,
        next_state=jnp.asarray(next_state, jnp.int32),
        reward=jnp.where(transition > 0, reward, 0.0),
        start=mdp.start,
        terminal=mdp.terminal,
        gamma=mdp.gamma,
    )


def to_dense(mdp: SparseMDP) -> MDP:
    """The same process with all pairs of states, ``S^2 A`` numbers; where a successor is listed twice its reward is the
    mean."""
    num_states, num_actions, _ = mdp.transition.shape
    state, action = jnp.arange(num_states)[:, None, None], jnp.arange(num_actions)[:, None]
    nothing = jnp.zeros((num_states, num_actions, num_states), mdp.transition.dtype)
    transition = nothing.at[state, action, mdp.next_state].add(mdp.transition)
    weighted_reward = nothing.at[state, action, mdp.next_state].add(mdp.transition * mdp.reward)
    return MDP(
        transition=transition,
        reward=safe_divide(weighted_reward, transition),
        start=mdp.start,
        terminal=mdp.terminal,
        gamma=mdp.gamma,
    )


def _checked_states(next_state: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """``[S, A, K]`` indices of states."""
    if next_state.dtype.kind not in "iu":
        raise ValueError(
            f"next_state has the type {next_state.dtype}; successors are numbers of states: give integers."
        )
    bad = ((next_state < 0) | (next_state >= len(next_state))) & ~ignored[:, None, None]
    if bad.any():
        at = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(f"next_state{list(at)} = {next_state[at]}; states are 0 to {len(next_state) - 1}.")
    return np.where(ignored[:, None, None], 0, next_state)
