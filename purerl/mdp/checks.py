"""What the arrays of a decision process must be, checked on the host before anything is computed.

Each function returns its array as it shall be, or raises a ValueError that names the first wrong entry.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_ROW_TOLERANCE = 1e-5  # by which a row of probabilities may miss 1: a float32 sum of thousands of entries


def discount(gamma: float) -> None:
    """A number in [0, 1]."""
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma} must lie in [0, 1].")


def actions(action: Any, num_actions: int) -> None:
    """Whole numbers from 0 to A - 1, ``[]`` or ``[S]``; of traced ones nothing is known before they are used."""
    if isinstance(action, jax.core.Tracer):
        return
    action = np.asarray(action)
    bad = ~((action >= 0) & (action < num_actions))
    if bad.any():
        where = "action" if action.ndim == 0 else f"action[{np.argmax(bad)}]"
        raise ValueError(f"{where} = {action[bad].flat[0]}; the actions are 0 to {num_actions - 1}.")


def terminal(terminal: Any, num_states: int) -> np.ndarray:
    """``[S] bool``."""
    terminal = np.zeros(num_states, bool) if terminal is None else np.asarray(terminal)
    if terminal.shape != (num_states,) or terminal.dtype != bool:
        found = f"{terminal.dtype}{list(terminal.shape)}"
        raise ValueError(f"terminal is {found}; it must be bool[{num_states}], one flag for each state.")
    if terminal.all():
        raise ValueError("terminal: every state is terminal; at least one must be left to act in.")
    return terminal


def rows(name: str, rows: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """``rows [S, A, N]`` as distributions that sum to 1 exactly, but for the ignored states."""
    total = np.where(ignored[:, None], 1.0, rows.sum(-1))
    # Written so that NaN fails too.
    bad = ~(np.abs(total - 1) <= _ROW_TOLERANCE) | (~(rows >= 0).all(-1) & ~ignored[:, None])
    if bad.any():
        state, action = np.argwhere(bad)[0]
        row = rows[state, action]
        what = f"sums to {row.sum():.6g}, not to 1" if (row >= 0).all() else f"has the entry {row[~(row >= 0)][0]:g}"
        raise ValueError(f"{name}[{state}, {action}] {what}; each row must be a distribution.")
    return rows / total[..., None]


def reward(reward: np.ndarray, shape: tuple[int, ...], ignored: np.ndarray) -> np.ndarray:
    """``[S, A, N]``, N states or successors, from any of the forms."""
    try:
        full = np.broadcast_to(reward.reshape(reward.shape + (1,) * (3 - reward.ndim)), shape)
    except ValueError:
        raise ValueError(
            f"reward has the shape {reward.shape}; it must be [], [S], [S, A] or that of transition, {shape}."
        ) from None
    bad = ~np.isfinite(full) & ~ignored[:, None, None]
    if bad.any():
        state, action, after = np.argwhere(bad)[0]
        raise ValueError(f"reward[{state}, {action}, {after}] = {full[state, action, after]}; rewards must be finite.")
    return full


def start(start: Any, terminal: np.ndarray) -> np.ndarray:
    """``[S]`` distribution over the states that are not terminal."""
    start = (~terminal).astype(float) / (~terminal).sum() if start is None else np.asarray(start, np.float64)
    if start.shape != terminal.shape:
        raise ValueError(f"start has the shape {start.shape}; it must be [S] = {terminal.shape}.")
    if not ((start >= 0).all() and abs(start.sum() - 1) <= _ROW_TOLERANCE):
        raise ValueError(
            f"start sums to {start.sum():.6g} with smallest entry {start.min():g}; it must be a distribution."
        )
    if (start[terminal] > 0).any():
        state = np.argmax(terminal & (start > 0))
        raise ValueError(f"start[{state}] = {start[state]:g}, but state {state} is terminal: no episode starts there.")
    return start / start.sum()


def ends(terminal: np.ndarray, before: Callable[[np.ndarray], np.ndarray]) -> None:
    """Some terminal state can be reached from everywhere.

    Args:
        terminal: ``[S]`` bool.
        before: ``[S] bool -> [S] bool``, the states from which a step may lead into the given ones.
    """
    ends = terminal
    while (grown := ends | before(ends)).sum() > ends.sum():
        ends = grown
    if not ends.all():
        raise ValueError(
            f"gamma=1, but no terminal state can be reached from state {np.argmin(ends)}: "
            "its value may be infinite. Use gamma < 1, or mark where episodes end in `terminal`."
        )
