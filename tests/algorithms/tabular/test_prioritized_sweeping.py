"""Prioritized sweeping backs up one state after the other, from the goal backwards."""

import jax.numpy as jnp
import numpy as np

from purerl.algorithms.tabular.prioritized_sweeping import prioritized_sweeping
from purerl.algorithms.tabular.value_iteration import value_iteration
from tests.support.processes import (
    corridor,
)


def test_prioritized_sweeping_goes_straight_back():
    """In a corridor of 30 states only the last is wrong at first, and then the one before it: 30 backups, where sweeps
    from the wrong end need 31 x 30."""
    mdp, want = corridor(30), 0.9 ** np.arange(29, -1, -1)
    solution = prioritized_sweeping(mdp, tolerance=1e-6)
    assert solution.iterations == 30
    np.testing.assert_allclose(solution.value[:-1], want, rtol=1e-6)
    assert value_iteration(mdp, tolerance=1e-6).iterations == 31
    backwards = value_iteration(mdp, order=jnp.arange(30, -1, -1), tolerance=1e-6)
    assert backwards.iterations == 2  # in the right order one sweep does it, and one more sees that
    np.testing.assert_allclose(backwards.value[:-1], want, rtol=1e-6)
