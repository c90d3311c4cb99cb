"""Checks of config records: what their annotations say, and numbers that must fit each other."""

import typing
from collections.abc import Mapping
from typing import Any, Literal

_NONE: Mapping[str, int] = {}


def check_config(config: Any, at_least: Mapping[str, int] = _NONE) -> None:
    """Every field has a value that its annotation allows: ``Literal`` one of its choices, ``int`` at least 1.

    Sizes in a ``tuple[int, ...]`` are at least 1, too.

    Args:
        config: a dataclass.
        at_least: other smallest values, by name of a field.

    Raises:
        ValueError: naming the first field whose value is none, and what it could be.
    """
    for name, annotation in typing.get_type_hints(type(config)).items():
        value, where = getattr(config, name), f"{type(config).__name__}.{name}"
        if typing.get_origin(annotation) is Literal:
            choices = typing.get_args(annotation)
            if value not in choices:
                raise ValueError(f"{where} = {value!r}: choose one of {', '.join(map(str, choices))}.")
        elif annotation is int or annotation == tuple[int, ...]:
            least = at_least.get(name, 1)
            if any(number < least for number in (value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"{where} = {value}: it must be at least {least}.")


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
    if batch_size % config.num_minibatches:
        divisors = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - config.num_minibatches))
        raise ValueError(
            f"{type(config).__name__}.num_minibatches = {config.num_minibatches} does not divide num_envs * num_steps "
            f"= {config.num_envs} * {config.num_steps} = {batch_size}. The nearest number that does is {nearest}."
        )
