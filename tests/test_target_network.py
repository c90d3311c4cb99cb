"""Target networks: hard copies when the count of steps crosses a multiple, and Polyak averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.target_network import update_target

OLD, NEW = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([5.0, -2.0])}


@pytest.mark.covers("target-net")
def test_hard_copy_where_the_count_crosses_a_multiple():
    """Also where an update passes several at once, or the interval is not whole, and not where it starts on one."""
    cases = jnp.array([[0, 9, 10], [0, 10, 10], [10, 19, 10], [10, 35, 10], [24, 25, 12.5], [25, 37, 12.5]])
    found = jax.vmap(
        lambda before, now, every: update_target(OLD, NEW, "hard", before=before, now=now, every=every, tau=0.5)
    )(*cases.T)
    copied = np.array([False, True, False, True, True, False])
    np.testing.assert_array_equal(found["w"], np.where(copied[:, None], NEW["w"], OLD["w"]))


@pytest.mark.covers("polyak")
def test_polyak_average_moves_by_tau():
    """``theta' + tau (theta - theta')``, with every update; tau 0 leaves it, tau 1 copies."""
    for tau, expected in ((0.0, [1.0, 2.0]), (0.25, [2.0, 1.0]), (1.0, [5.0, -2.0])):
        found = update_target(OLD, NEW, "polyak", before=jnp.int32(3), now=jnp.int32(4), every=100.0, tau=tau)
        np.testing.assert_allclose(found["w"], expected, rtol=1e-6)
