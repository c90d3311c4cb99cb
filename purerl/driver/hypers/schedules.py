"""Schedules: hyperparameters that change over a run, as functions of how much of it is done.

A schedule is any ``(initial, progress) -> value``: ``initial`` is the hyperparameter's own value, so that one schedule
serves a whole sweep of them and a new value does not recompile; ``progress`` goes from 0 to 1.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from purerl.driver.hypers.names import check_fields, check_may_change
from purerl.names import assignments, near
from purerl.ranges import check_hyper, range_of
from purerl.types import PyTree

Schedule = Callable[[jax.Array, ArrayLike], jax.Array]

_FORMS = "linear:END, cosine:END or piecewise:WHEN:VALUE,WHEN:VALUE, such as learning_rate=linear:0"


@dataclasses.dataclass(frozen=True)
class Curve:
    """A schedule that can be written down: ``str`` gives what :func:`from_text` reads. Equal if it reads alike.

    Attributes:
        text: such as ``linear:0``.
        curve: ``(initial, progress) -> value`` in floating point.
        ends: all values that it moves to, one after the other.
    """

    text: str
    curve: Schedule = dataclasses.field(compare=False, repr=False)
    ends: tuple[float, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def __call__(self, initial: ArrayLike, progress: ArrayLike) -> jax.Array:
        """The value at ``progress`` in [0, 1], with the shape and dtype of ``initial``; whole numbers are rounded."""
        initial = jnp.asarray(initial)
        value = jnp.broadcast_to(self.curve(initial, jnp.asarray(progress)), initial.shape)
        whole = jnp.issubdtype(initial.dtype, jnp.integer)
        return (jnp.round(value) if whole else value).astype(initial.dtype)

    def __str__(self) -> str:
        return self.text


def linear(end: float) -> Curve:
    """A straight line from the initial value to ``end``: ``initial + (end - initial) progress``."""
    end = _number("linear", end)
    return Curve(
        f"linear:{_plain(end)}",
        lambda initial, progress: optax.linear_schedule(initial, end, transition_steps=1)(progress),
        (end,),
    )


def cosine(end: float) -> Curve:
    """Half a cosine wave: ``end + (initial - end) (1 + cos(pi progress)) / 2``.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5, without restarts.
    """
    end = _number("cosine", end)
    return Curve(
        f"cosine:{_plain(end)}",
        lambda initial, progress: end + optax.cosine_decay_schedule(initial - end, decay_steps=1)(progress),
        (end,),
    )


def piecewise(values: Mapping[float, float]) -> Curve:
    """The initial value until the first boundary, then the value of the last boundary passed.

    Args:
        values: boundary, a fraction of the run in (0, 1) -> value from there on.

    Raises:
        ValueError: if there is no boundary, one is not in (0, 1), or a number is not finite.
    """
    pieces = sorted((_number("piecewise", when), _number("piecewise", value)) for when, value in values.items())
    if not pieces:
        raise ValueError("A piecewise schedule needs at least one boundary, such as piecewise({0.5: 0.1}).")
    for when, _ in pieces:
        if not 0 < when < 1:
            raise ValueError(f"A piecewise schedule's boundary {when:g} must be a fraction of the run in (0, 1).")
    boundaries = [when for when, _ in pieces]
    constants = [optax.constant_schedule(value) for _, value in pieces]

    def curve(initial: jax.Array, progress: ArrayLike) -> jax.Array:
        return optax.join_schedules([optax.constant_schedule(initial), *constants], boundaries)(progress)

    text = "piecewise:" + ",".join(f"{_plain(when)}:{_plain(value)}" for when, value in pieces)
    return Curve(text, curve, tuple(value for _, value in pieces))


def check(schedules: Mapping[str, Schedule], hypers: PyTree) -> None:
    """Nothing, if every schedule belongs to a field of ``hypers``, and its values are in the range of that.

    Of a schedule that is a function, only the value at the end of the run is looked at.

    Raises:
        ValueError: for a name that is no field, a field that is a record of its own, or a value out of range.
    """
    check_may_change(schedules, hypers)
    ranges = {field.name: range_of(field) for field in dataclasses.fields(hypers)}
    for name, schedule in schedules.items():
        if not callable(schedule):
            raise ValueError(f"The schedule of {name} is {schedule!r}: it must be a function, such as linear(0.0).")
        ends = schedule.ends if isinstance(schedule, Curve) else (schedule(getattr(hypers, name), 1.0),)
        for end in ends:
            check_hyper(f"{type(hypers).__name__}.{name} under the schedule {schedule}", end, ranges[name])


def apply(schedules: Mapping[str, Schedule], hypers: PyTree, progress: ArrayLike) -> PyTree:
    """The hyperparameters at a point of the run.

    Args:
        schedules: by field; the other fields stay as they are.
        hypers: the initial values, of any shapes.
        progress: share of the run that is done, ``[]`` in [0, 1].

    Raises:
        ValueError: for a name that is no field.
    """
    check_fields(schedules, hypers)
    now = {name: schedule(getattr(hypers, name), progress) for name, schedule in schedules.items()}
    return hypers.replace(**now)


def from_text(text: str) -> Curve:
    """The schedule that ``text`` describes: ``linear:0``, ``cosine:0.05`` or ``piecewise:0.5:0.005,0.8:0``.

    Raises:
        ValueError: if it describes none.
    """
    kind, _, rest = text.partition(":")
    try:
        match kind:
            case "linear":
                return linear(float(rest))
            case "cosine":
                return cosine(float(rest))
            case "piecewise":
                return piecewise(_pieces(rest))
    except ValueError as error:
        raise ValueError(f"Schedule {text!r}: {str(error).rstrip('.')}. Write {_FORMS}.") from None
    raise ValueError(
        f"Schedule {text!r}: no kind {kind!r}. {near(kind, ('linear', 'cosine', 'piecewise'))}Write {_FORMS}."
    )


def parse(items: Sequence[str]) -> dict[str, Curve]:
    """Schedules by field, from ``FIELD=SCHEDULE`` items of a command line.

    Raises:
        ValueError: if an item has another form, or a field comes twice.
    """
    return {name: from_text(text) for name, text in assignments(items, "Schedule", f"FIELD=SCHEDULE: {_FORMS}").items()}


def _pieces(text: str) -> dict[float, float]:
    pieces: dict[float, float] = {}
    for piece in text.split(","):
        when, _, value = piece.partition(":")
        if float(when) in pieces:
            raise ValueError(f"the boundary {when} comes twice")
        pieces[float(when)] = float(value)
    return pieces


def _number(kind: str, value: Any) -> float:
    if not (isinstance(value, numbers.Real) and math.isfinite(value)):
        raise ValueError(f"{kind}: {value!r} must be a finite number.")
    return float(value)


def _plain(number: float) -> str:
    """The shortest text that reads as the same number."""
    return repr(number).removesuffix(".0")
