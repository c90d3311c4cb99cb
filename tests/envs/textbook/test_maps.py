"""Maps of gridworlds: where cells are, and where moves lead."""

import numpy as np
import pytest

from purerl.envs.textbook import maps

WORLD = ("S.#", "..G")


def test_cells_are_numbered_row_by_row():
    """Letters are found where they stand, and a letter that is there twice is no cell."""
    assert maps.letters(WORLD).shape == (2, 3)
    assert maps.cell(WORLD, "S") == 0 and maps.cell(WORLD, "G") == 5
    np.testing.assert_array_equal(maps.where(WORLD, "S#"), [True, False, True, False, False, False])
    with pytest.raises(ValueError):
        maps.cell(WORLD, ".")


def test_moves_stop_at_borders_and_walls():
    """From every cell of the small map, by hand: up, right, down, left; a wall cannot be entered."""
    up, right, down, left = maps.destinations(WORLD, ((-1, 0), (0, 1), (1, 0), (0, -1))).T
    np.testing.assert_array_equal(up[[0, 1, 3, 4, 5]], [0, 1, 0, 1, 5])
    np.testing.assert_array_equal(right[[0, 1, 3, 4, 5]], [1, 1, 4, 5, 5])
    np.testing.assert_array_equal(down[[0, 1, 3, 4, 5]], [3, 4, 3, 4, 5])
    np.testing.assert_array_equal(left[[0, 1, 3, 4, 5]], [0, 0, 3, 3, 4])


def test_wind_blows_by_the_column_that_one_leaves():
    """Moving right out of a column with wind leads one row higher, if there is one."""
    moves = maps.destinations(("...", "..."), ((0, 1),), wind=(0, 1, 0))
    np.testing.assert_array_equal(moves.ravel(), [1, 2, 2, 4, 2, 5])
