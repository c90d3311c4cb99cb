"""The levels of a small game, by hand."""

import jax
import numpy as np

from purerl.games import levels
from tests.support.cut_game import cut_game


def test_levels_of_a_game_that_is_cut_off():
    """Two moves at each of three nodes in a row: who moves, what goes on, what ends it, and sizes across batches."""
    game = cut_game(behind=7.0, forced=False)
    follow = levels.follower(game, lambda obs, state: jax.vmap(game.legal)(state) | True, jax.random.key(0), 3)
    level, sizes = levels.first_level(game, jax.random.key(0)), []
    for number in range(3):
        sizes.append(levels.num_positions(level))
        steps = list(follow(level))
        step = levels.joined([s._replace(after=()) for s in steps])
        assert step.played.all() and (step.mover == number % 2).all()
        np.testing.assert_array_equal(step.over, np.tile([number == 2, False], (sizes[-1], 1)))
        np.testing.assert_array_equal(step.turn[~step.over], -1)
        level = levels.joined([s.going_on() for s in steps])
    assert sizes == [1, 2, 4] and levels.num_positions(level) == 4
