"""Schedules of hyperparameters, against their equations, and their command-line form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl.driver.hypers import schedules
from purerl.driver.hypers.schedules import cosine, from_text, linear, parse, piecewise
from purerl.ranges import hyper

PROGRESS = np.linspace(0, 1, 11)


class Inner(struct.PyTreeNode):
    """A record within a record."""

    scale: float = 1.0


class Hypers(struct.PyTreeNode):
    """Two numbers, a whole one, and a record."""

    learning_rate: jax.Array | float = 1e-3
    gamma: jax.Array | float = 0.9
    horizon: int = 10
    inner: Inner = struct.field(default_factory=Inner)


def steps(initial, progress):
    """By hand: the initial value, 0.1 from 0.5 on, 0.01 from 0.8 on."""
    return 0.01 if progress >= 0.8 else 0.1 if progress >= 0.5 else initial


CASES = [
    (linear(0.2), lambda initial, p: initial + (0.2 - initial) * p),
    (cosine(0.2), lambda initial, p: 0.2 + (initial - 0.2) * (1 + np.cos(np.pi * p)) / 2),
    (piecewise({0.8: 0.01, 0.5: 0.1}), steps),
]


@pytest.mark.parametrize(("schedule", "equation"), CASES, ids=("linear", "cosine", "piecewise"))
@pytest.mark.parametrize("initial", [1.0, 0.0, -3.0])
def test_follows_its_equation(schedule, equation, initial, x64):
    """At eleven points of the run, in double precision, whatever the initial value."""
    values = [schedule(jnp.float64(initial), p) for p in PROGRESS]
    np.testing.assert_allclose(values, [equation(initial, p) for p in PROGRESS], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("schedule", "equation"), CASES, ids=("linear", "cosine", "piecewise"))
def test_one_compile_serves_all_values_dtypes_keep(schedule, equation):
    """Traced initial values and progress: one trace per shape and dtype, which the result keeps; vmap agrees."""
    traces = []

    @jax.jit
    def function(initial, progress):
        traces.append(initial.dtype)
        return schedule(initial, progress)

    for initial in (0.5, 0.7):
        for p in PROGRESS:
            np.testing.assert_allclose(function(jnp.float32(initial), p), equation(initial, p), rtol=1e-6)
    assert len(traces) == 1
    swept = jnp.array([0.5, 0.7, 0.9])
    expected = [equation(initial, 0.3) for initial in (0.5, 0.7, 0.9)]
    np.testing.assert_allclose(function(swept, 0.3), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda initial: schedule(initial, 0.3))(swept), expected, rtol=1e-6)
    for p in (0.3, 1.0):
        half = function(jnp.ones((2, 3), jnp.bfloat16), p)
        assert (half.shape, half.dtype, half.weak_type) == ((2, 3), jnp.bfloat16, False)


def test_whole_numbers_are_rounded():
    """From 10 to 0 through whole numbers, the nearest each time, not the next below."""
    values = [linear(0)(jnp.int32(10), p) for p in (0.0, 0.12, 0.29, 1.0)]
    assert [int(value) for value in values] == [10, 9, 7, 0]
    assert {value.dtype for value in values} == {jnp.dtype("int32")}


def test_apply_replaces_the_scheduled_fields_only():
    """The others are the very same objects; any function of initial value and progress is a schedule."""
    hypers = Hypers(learning_rate=jnp.array([1.0, 2.0]))
    plan = {"learning_rate": linear(0), "gamma": lambda initial, progress: 1 - (1 - initial) * progress}
    now = jax.jit(lambda progress: schedules.apply(plan, hypers, progress))(0.25)
    np.testing.assert_allclose(now.learning_rate, [0.75, 1.5])
    np.testing.assert_allclose(now.gamma, 0.975)
    alone = schedules.apply({"gamma": linear(0)}, hypers, 0.5)
    assert alone.learning_rate is hypers.learning_rate and alone.inner is hypers.inner


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("learning_rat", "Hypers has no field 'learning_rat'. Near: 'learning_rate'. Fields: learning_rate, gamma"),
        ("inner", "Hypers.inner holds Inner, not a number"),
    ],
)
def test_unknown_fields_are_refused(name, message):
    """Before tracing by ``check``, and by ``apply``."""
    for refuse in (schedules.check, lambda plan, hypers: schedules.apply(plan, hypers, 0.5)):
        with pytest.raises(ValueError, match=message):
            refuse({name: linear(0)}, Hypers())
    assert schedules.check({"gamma": linear(0)}, Hypers()) is None


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("linear:0", linear(0)),
        ("linear:1e-05", linear(1e-5)),
        ("cosine:0.05", cosine(0.05)),
        ("piecewise:0.5:0.005,0.8:0", piecewise({0.5: 0.005, 0.8: 0.0})),
    ],
)
def test_a_schedule_is_what_its_text_says(text, schedule):
    """``str`` and ``from_text`` are inverse to each other: equal schedules with equal values."""
    assert str(schedule) == text
    read = from_text(text)
    assert read == schedule and hash(read) == hash(schedule)
    assert [read(1.0, p) for p in PROGRESS] == [schedule(1.0, p) for p in PROGRESS]
    assert read != linear(3)


def test_command_line():
    """Fields and schedules of all items."""
    assert parse(["a=linear:0", "b=piecewise:0.5:1"]) == {"a": linear(0), "b": piecewise({0.5: 1})}
    assert parse([]) == {}


class Shares(struct.PyTreeNode):
    """Hyperparameters that declare their ranges."""

    gamma: float = hyper(0.9, low=0, high=1)
    scale: float = hyper(1.0, above=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gamma": linear(1.5)}, r"Shares.gamma under the schedule linear:1.5 = 1.5: it must be in \[0, 1\]"),
        ({"gamma": piecewise({0.2: 2.0, 0.5: 1.0})}, r"Shares.gamma .* = 2.0: it must be in \[0, 1\]"),
        ({"scale": cosine(0.0)}, r"Shares.scale under the schedule cosine:0 = 0.0: it must be above 0"),
        ({"gamma": lambda initial, progress: initial - progress}, r"Shares.gamma .* it must be in \[0, 1\]"),
        ({"gamma": 0.5}, r"The schedule of gamma is 0.5: it must be a function, such as linear\(0.0\)"),
        ({"gama": linear(1.0)}, "Shares has no field 'gama'. Near: 'gamma'"),
    ],
)
def test_schedules_stay_in_the_range_of_their_field(given, message):
    """Every value that they move to is inside it, of a function the last one."""
    schedules.check({"gamma": linear(1.0), "scale": lambda initial, progress: initial / (1 + progress)}, Shares())
    with pytest.raises(ValueError, match=message):
        schedules.check(given, Shares())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["linear:0"], "Schedule 'linear:0' is not of the form FIELD=SCHEDULE: linear:END, cosine:END or piecewise"),
        (["=linear:0"], "Schedule '=linear:0' is not of the form"),
        (["a=linear:0", "a=cosine:1"], "Schedule 'a=cosine:1': a is 'linear:0' already"),
        (["a=linar:0"], "Schedule 'linar:0': no kind 'linar'. Near: 'linear'. Write"),
        (["a=0.5"], "Schedule '0.5': no kind '0.5'. Write"),
        (["a=linear"], "Schedule 'linear': could not convert string to float: ''. Write"),
        (["a=linear:x"], "could not convert string to float: 'x'"),
        (["a=cosine:nan"], "cosine: nan must be a finite number"),
        (["a=piecewise:0.5"], "could not convert string to float: ''"),
        (["a=piecewise:0.5:1,0.50:2"], "the boundary 0.50 comes twice"),
        (["a=piecewise:1:0"], r"boundary 1 must be a fraction of the run in \(0, 1\)"),
        (["a=piecewise:0:0"], r"boundary 0 must be a fraction of the run in \(0, 1\)"),
    ],
)
def test_wrong_command_lines_are_refused(items, message):
    """Each quotes the item and shows the right form."""
    with pytest.raises(ValueError, match=message):
        parse(items)


def test_wrong_schedules_are_refused():
    """In Python too: no boundary, and what is not a number."""
    with pytest.raises(ValueError, match="at least one boundary"):
        piecewise({})
    with pytest.raises(ValueError, match="linear: 'a' must be a finite number"):
        linear("a")
