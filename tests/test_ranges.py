"""Ranges: words, ends and members of an interval; records whose numbers are checked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl.ranges import Range, check_hypers, check_number, hyper, range_of, setting


class Inner(struct.PyTreeNode):
    """A record in a record."""

    weight: float = hyper(1.0, low=0)


class Hypers(struct.PyTreeNode):
    """A range of every kind, none, and a word that is no leaf."""

    gamma: float = hyper(0.9, low=0, high=1)
    scale: float = hyper(1.0, above=0)
    steps: float = hyper(float("inf"), above=0, infinite=True)
    shift: float = hyper(0.0)
    free: float = float("inf")
    inner: Inner = Inner()
    kind: str = struct.field(pytree_node=False, default="plain")


@pytest.mark.parametrize(
    ("interval", "words", "inside", "outside"),
    [
        (Range(), "finite", (-1e300, 0.0), (np.inf, -np.inf, np.nan)),
        (Range(low=0), "at least 0", (0.0, 1e9), (-1e-300, np.inf, np.nan)),
        (Range(low=0, is_open=True), "above 0", (1e-300,), (0.0, -0.0)),
        (Range(high=3), "at most 3", (3, -7), (3.1, -np.inf)),
        (Range(0, 1), "in [0, 1]", (0, 0.5, 1), (-0.1, 1.0000001)),
        (Range(0, 1, is_open=True), "in (0, 1]", (1e-9, 1), (0,)),
        (Range(low=0, infinite=True), "at least 0, or infinite", (0, np.inf), (-np.inf, np.nan)),
        (Range(0, 2**32 - 1), "in [0, 4294967295]", (2**32 - 1,), (2**32,)),
    ],
    ids=str,
)
def test_words_and_members_of_an_interval(interval, words, inside, outside):
    """What it says is what it holds; NaN is in none, infinity where it is said."""
    assert str(interval) == words
    assert interval.has(np.array(inside)).all() and not interval.has(np.array(outside)).any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, np.float64], ids=str)
def test_ends_are_inside(dtype):
    """The smallest and the largest number of a type: they belong to the range, and 0 does not where it is open."""
    for interval in (Range(), Range(0, 1), Range(low=0, is_open=True), Range(0.5, 1, is_open=True)):
        low, high = (np.asarray(end, dtype) for end in interval.ends(np.dtype(dtype)))
        assert low < high and interval.has(low) and interval.has(high), interval
    assert Range(low=0, infinite=True).ends(np.dtype(dtype)) == (0, np.inf)


def test_a_field_declares_its_range():
    """In a record of hyperparameters, whose fields stay leaves with defaults, and in a config."""
    ranges = {field.name: range_of(field) for field in dataclasses.fields(Hypers)}
    assert ranges["gamma"] == Range(0, 1) and ranges["shift"] == Range() and ranges["free"] is None
    assert jax.tree.leaves(Hypers())[:2] == [0.9, 1.0]

    @dataclasses.dataclass
    class Config:
        size: int = setting(8, low=2)

    assert Config().size == 8 and range_of(dataclasses.fields(Config)[0]) == Range(low=2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gamma": 0, "scale": 1e-30, "steps": np.float32(5), "free": -np.inf, "inner": Inner(0)},
        {"gamma": jnp.array([0.0, 1.0]), "shift": np.float32(-3)},
    ],
    ids=str,
)
def test_numbers_in_their_ranges_pass(changes):
    """Python's, NumPy's and JAX's; arrays; whole numbers where a float is meant."""
    check_hypers(Hypers(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 1.5}, "Hypers.gamma = 1.5: it must be in [0, 1]."),
        ({"gamma": np.nan}, "Hypers.gamma = nan: it must be finite, in [0, 1]."),
        ({"gamma": jnp.array([0.5, 1.25, -1])}, "Hypers.gamma = 1.25: it must be in [0, 1]."),
        ({"gamma": True}, "Hypers.gamma = True: it must be a number, in [0, 1]."),
        ({"gamma": "0.9"}, "Hypers.gamma = '0.9': it must be a number, in [0, 1]."),
        ({"gamma": None}, "Hypers.gamma = None: it must be a number, in [0, 1]."),
        ({"scale": np.inf}, "Hypers.scale = inf: it must be finite, above 0."),
        ({"scale": 0.0}, "Hypers.scale = 0.0: it must be above 0."),
        ({"scale": 1e-60}, "Hypers.scale = 1e-60: it must be above 0, as float32 too."),
        ({"shift": 1e60}, "Hypers.shift = 1e+60: it must be finite, as float32 too."),
        ({"steps": -np.inf}, "Hypers.steps = -inf: it must be above 0, or infinite."),
        ({"free": np.float32("nan")}, "Hypers.free = nan: it must be a number."),
        ({"inner": Inner(-1)}, "Inner.weight = -1: it must be at least 0."),
    ],
    ids=str,
)
def test_numbers_out_of_their_ranges_are_refused(changes, message):
    """The field, the first value that is outside, and what it must be; of a field without a range only NaN."""
    with pytest.raises(ValueError) as error:
        check_hypers(Hypers(**changes))
    assert str(error.value) == message


def test_traced_numbers_pass():
    """Nothing can be said of them."""
    jax.eval_shape(check_hypers, Hypers())


def test_a_number_by_any_name():
    """As options and configs are checked."""
    check_number("seed", 3, Range(0, 4))
    with pytest.raises(ValueError, match=r"^seed = 5: it must be in \[0, 4\]\.$"):
        check_number("seed", 5, Range(0, 4))
