"""Checks of config records: what their annotations and ranges say, and numbers that must fit each other."""

import dataclasses
import numbers
import types
import typing
from typing import Any, Literal, TypeVar

from purerl.ranges import Range, check_number, range_of

_Config = TypeVar("_Config")
_KINDS: dict[Any, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number, an int"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
_NUMBERS = (int, float)


def config_or_default(config: _Config | None, cls: type[_Config]) -> _Config:
    """A config, or the defaults of its class where there is none.

    Raises:
        ValueError: if it is of another class.
    """
    if config is not None and not isinstance(config, cls):
        raise ValueError(f"config must be {cls.__name__}, but it is {type(config).__name__}: {config!r:.80}.")
    return cls() if config is None else config


def check_config(config: Any) -> None:
    """Every field has a value that its annotation allows, and that is in its range.

    A ``Literal`` has one of its choices. Numbers are finite, and in the range that the field declares by
    :func:`purerl.ranges.setting`; an ``int`` without one is at least 1, in a ``tuple[int, ...]`` too.

    Args:
        config: a dataclass.

    Raises:
        ValueError: naming the first field whose value is none, and what it could be.
    """
    _check_fields(config, f"{type(config).__name__}.", Range(low=1))


def check_options(options: Any) -> None:
    """As :func:`check_config`, of a record of options: names stand alone, and an ``int`` without a range may be any.

    Raises:
        ValueError: as :func:`check_config`.
    """
    _check_fields(options, "", Range())


def _check_fields(record: Any, prefix: str, whole: Range) -> None:
    annotations = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        annotation = annotations[field.name]
        range_ = range_of(field) or (whole if annotation in (int, tuple[int, ...]) else Range())
        _check_value(prefix + field.name, getattr(record, field.name), annotation, range_)


def _check_value(name: str, value: Any, annotation: Any, range_: Range) -> None:
    """Of the kinds of annotations that settings have; a value with another one may be anything."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in inner):
            raise ValueError(f"{name} = {value!r}: choose one of {', '.join(map(str, inner))}.")
    elif origin in (typing.Union, types.UnionType) and inner[1:] == (types.NoneType,):
        if value is not None:
            _check_value(name, value, inner[0], range_)
    elif origin is tuple and inner[1:] == (Ellipsis,) and inner[0] in _KINDS:
        if not isinstance(value, tuple):
            raise ValueError(f"{name} = {value!r}: it must be a tuple, such as (64, 64).")
        for entry in value:
            _check_kind(name, value, entry, inner[0])
        if inner[0] in _NUMBERS:
            check_number(name, value, range_)
    elif annotation in _KINDS:
        _check_kind(name, value, value, annotation)
        if annotation in _NUMBERS:
            check_number(name, value, range_)


def _check_kind(name: str, value: Any, entry: Any, annotation: Any) -> None:
    kind, words = _KINDS[annotation]
    if not isinstance(entry, kind) or (isinstance(entry, bool) and annotation is not bool):
        raise ValueError(f"{name} = {value!r}: it must be {words}.")


def check_multiples(config: Any, of: str, divisor: int, *names: str) -> None:
    """These fields are positive multiples of a number, which is called ``of``.

    Raises:
        ValueError: naming the first that is not, and the next number that would be.
    """
    for name in names:
        number, rest = getattr(config, name), getattr(config, name) % divisor
        if number < 1 or rest:
            raise ValueError(
                f"{type(config).__name__}.{name} = {number} is not a positive multiple of {of} = {divisor}. The next "
                f"that is: {number - rest + divisor if number >= 0 else divisor}."
            )


def check_minibatches(config: Any) -> None:
    """Minibatches are equal: ``num_minibatches`` divides ``num_envs * num_steps``.

    Raises:
        ValueError: if they are not, with the nearest number for which they would be.
    """
    batch_size = config.num_envs * config.num_steps
    _check_divides(config, f"num_envs * num_steps = {config.num_envs} * {config.num_steps} = {batch_size}", batch_size)


def check_whole_environments(config: Any) -> None:
    """Minibatches of whole environments are equal: ``num_minibatches`` divides ``num_envs``.

    Raises:
        ValueError: as :func:`check_minibatches`.
    """
    _check_divides(config, f"num_envs = {config.num_envs}, which a memory needs", config.num_envs)


def _check_divides(config: Any, words: str, number: int) -> None:
    if number % config.num_minibatches:
        divisors = [n for n in range(1, number + 1) if number % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - config.num_minibatches))
        raise ValueError(
            f"{type(config).__name__}.num_minibatches = {config.num_minibatches} does not divide {words}. The nearest "
            f"number that does is {nearest}."
        )
