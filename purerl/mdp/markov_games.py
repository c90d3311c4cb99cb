"""Markov games as arrays: several players act in each state at once, and all that they do decides what follows.

    game = markov_games.make(transition, reward, gamma=0.9)    # [S, A, K, S] and [S, A, K], zero-sum
    process = markov_games.induced(game, 0, policies)          # what player 0 is in while the other stays as it is

To each player, the others are part of the world. As long as they do not change, it is an ordinary decision process;
when they learn, its transitions and rewards move.

Policies are a tuple of one table ``[S, A_i]`` for each of the n players.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.mdp import bellman, checks
from purerl.mdp.processes import MDP, random_mdp
from purerl.types import Scalar

Policies = tuple[jax.Array, ...]  # [S, A_i] of each player


class MarkovGame(struct.PyTreeNode):
    """A finite Markov game of n players; :func:`make` builds one from plain arrays and checks it."""

    transition: jax.Array  # [S, A_1, ..., A_n, S] P[s, a_1, ..., a_n, s'], rows sum to 1
    reward: jax.Array  # [n, S, A_1, ..., A_n] expected, of each player; 0 in terminal states
    start: jax.Array  # [S] distribution of the first state
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


def make(transition: Any, reward: Any, *, gamma: float, start: Any = None, terminal: Any = None) -> MarkovGame:
    """Build and check a Markov game from arrays or nested lists.

    Args:
        transition: ``[S, A_1, ..., A_n, S]``, each row a distribution within 1e-5.
        reward: ``[n, S, A_1, ..., A_n]``; or ``[S, A_1, A_2]``, of the first of two players, the other's being its
            negative.
        gamma: discount in [0, 1].
        start: as of :func:`purerl.mdp.make`.
        terminal: as of :func:`purerl.mdp.make`.

    Raises:
        ValueError: naming what is wrong; the actions of an entry are counted row by row as one joint action.
    """
    transition, reward = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    num_players = transition.ndim - 2
    if num_players < 1 or transition.shape[0] != transition.shape[-1] or not transition.size:
        raise ValueError(f"transition has the shape {transition.shape}; it must be [S, A_1, ..., A_n, S].")
    if num_players == 2 and reward.shape == transition.shape[:-1]:
        reward = np.stack([reward, -reward])
    if reward.shape != (num_players, *transition.shape[:-1]):
        raise ValueError(
            f"reward has the shape {reward.shape}; with a transition of the shape {transition.shape} it must be "
            f"{(num_players, *transition.shape[:-1])}, or {transition.shape[:-1]} in a zero-sum game of two players."
        )
    num_states = len(transition)
    checks.discount(gamma)
    terminal = checks.terminal(terminal, num_states)
    joint = checks.rows("transition", transition.reshape(num_states, -1, num_states), ignored=terminal)
    for own in reward:
        checks.reward(own.reshape(num_states, -1), joint.shape, ignored=terminal)
    start = checks.start(start, terminal)
    joint = np.where(terminal[:, None, None], np.eye(num_states)[:, None], joint)
    ended = terminal.reshape(-1, *[1] * num_players)
    return MarkovGame(
        transition=jnp.asarray(joint.reshape(transition.shape), float),
        reward=jnp.asarray(np.where(ended, 0.0, reward), float),
        start=jnp.asarray(start, float),
        terminal=jnp.asarray(terminal),
        gamma=jnp.asarray(gamma, float),
    )


def random_zero_sum(
    key: jax.Array, num_states: int, num_actions: tuple[int, int], *, gamma: Scalar, num_terminal: int = 0
) -> MarkovGame:
    """Random zero-sum game of two players: a Garnet process of their joint actions (:func:`purerl.mdp.random_mdp`).

    Args:
        key: one key; ``vmap`` over keys for many games.
        num_states: S, static.
        num_actions: ``(A, K)``, static.
        gamma: discount in [0, 1].
        num_terminal: the last so many states are terminal, static.
    """
    mdp = random_mdp(key, num_states, math.prod(num_actions), gamma=gamma, num_terminal=num_terminal)
    reward = bellman.expected_reward(mdp).reshape(num_states, *num_actions)
    transition = mdp.transition.reshape(num_states, *num_actions, num_states)
    return MarkovGame(transition, jnp.stack([reward, -reward]), mdp.start, mdp.terminal, mdp.gamma)


def induced(game: MarkovGame, player: int, policies: Policies) -> MDP:
    """Decision process that one player is in while the others stay as they are.

    ``P_i[s, a, s'] = sum_{a_-i} pi_-i(a_-i | s) P[s, a, a_-i, s']``, and of the rewards likewise

    Args:
        game: the game.
        player: which one, 0 .. n - 1; its own policy plays no part.
        policies: ``[S, A_i]`` of each player.

    Source: Littman 1994, section 2, on what becomes of a game whose opponent is fixed.
    """
    transition, reward = game.transition, game.reward[player][..., None]
    for other in reversed(range(len(policies))):  # the last first, so that the axes before it stay where they are
        if other != player:
            transition, reward = (_average(x, policies[other], 1 + other) for x in (transition, reward))
    return MDP(transition, jnp.broadcast_to(reward, transition.shape), game.start, game.terminal, game.gamma)


def values(game: MarkovGame, policies: Policies) -> jax.Array:
    """Values of the states to each player under everybody's policy, ``V_i [n, S]``, by a linear solve each.

    Args:
        game: the game.
        policies: ``[S, A_i]`` of each player.
    """
    each = [bellman.state_value(induced(game, i, policies), policies[i]) for i in range(len(policies))]
    return jnp.stack(each)


def stage_games(game: MarkovGame, value: jax.Array) -> jax.Array:
    """Normal-form game of each state, if what follows is worth ``V``: ``u_i[s, a] = R_i[s, a] + gamma P[s, a] V_i``.

    Args:
        game: the game.
        value: ``[n, S]``.

    Returns:
        ``[n, S, A_1, ..., A_n]``, 0 in terminal states. An equilibrium of each, with the value that it has in it, is
        an equilibrium of the Markov game.

    Source: Shapley 1953.
    """
    after = jnp.einsum("...z,nz->n...", game.transition, value, precision="highest")
    ended = game.terminal.reshape(-1, *[1] * len(value))
    return jnp.where(ended, 0.0, game.reward + game.gamma * after)


def _average(x: jax.Array, policy: jax.Array, axis: int) -> jax.Array:
    """Mean over one player's axis of actions, state by state."""
    return jnp.einsum("sa...,sa->s...", jnp.moveaxis(x, axis, 1), policy, precision="highest")
