"""Positions of games by their moves, what is seen of them, and deterministic players."""

import functools

import jax
import jax.numpy as jnp

from purerl.agent import reactive
from purerl.envs import from_pgx
from purerl.types import Seen

game_of = functools.cache(from_pgx)


def after(game, sequences):
    """What is seen after sequences of moves ``[N, T]``; a negative move is none."""
    key = jax.random.key(0)

    def move(carry, action):
        obs, state, *_ = game.step(key, carry[1], action)
        return jax.tree.map(lambda new, old: jnp.where(action < 0, old, new), (obs, state), carry), None

    @jax.jit
    @jax.vmap
    def play(sequence):
        return jax.lax.scan(move, game.reset(key), sequence)[0]

    return Seen(*play(jnp.asarray(sequences, jnp.int32)))


def sequence_to(board):
    """Moves that lead to a board of tic-tac-toe on which nobody has won, to which every order leads."""
    cells = [[cell for cell in range(9) if board[cell] == mark] for mark in (1, -1)]
    moves = [cells[t % 2][t // 2] for t in range(9 - board.count(0))]
    return moves + [-1] * (9 - len(moves))


def by_preference(game, preferences):
    """Plays, in game i, the first legal move of the list ``preferences[i]``."""

    def policy(seen, key):
        legal = jax.vmap(game.legal)(seen.env_state)
        listed = jnp.take_along_axis(legal, preferences, axis=1)
        return jnp.take_along_axis(preferences, listed.argmax(1)[:, None], axis=1)[:, 0]

    return reactive(policy)


def actions_of(agent, seen, keys):
    """Actions ``[B, K]`` of a reactive agent, under each of K keys."""
    return jax.jit(jax.vmap(lambda key: agent.policy((), seen, key)[1], out_axes=1))(keys)
