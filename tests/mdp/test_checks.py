"""Checks of a process: each wrong argument is named with its first bad entry."""

import numpy as np
import pytest

from purerl import mdp as kernel


def good() -> dict:
    """Two states and one action: the first leads to the second, which ends."""
    return {"transition": np.array([[[0.0, 1.0]], [[0.0, 1.0]]]), "reward": np.zeros((2, 1)), "gamma": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition": np.array([[[0.5, 0.4]], [[0, 1]]])}, r"transition\[0, 0\] sums to 0.9, not to 1"),
        ({"transition": np.array([[[0, 1]], [[1.5, -0.5]]])}, r"transition\[1, 0\] has the entry -0.5"),
        ({"transition": np.array([[[0, np.nan]], [[0, 1]]])}, r"transition\[0, 0\] has the entry nan"),
        ({"transition": np.ones((2, 3))}, r"shape \(2, 3\); it must be \[S, A, S\]"),
        ({"reward": np.array([[0], [np.nan]])}, r"reward\[1, 0, 0\] = nan"),
        ({"reward": np.zeros((2, 2))}, r"reward has the shape \(2, 2\)"),
        ({"reward": np.zeros((2, 1, 2, 1))}, r"reward has the shape \(2, 1, 2, 1\)"),
        ({"gamma": 1.1}, r"gamma=1.1 must lie in \[0, 1\]"),
        ({"gamma": np.nan}, r"gamma=nan must lie"),
        ({"gamma": 1.0}, r"no terminal state can be reached from state 0"),
        ({"start": [0.5, 0.4]}, r"start sums to 0.9"),
        ({"start": [1.0]}, r"start has the shape \(1,\)"),
        ({"start": [0.5, 0.5], "terminal": np.array([False, True])}, r"start\[1\] = 0.5, but state 1 is terminal"),
        ({"terminal": [0, 1]}, r"terminal is int64\[2\]; it must be bool\[2\]"),
        ({"terminal": np.ones(2, bool)}, r"every state is terminal"),
    ],
)
def test_a_wrong_process_is_refused(changes, message):
    """Each wrong argument is named with its first bad entry, before anything is computed."""
    with pytest.raises(ValueError, match=message):
        kernel.make(**{**good(), **changes})
