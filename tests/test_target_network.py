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
    clock, now = jnp.array([[0, 9], [0, 10], [10, 19], [10, 35], [24, 25], [25, 37]]).T
    every = jnp.array([10, 10, 10, 10, 12.5, 12.5])
    found, after = jax.vmap(
        lambda clock, number, every: update_target(
            OLD, NEW, "hard", clock=clock, num_steps=number, every=every, tau=0.5
        )
    )(clock, now - clock, every)
    copied = np.array([False, True, False, True, True, False])
    np.testing.assert_array_equal(found["w"], np.where(copied[:, None], NEW["w"], OLD["w"]))
    np.testing.assert_array_equal(after, now)


@pytest.mark.covers("target-net")
@pytest.mark.parametrize("first", [0, 2**23 - 5, 2**24 - 5, 2**31 - 5], ids=["start", "2^23", "2^24", "2^31"])
def test_hard_copies_never_cease(first):
    """However many steps there were, a copy comes every 7 of them: 36 in 252 steps, which are taken 3 at a time."""

    def update(clock, _):
        found, clock = update_target(OLD, NEW, "hard", clock=clock, num_steps=3, every=7.0, tau=0.5)
        return clock, found["w"][0] == NEW["w"][0]

    clock, copied = jax.lax.scan(update, jnp.int32(first), length=21 * 4)
    assert abs(int(copied.sum()) - 36) <= 1
    assert np.diff(np.flatnonzero(copied)).max() <= 3
    assert int(clock) >= 0


@pytest.mark.covers("polyak")
def test_polyak_average_moves_by_tau():
    """``theta' + tau (theta - theta')``, with every update; tau 0 leaves it, tau 1 copies."""
    for tau, expected in ((0.0, [1.0, 2.0]), (0.25, [2.0, 1.0]), (1.0, [5.0, -2.0])):
        found, _ = update_target(OLD, NEW, "polyak", clock=jnp.int32(3), num_steps=1, every=100.0, tau=tau)
        np.testing.assert_allclose(found["w"], expected, rtol=1e-6)
