"""A game of two players that is cut off, with something behind the end that nobody may see."""

import jax
import jax.numpy as jnp

from purerl.envs.games import Game
from purerl.spaces import Box, Discrete

REWARD = 0.5  # of the third move, which cuts the game off


def cut_game(behind: jax.Array | float, forced: bool = True) -> Game:
    """Two moves a turn, 0 and 1. A third move 0 truncates the game with a reward; any later move terminates it.

    Args:
        behind: reward of a later move, which nobody can make after the truncation.
        forced: whether 0 is the only legal move.
    """

    def see(moves):
        return jax.nn.one_hot(moves, 5)

    def reset(key):
        return see(jnp.int32(0)), jnp.int32(0)

    def step(key, moves, action):
        truncated, terminated = (moves == 2) & (action == 0), moves > 2
        reward = jnp.where(truncated, REWARD, jnp.where(terminated, behind, 0.0))
        return see(moves + 1), moves + 1, reward, terminated, truncated, {}

    def legal(moves):
        return jnp.array([True, not forced])

    return Game("cut", reset, step, Box(0.0, 1.0, (5,)), Discrete(2), legal, lambda moves: moves % 2, None, str)
