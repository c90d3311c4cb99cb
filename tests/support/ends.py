"""Whatever lies behind an end changes nothing before it: a law of all that reads ``terminated`` and ``truncated``."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Rows = dict[str, np.ndarray]  # by name, [T, B, ...], "terminated" and "truncated" among them


def random_flags(rng: np.random.Generator, shape: tuple[int, ...], chance: float = 0.2) -> Rows:
    """Both kinds of end, alone and together, in every column of many."""
    return {name: rng.random(shape) < chance for name in ("terminated", "truncated")}


def assert_ends_hide(
    function: Callable[[Mapping[str, Any]], Any], rows: Rows, other: Rows, before: bool = False
) -> None:
    """Replace all rows behind an end of each column, flags included: what comes of those up to it stays, bit for bit.

    Args:
        function: rows to a tree of arrays ``[T, B, ...]``, one for each row; of fewer rows, for the first ones.
        rows: of several episodes a column.
        other: rows to put in place of those.
        before: replace all that lies before the end, up to the flags of the last row, and compare what comes after it.
    """
    ended = rows["terminated"] | rows["truncated"]
    num_rows = len(ended)
    time = np.arange(num_rows)[:, None]
    # Any end of a column: by turns the first, the second, ... of those it has.
    order, number = np.cumsum(ended, axis=0), ended.sum(0)
    chosen = 1 + np.arange(len(number)) % np.maximum(number, 1)
    end = np.where(number > 0, np.argmax(ended & (order == chosen), axis=0), num_rows)
    hidden = time <= end if before else time > end
    hidden &= end < num_rows
    kept_flags = hidden & (time < end) if before else hidden

    def replaced(name: str) -> np.ndarray:
        where = kept_flags if name in ("terminated", "truncated") else hidden
        old = rows[name]
        return np.where(where.reshape(*where.shape, *[1] * (old.ndim - 2)), other[name], old)

    changed = {name: replaced(name) for name in rows}
    found, expected, others = (jax.device_get(jax.tree.leaves(function(x))) for x in (changed, rows, other))
    assert hidden.any() and (~hidden).any()
    for x, y, z in zip(found, expected, others, strict=True):
        seen = ~hidden[: len(x)]
        np.testing.assert_array_equal(x[seen], y[seen])
        assert not np.array_equal(y[seen], z[seen]), "the rows decide nothing"
