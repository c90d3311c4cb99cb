"""The games of pgx, each made once, and how to get around in them."""

import functools

import jax
import jax.numpy as jnp

from purerl.envs import make
from purerl.games import extensive

KEY = jax.random.key(0)
MOVES = {  # how many random moves are looked at, enough to end most games of the short ones
    "tic_tac_toe": 12,
    "connect_four": 44,
    "othello": 70,
    "hex": 40,
    "go_9x9": 40,
    "gardner_chess": 30,
    "kuhn_poker": 5,
    "leduc_holdem": 10,
}
SYMMETRIC = {"tic_tac_toe": 8, "connect_four": 2, "othello": 4, "hex": 2, "go_9x9": 8}


@functools.cache
def named(name):
    """One game for all tests, so that what is compiled for one is there for the next."""
    return make(f"pgx/{name}")


@functools.cache
def tree(name):
    """The tree of a small game, extracted once for all tests."""
    return extensive.extract(named(name))


def legal_move(game, state, key):
    return jax.random.categorical(key, jnp.where(game.legal(state), 0.0, -jnp.inf))


def played(game, moves):
    """The observation and state after some moves."""
    obs, state = game.reset(KEY)
    for move in moves:
        obs, state, *_ = jax.jit(game.step)(KEY, state, jnp.int32(move))
    return obs, state
