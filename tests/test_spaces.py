"""Spaces: draws lie in them, what lies outside does not, and impossible ones are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.spaces import Box, Discrete

KEYS = jax.random.split(jax.random.key(0), 400)


def test_draws_of_a_discrete_space_are_all_its_integers():
    """0 .. n-1, each of them drawn, of the dtype that was asked for; -1 and n are not in it."""
    space = Discrete(3)
    draws = jax.vmap(space.sample)(KEYS)
    assert set(np.asarray(draws).tolist()) == {0, 1, 2} and draws.dtype == space.dtype and space.shape == ()
    np.testing.assert_array_equal(space.contains(jnp.arange(-1, 4)), [False, True, True, True, False])


def test_draws_of_a_box_lie_between_its_bounds():
    """Uniform between finite bounds, entry by entry; a unit normal where one is infinite; whole where they are ints."""
    box = Box(np.array([-1.0, 2.0, -np.inf]), np.array([1.0, 3.0, np.inf]), (3,))
    draws = np.asarray(jax.vmap(box.sample)(KEYS))
    assert draws.shape == (400, 3) and draws.dtype == np.float32 and jax.vmap(box.contains)(draws).all()
    for column, low, high in ((0, -1, 1), (1, 2, 3)):
        assert low <= draws[:, column].min() < low + 0.1 and high - 0.1 < draws[:, column].max() <= high
    assert abs(draws[:, 2].mean()) < 0.25 and 0.8 < draws[:, 2].std() < 1.2
    whole = np.asarray(jax.vmap(Box(0, 4, (), np.int32).sample)(KEYS))
    assert whole.dtype == np.int32 and set(whole.tolist()) == set(range(5))


def test_a_box_contains_what_is_within_all_its_bounds():
    """One entry outside is enough to be outside; the bounds themselves are inside."""
    box = Box(-1.0, 1.0, (2,))
    assert box.contains(jnp.array([-1.0, 1.0]))
    assert not box.contains(jnp.array([0.0, 1.5]))


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_a_discrete_space_has_a_positive_number_of_integers(n):
    """Anything else is refused by name."""
    with pytest.raises(ValueError, match=r"n must be a positive integer"):
        Discrete(n)


def test_a_box_with_crossed_bounds_is_refused():
    """Where a lower bound exceeds its upper bound in any entry."""
    with pytest.raises(ValueError, match=r"low exceeds high"):
        Box(np.array([0.0, 2.0]), 1.0, (2,))
