"""Spaces: draws lie in them, what lies outside does not, and impossible ones are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.spaces import Box, Dict, Discrete, MultiDiscrete, Text, Tokens, Tuple, interpolate, tree

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


INF, INT32 = np.inf, np.iinfo(np.int32)
BOXES = [
    (0.0, INF, np.float32),
    (-INF, -2.0, np.float32),
    (-3e38, 3e38, np.float32),
    (3e38, INF, np.float32),
    (-INF, INF, np.float32),
    (0.1, 0.7, np.float16),
    (np.array([-INF, 0.0, -1.0]), np.array([INF, INF, 1.0]), np.float32),
    (0, 255, np.uint8),
    (250, INF, np.uint8),
    (-INF, INF, np.uint8),
    (-128, 127, np.int8),
    (-INF, 5, np.int8),
    (INT32.min, INT32.max, np.int32),
    (-5, INT32.max, np.int32),
    (INT32.max - 2, INF, np.int32),
    (0, 2**32 - 1, np.uint32),
    (0.5, 3.7, np.int32),
    (0, 1, np.bool_),
]


@pytest.mark.parametrize(("low", "high", "dtype"), BOXES)
def test_every_draw_lies_in_its_box_and_is_finite(low, high, dtype):
    """One-sided, huge, whole and narrow boxes: draws of the right dtype, inside, finite and not all alike."""
    box = Box(low, high, (3,), dtype)
    with jax.debug_key_reuse(True):
        draws = jax.vmap(box.sample)(jax.random.clone(KEYS))
    assert draws.dtype == dtype and jax.vmap(box.contains)(draws).all()
    exact = np.asarray(draws, np.float64)
    assert (np.isfinite(exact).all() and (exact >= low).all() and (exact <= high).all()) or dtype == np.float16
    assert exact.std() > 0 or low == 3e38


def test_whole_numbers_are_drawn_evenly():
    """Ends as often as the middle, and the widest ranges in all their parts."""
    counts = np.bincount(np.asarray(Box(-2, 2, (5000,), np.int8).sample(jax.random.key(0))) + 2)
    assert counts.size == 5 and abs(counts - 1000).max() < 4 * np.sqrt(800)
    wide = np.asarray(Box(-INF, INF, (4000,), np.int32).sample(jax.random.key(0)), np.float64)
    assert abs(wide).max() < 10  # a unit normal, rounded
    for low, high in ((INT32.min, INT32.max), (-7, INT32.max)):
        wide = np.asarray(Box(low, high, (4000,), np.int32).sample(jax.random.key(0)), np.float64)
        np.testing.assert_allclose((wide.mean() - low) / (high - low), 0.5, atol=0.02)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_membership_does_not_overflow(dtype):
    """Of every integer dtype: values and bounds that the other's dtype does not hold are compared as numbers."""
    info = np.iinfo(dtype)
    for x in {int(info.min), 0, 5, int(info.max)}:
        value = jnp.asarray(x, dtype)
        for n in (1, 6, 128, 200, 256, 300, 2**16, 2**31 - 1):
            assert bool(Discrete(n).contains(value)) == (0 <= x < n), (x, n)
            assert bool(MultiDiscrete((n,)).contains(value[None])) == (0 <= x < n), (x, n)
        for low, high in ((0, 255), (-1, 300), (-300, 5), (-INF, 2), (5, INF), (-70000, 70000)):
            inside = max(low, INT32.min) <= x <= min(high, INT32.max)
            assert bool(Box(low, high, (), np.int32).contains(value)) == inside, (x, low, high)
            assert bool(Box(low, high, ()).contains(value)) == (low <= x <= high), (x, low, high)
    most = int(info.max)
    if most < 2**31:
        assert Discrete(most + 1, dtype).contains(jnp.asarray(most, dtype))
        with pytest.raises(ValueError, match=f"holds integers up to {most}; use a wider dtype"):
            Discrete(most + 2, dtype)


def test_fractions_and_nans_are_no_integers():
    """Nor are they inside any box."""
    np.testing.assert_array_equal(Discrete(3).contains(jnp.array([0.0, 1.5, jnp.nan, 2.0])), [True, False, False, True])
    assert not Box(-INF, INF, (2,)).contains(jnp.array([0.0, jnp.nan]))


def test_containers_draw_and_hold_their_parts():
    """Dictionaries and tuples, nested; another key, length or part is outside; as arrays they have no shape."""
    space = Dict({"b": Tuple((Discrete(3), MultiDiscrete((2, 4)))), "a": Box(0.0, 1.0, (2,))})
    draw = space.sample(KEYS[0])
    assert space.contains(draw) and jax.tree.structure(draw) == jax.tree.structure(tree(space))
    draws = jax.vmap(space.sample)(KEYS)["b"]
    assert np.unique(draws[0]).size == 3 and len(np.unique(draws[1], axis=0)) == 8
    assert not space.contains({"a": draw["a"]})
    assert not space.contains({**draw, "b": draw["b"][:1]})
    assert not space.contains({**draw, "a": draw["a"] + 1})
    for part in (space, space.spaces["b"]):
        for attribute in ("shape", "dtype"):
            with pytest.raises(ValueError, match=r"is no array.*flatten_observation\(env\)"):
                getattr(part, attribute)


@pytest.mark.parametrize("pad_left", [True, False])
def test_text_is_padded_on_one_side(pad_left):
    """Draws have all lengths and tokens, 0 where there is nothing; holes and unknown ids lie outside."""
    space = Text(4, 5, pad_left)
    draws = jax.vmap(space.sample)(KEYS)
    assert jax.vmap(space.contains)(draws).all()
    assert set(np.unique(draws.mask.sum(axis=1))) == {1, 2, 3, 4} and set(np.unique(draws.ids)) == set(range(5))
    assert not draws.ids[~draws.mask].any()
    assert draws.ids.dtype == jnp.int32 and draws.mask.dtype == bool
    mask = np.array([False, False, True, True])
    ids = jnp.array([0, 0, 4, 2])
    assert bool(space.contains(Tokens(ids, jnp.asarray(mask)))) == pad_left
    assert bool(space.contains(Tokens(ids, jnp.asarray(mask[::-1])))) != pad_left
    for hole in ([True, False, True, True], [True, True, False, True], [False] * 4):
        assert not space.contains(Tokens(ids, jnp.array(hole)))
    assert not space.contains(Tokens(ids + 1, jnp.ones(4, bool)))
    assert jax.tree.structure(tree(space)) == jax.tree.structure(space.sample(KEYS[0]))
    for attribute in ("shape", "dtype"):
        with pytest.raises(ValueError, match="no array of numbers: take an algorithm for language models"):
            getattr(space, attribute)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Text(0, 3), "each must be a positive integer"),
        (lambda: Text(3, 2.5), "each must be a positive integer"),
        (lambda: Box(jnp.nan, 1.0, ()), "no finite float32 lies between"),
        (lambda: Box(INF, INF, ()), "use -inf and inf where there is no bound"),
        (lambda: Box(1e39, INF, ()), "no finite float32 lies between"),
        (lambda: Box(0, 300, (), np.uint8), "uint8 holds 0 to 255"),
        (lambda: Box(-1, 5, (), np.uint8), "uint8 holds 0 to 255"),
        (lambda: Box(0.2, 0.7, (), np.int32), "no int32 lies between"),
        (lambda: Box(0.0, np.ones(3), (2,)), r"broadcasts to shape=\(2,\)"),
        (lambda: Box(0.0, 1.0, (), np.complex64), "is no number"),
        (lambda: Discrete(3, np.float32), "is no integer; use np.int32"),
        (lambda: MultiDiscrete((3, 0)), "each of nvec must be a positive integer"),
        (lambda: MultiDiscrete(()), "each of nvec must be a positive integer"),
        (lambda: MultiDiscrete((2, 300), np.uint8), "holds integers up to 255"),
    ],
)
def test_spaces_that_cannot_be_are_refused(make, message):
    """With what is wrong and what to do."""
    with pytest.raises(ValueError, match=message):
        make()


def test_interpolation_does_not_overflow():
    """The plain line where the width is a float; the ends and the middle of the widest box."""
    low, high = np.float32([-2, -3e38]), np.float32([2, 3e38])
    at = [
        interpolate(jnp.asarray(low), jnp.asarray(high), jnp.full(2, share, jnp.float32)) for share in (0.0, 0.5, 1.0)
    ]
    np.testing.assert_array_equal(at, [low, [0, 0], high])
