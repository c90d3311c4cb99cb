"""Ranges of settings: what each number of a record may be, declared once, beside its default.

A record of hyperparameters declares its fields with :func:`hyper`, a config or a record of options with
:func:`setting`. Help, checks, sweeps, schedules and populations read the range from there.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.types import PyTree


class Range(NamedTuple):
    """An interval of numbers, which are finite unless it says otherwise. ``str`` gives words, such as "at least 0".

    Attributes:
        low: smallest number.
        high: largest number.
        is_open: whether ``low`` itself is outside.
        infinite: whether the infinite end belongs to it.
    """

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    infinite: bool = False

    def has(self, values: Any) -> np.ndarray:
        """Which of the numbers are inside, with their shape. NaN never is."""
        values = np.asarray(values, np.float64)
        above = values > self.low if self.is_open else values >= self.low
        return above & (values <= self.high) & (np.isfinite(values) | self.infinite)

    def ends(self, dtype: np.dtype) -> tuple[float, float]:
        """The smallest and the largest number of a floating-point type that are inside."""
        info = jnp.finfo(dtype)
        low, high = max(self.low, float(info.min)), self.high if self.infinite else min(self.high, float(info.max))
        # Next to 0 is the smallest number that no hardware takes for 0.
        above = max(low + float(info.tiny), float(np.nextafter(np.asarray(low, dtype), np.asarray(high, dtype))))
        return above if self.is_open else low, high

    def __str__(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            words = f"in {'(' if self.is_open else '['}{self.low:.16g}, {self.high:.16g}]"
        elif math.isfinite(self.low):
            words = f"{'above' if self.is_open else 'at least'} {self.low:.16g}"
        else:
            words = f"at most {self.high:.16g}" if math.isfinite(self.high) else "finite"
        return f"{words}, or infinite" if self.infinite else words


def declared(
    *, low: float = -math.inf, high: float = math.inf, above: float | None = None, infinite: bool = False
) -> dict[str, Range]:
    """What the metadata of a field say of its range: ``[low, high]``, or ``(above, high]``."""
    return {"range": Range(low if above is None else above, high, above is not None, infinite)}


def hyper(default: float, *, initial: bool = False, **ends: Any) -> Any:
    """A field of a record of hyperparameters, a leaf, with its range: ``hyper(0.99, low=0, high=1)``.

    Args:
        default: its default.
        initial: it is read when a run begins and never again, so no schedule, population or fork may change it.
        **ends: as of :func:`declared`; none: any finite number.
    """
    return struct.field(default=default, metadata=declared(**ends) | {"initial": initial})


def initial_names(hypers: PyTree) -> tuple[str, ...]:
    """Names of the hyperparameters, of a record or its class, that are read when a run begins and never again."""
    fields = dataclasses.fields(hypers) if dataclasses.is_dataclass(hypers) else ()
    return tuple(field.name for field in fields if field.metadata.get("initial"))


def setting(default: Any, **ends: Any) -> Any:
    """A field of a config, a frozen dataclass, with its range, as of :func:`declared`: ``setting(8, low=0)``."""
    return dataclasses.field(default=default, metadata=declared(**ends))


def range_of(field: dataclasses.Field) -> Range | None:
    """The range that a field declares; None where it declares none."""
    return field.metadata.get("range")


def check_hypers(hypers: PyTree) -> None:
    """Nothing, if every number of a record of hyperparameters is in its range, arrays in all their entries.

    A field without a declared range may be anything but NaN. Traced numbers are not looked into. Numbers that must fit
    each other are looked at by a method ``check`` of the record, where it has one.

    Raises:
        ValueError: with the field, its value and its range.
    """
    if not dataclasses.is_dataclass(hypers):
        return
    for field in dataclasses.fields(hypers):
        value, name = getattr(hypers, field.name), f"{type(hypers).__name__}.{field.name}"
        if dataclasses.is_dataclass(value):
            check_hypers(value)
        elif field.metadata.get("pytree_node", True):
            check_hyper(name, value, range_of(field))
    if hasattr(hypers, "check") and not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(hypers)):
        hypers.check()


def check_hyper(name: str, value: Any, range_: Range | None) -> None:
    """As :func:`check_number`, also of the number as devices hold it; of a field without a range only NaN is wrong."""
    if isinstance(value, jax.core.Tracer):
        return
    given = np.asarray(value)
    if range_ is None:
        if jnp.issubdtype(given.dtype, jnp.floating) and np.isnan(given).any():
            raise ValueError(f"{name} = {value}: it must be a number.")
        return
    check_number(name, value, range_)
    with np.errstate(over="ignore", under="ignore"):
        held = given.astype(jax.dtypes.canonicalize_dtype(given.dtype))
    if not range_.has(held).all():
        raise ValueError(f"{name} = {value}: it must be {range_}, as {held.dtype} too.")


def check_number(name: str, value: Any, range_: Range) -> None:
    """Nothing, if a number, or every number of an array, is in a range.

    Raises:
        ValueError: with its name, the first value outside, and the range.
    """
    given = np.asarray(value)
    if not jnp.issubdtype(given.dtype, jnp.number):
        raise ValueError(f"{name} = {value!r}: it must be a number, {range_}.")
    outside = ~range_.has(given)
    if outside.any():
        first, words = given[outside][0], str(range_)
        if not (np.isfinite(first) or range_.infinite or words == "finite"):
            words = f"finite, {words}"
        raise ValueError(f"{name} = {value if isinstance(value, tuple) else first}: it must be {words}.")
