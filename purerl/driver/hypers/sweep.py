"""Sweeps, by grid and random search: hyperparameters whose every leaf has a leading axis of points, P.

A grid and a random search are lists of points; a sweep is such a list stacked, ready for ``vmap``.
"""

import dataclasses
import functools
import itertools
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.driver.hypers.names import check_fields, fold_in_name
from purerl.names import assignments, near
from purerl.ranges import Range, range_of
from purerl.types import PyTree

_FORMS = "FIELD=1,2,3 or FIELD=uniform(LOW,HIGH), log_uniform(LOW,HIGH) or choice(1,2,3)"


class Sweep(NamedTuple):
    """Points in the space of hyperparameters.

    Attributes:
        hypers: every leaf ``[P, ...]``, in its own dtype.
        values: what is swept, as it was given, ``[P]`` by field.
    """

    hypers: PyTree
    values: dict[str, np.ndarray]

    @property
    def num_points(self) -> int:
        """P."""
        return len(next(iter(self.values.values())))

    def point(self, i: int) -> PyTree:
        """The hyperparameters of point ``i``, without the leading axis."""
        i = self._index(i)
        return jax.tree.map(lambda leaf: leaf[i], self.hypers)

    def describe(self, i: int) -> str:
        """What is particular about point ``i``: ``"learning_rate=0.001 gamma=0.9"``."""
        i = self._index(i)
        return " ".join(f"{name}={_rounded(values[i])}" for name, values in self.values.items())

    def _index(self, i: int) -> int:
        if not -self.num_points <= i < self.num_points:
            raise IndexError(f"Point {i} of a sweep that has {self.num_points} points.")
        return i


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What a random search draws from. Equal if it reads alike.

    Attributes:
        text: as on a command line, such as ``uniform(0.1,0.3)``.
        quantile: inverse of the cumulative distribution, ``u in [0, 1) -> value``.
    """

    text: str
    quantile: Callable[[float], Any] = dataclasses.field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.text


def uniform(low: float, high: float) -> Distribution:
    """Uniform in ``[low, high)``.

    Raises:
        ValueError: unless ``low < high``, both finite.
    """
    text = f"uniform({low},{high})"
    _check_range(text, low, high)
    return Distribution(text, lambda u: low + (high - low) * u)


def log_uniform(low: float, high: float) -> Distribution:
    """``exp(x)`` with ``x`` uniform in ``[log(low), log(high))``: every order of magnitude is as likely.

    Raises:
        ValueError: unless ``0 < low < high``, both finite.
    """
    text = f"log_uniform({low},{high})"
    _check_range(text, low, high)
    if low <= 0:
        raise ValueError(f"{text}: low must be above 0, where the logarithm begins. Use uniform({low},{high}).")
    return Distribution(text, lambda u: low * (high / low) ** u)


def choice(values: Sequence[Any]) -> Distribution:
    """One of the values, all as likely.

    Raises:
        ValueError: if there is none.
    """
    values = _listed("choice", values)
    text = f"choice({','.join(map(_plain, values))})"
    return Distribution(text, lambda u: values[int(u * len(values))])


def grid(hypers: PyTree, **fields: Sequence[float] | np.ndarray) -> Sweep:
    """Every combination of the fields' values, the last field changing fastest.

    Args:
        hypers: the values of the other fields.
        **fields: values by field.

    Raises:
        ValueError: for a field that ``hypers`` lacks or that is no scalar, a value that it cannot hold, a value
            that comes twice, or nothing to sweep.
    """
    return points(hypers, product(fields))


def random_search(hypers: PyTree, key: jax.Array, num_points: int, **fields: Distribution) -> Sweep:
    """Independent draws of the fields.

    Args:
        hypers: the values of the other fields.
        key: typed key. Another field, or more points, leave the draws that there are as they are.
        num_points: P, at least 1.
        **fields: distributions by field.

    Raises:
        ValueError: as :func:`grid`.

    Source: Bergstra and Bengio 2012, Random search for hyper-parameter optimization, JMLR 13.
    """
    return points(hypers, draw(fields, key, num_points))


def points(hypers: PyTree, listed: Sequence[Mapping[str, float]]) -> Sweep:
    """A sweep over the points of a list, each a value by field, all with the same fields.

    Raises:
        ValueError: as :func:`grid`, or if the points have different fields.
    """
    if not listed or not listed[0]:
        raise ValueError("A sweep needs at least one point with at least one field, such as learning_rate=[1e-4,1e-3].")
    names = list(listed[0])
    check_fields(names, hypers)
    for i, point in enumerate(listed):
        if set(point) != set(names):
            raise ValueError(f"Point {i} has the fields {list(point)}, but point 0 has {names}: give all the same.")
    columns = {name: [point[name] for point in listed] for name in names}
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.result_type(leaf)), hypers)  # NumPy's: nothing to compile
    infinite = {field.name for field in dataclasses.fields(hypers) if (range_of(field) or Range()).infinite}
    swept = {name: _column(name, values, getattr(arrays, name), name in infinite) for name, values in columns.items()}
    repeated = jax.tree.map(lambda leaf: np.repeat(leaf[None], len(listed), axis=0), arrays)
    return Sweep(repeated.replace(**swept), {name: np.asarray(values) for name, values in columns.items()})


def product(fields: Mapping[str, Sequence[Any] | np.ndarray]) -> list[dict[str, Any]]:
    """Every combination as a value by field, the last field changing fastest.

    Raises:
        ValueError: for a field without values, or with one twice.
    """
    columns = []
    for name, values in fields.items():
        listed = _listed(name, values)
        twice = [value for i, value in enumerate(listed) if value in listed[:i]]
        if twice:
            raise ValueError(f"{name}: the value {_plain(twice[0])} comes twice. Give each once; seeds repeat a point.")
        columns.append(listed)
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*columns)]


def draw(fields: Mapping[str, Distribution], key: jax.Array, num_points: int) -> list[dict[str, Any]]:
    """Independent draws as a value by field; see :func:`random_search`.

    Raises:
        ValueError: if ``num_points`` is below 1, or a field has no distribution.
    """
    if num_points < 1:
        raise ValueError(f"num_points = {num_points}: it must be at least 1.")
    columns = {}
    for name, distribution in fields.items():
        if not isinstance(distribution, Distribution):
            raise ValueError(f"{name} = {distribution!r} is no distribution: use uniform, log_uniform or choice.")
        uniforms = _uniforms(fold_in_name(key, name), num_points).tolist()
        columns[name] = [distribution.quantile(u) for u in uniforms]
    return [{name: columns[name][i] for name in columns} for i in range(num_points)]


@functools.partial(jax.jit, static_argnums=1)
def _uniforms(key: jax.Array, num_points: int) -> jax.Array:
    """``[P]``; each is the same whatever P is."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_points))
    return jax.vmap(lambda key: jax.random.uniform(key, dtype=jnp.float32))(keys)


def parse(items: Sequence[str]) -> dict[str, Any]:
    """What to sweep, from items of a command line: values ``FIELD=1e-4,3e-4`` or ``FIELD=uniform(0.1,0.3)``.

    Values are read by their looks: whole numbers, numbers, true and false, tuples (``64x64``, or ``64x`` of one
    entry), and words for anything else.

    Returns:
        By field a tuple of values, or a :class:`Distribution`; all of them the one or all the other.

    Raises:
        ValueError: if an item has another form, a field comes twice, or values and distributions are mixed.
    """
    fields: dict[str, Any] = {}
    for name, text in assignments(items, "Sweep item", f"FIELD=VALUES: {_FORMS}").items():
        try:
            fields[name] = _parse_values(text)
        except ValueError as error:
            wrong = f"Sweep item {f'{name}={text}'!r}: {str(error).rstrip('. ')}"
            raise ValueError(f"{wrong}. Write {_FORMS}.") from None
    listed = [name for name, values in fields.items() if not isinstance(values, Distribution)]
    if listed and len(listed) < len(fields):
        values = ",".join(map(_plain, fields[listed[0]]))
        raise ValueError(
            f"A grid ({', '.join(listed)}) mixed with random draws has no clear number of points: "
            f"draw everything, with {listed[0]}=choice({values}), or list everything."
        )
    return fields


def split(
    fields: Mapping[str, Any], hypers_names: Iterable[str], config_names: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that are hyperparameters, which one compile serves, and those of the Config, which compile anew.

    Raises:
        ValueError: for a name that is among neither.
    """
    hypers_names, config_names = list(hypers_names), list(config_names)
    known = hypers_names + config_names
    for name in fields:
        if name not in known:
            raise ValueError(f"There is no {name!r} to sweep. {near(name, known)}Fields: {', '.join(known)}.")
    of_hypers = {name: values for name, values in fields.items() if name in hypers_names}
    return of_hypers, {name: values for name, values in fields.items() if name not in hypers_names}


def _column(name: str, values: list[Any], leaf: np.ndarray, infinite: bool) -> np.ndarray:
    """The values as an array ``[P]`` of the leaf's dtype."""
    if leaf.ndim:
        raise ValueError(f"{name} is an array of shape {leaf.shape}: only scalars can be swept.")
    for value in values:
        _check_value(name, value, leaf.dtype, infinite)
    return np.asarray(values).astype(leaf.dtype)


def _check_value(name: str, value: Any, dtype: np.dtype, infinite: bool) -> None:
    given = np.asarray(value)
    kinds = "b" if dtype == np.bool_ else "iuf"
    if given.ndim or given.dtype.kind not in kinds:
        raise ValueError(f"{name} = {value!r}: {name} takes {'True or False' if kinds == 'b' else 'numbers'}.")
    with np.errstate(over="ignore", invalid="ignore"):
        held = given.astype(dtype)
    if not (np.isfinite(held) or (infinite and np.isinf(given))):
        raise ValueError(f"{name} = {value!r}: it must be finite, as {dtype} too.")
    if not jnp.issubdtype(dtype, jnp.floating) and held != given:
        raise ValueError(f"{name} = {value!r}: {name} is {dtype}, which cannot hold that.")


def _check_range(text: str, low: Any, high: Any) -> None:
    if not all(isinstance(end, numbers.Real) and math.isfinite(end) for end in (low, high)):
        raise ValueError(f"{text}: both ends must be finite numbers.")
    if not low < high:
        raise ValueError(f"{text}: low must be below high.")


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | Distribution) or not np.iterable(values):
        raise ValueError(f"{name} = {str(values)!r}: give a list of values, such as {name}=[0.1, 0.2].")
    listed = list(values)
    if not listed:
        raise ValueError(f"{name} = []: there is no value. Give at least one.")
    return listed


def _plain(value: Any) -> str:
    """As on a command line."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(map(str, value)) + ("x" if len(value) == 1 else "")
    return str(value)


def _rounded(value: Any) -> str:
    """For people; nine digits still tell all float32 apart."""
    return f"{value:.9g}" if isinstance(value, float) else _plain(value)


def _parse_values(text: str) -> tuple[Any, ...] | Distribution:
    if not text:
        raise ValueError("it has no value")
    kind, opened, inside = text.partition("(")
    if not opened:
        return tuple(_parse_value(value.strip()) for value in text.split(","))
    if not inside.endswith(")"):
        raise ValueError("the bracket does not close at the end")
    values = tuple(_parse_value(value.strip()) for value in inside.removesuffix(")").split(","))
    if kind == "choice":
        return choice(values)
    ranges = {"uniform": uniform, "log_uniform": log_uniform}
    if kind not in ranges:
        raise ValueError(f"no distribution {kind!r}. {near(kind, (*ranges, 'choice'))}")
    if len(values) != 2:
        raise ValueError(f"{kind} takes two numbers")
    return ranges[kind](*values)


def _parse_value(text: str) -> Any:
    if not text:
        raise ValueError("a value is empty")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"(\d+x)+\d*", text):
        return tuple(int(size) for size in text.split("x") if size)
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text
