"""Fields of a record of hyperparameters by name: a check that they exist, and a key of the name's own."""

import dataclasses
import zlib
from collections.abc import Iterable

import jax

from purerl.names import near
from purerl.ranges import initial_names
from purerl.types import PyTree


def check_fields(names: Iterable[str], hypers: PyTree) -> None:
    """Nothing, if every name is a field of ``hypers`` that holds one number or array.

    Raises:
        ValueError: for a name that is no field, or a field that is a record of its own.
    """
    record = type(hypers).__name__
    known = [f.name for f in dataclasses.fields(hypers) if f.metadata.get("pytree_node", True)]
    for name in names:
        if name not in known:
            raise ValueError(f"{record} has no field {name!r}. {near(name, known)}Fields: {', '.join(known)}.")
        value = getattr(hypers, name)
        if not jax.tree_util.all_leaves([value]):
            raise ValueError(f"{record}.{name} holds {type(value).__name__}, not a number: choose another field.")


def check_may_change(names: Iterable[str], hypers: PyTree) -> None:
    """As :func:`check_fields`, and every name is one that an algorithm reads at every update.

    Raises:
        ValueError: if not.
    """
    check_fields(names, hypers)
    for name in {*names} & {*initial_names(hypers)}:
        raise ValueError(
            f"{type(hypers).__name__}.{name} is read when a run begins and never again, so it cannot change during "
            "one: sweep it."
        )


def fold_in_name(key: jax.Array, name: str) -> jax.Array:
    """A key of the name's own: the same whatever other names there are, in every process."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
