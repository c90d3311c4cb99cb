"""Pictures of what is known of a gridworld: its map, values as colours, a policy as arrows, a trajectory as a line.

    axes = figure.add_subplot()
    pictures.draw_values(axes, values, maps.CLIFF)
    pictures.draw_policy(axes, policy, maps.CLIFF)
    pictures.draw_trajectory(axes, states, maps.CLIFF)

Each adds to the matplotlib axes it is given; one cell is one unit, (0, 0) the middle of the upper left one.
"""

from typing import TYPE_CHECKING

import numpy as np

from purerl.envs.textbook import maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FREE, _WALL, _CLIFF, _HOLE = 0.95, 0.35, 0.6, 0.75  # greys
_GREYS = {"#": _WALL, "C": _CLIFF, "H": _HOLE}
_NAMED = "SGABRY"  # letters worth writing on the map
_REACH = 0.33  # of an arrow from its foot
_FOOT = -0.1  # rows from the middle of a cell to where arrows and trajectories begin: a little above it
_NUMBER = 0.34  # rows from the middle to the number, below the arrows
_FAINTEST = 0.01  # the probability below which an arrow is not drawn


def draw_map(axes: "Axes", world: maps.Map) -> None:
    """Walls, cliff and holes in greys, the lines between cells, and the letters of start, goal and other landmarks."""
    grey = np.vectorize(lambda letter: _GREYS.get(letter, _FREE))(maps.letters(world))
    axes.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0)
    _lines(axes, grey.shape)
    _landmarks(axes, world)


def draw_values(
    axes: "Axes", values: np.ndarray, world: maps.Map | None = None, form: str = ".3g", cmap: str = "viridis"
) -> None:
    """Values as colours, and as numbers on them.

    Args:
        axes: axes of matplotlib.
        values: ``[S]`` or ``[H, W]``; ``[H, W]`` where there is no map. A NaN is left blank.
        world: the map, whose walls, cliff and holes are drawn instead of their values.
        form: how a number is written, as in ``format``; "" for colours alone.
        cmap: matplotlib's name of the colours.

    Raises:
        ValueError: if the number of values is not that of the map's cells.
    """
    values = np.array(values, np.float64)
    if world is not None:
        draw_map(axes, world)
        values = _on_map(values, world)
        values[_blocked(world)] = np.nan
    image = axes.imshow(values, cmap=cmap)
    _lines(axes, values.shape)
    below_arrows = 0.0 if world is None else _NUMBER
    for row, column in np.argwhere(np.isfinite(values) if form else np.zeros(values.shape, bool)):
        red, green, blue, _ = image.to_rgba(values[row, column])
        ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
        number = format(values[row, column] + 0.0, form)  # adding 0.0 makes -0.0 a plain 0
        axes.text(column, row + below_arrows, number, color=ink, fontsize=7, ha="center", va="center")


def draw_policy(
    axes: "Axes",
    policy: np.ndarray,
    world: maps.Map,
    moves: tuple[tuple[int, int], ...] = maps.FOUR_MOVES,
    color: str = "C3",
) -> None:
    """An arrow for each action, as long as it is probable; a dot for staying.

    Args:
        axes: axes of matplotlib.
        policy: ``[S, A]``, rows sum to 1. Of actions that are as good, give each its share.
        world: the map; nothing is drawn in cells where nothing is decided.
        moves: ``[A]`` pairs (rows down, columns to the right).
        color: of the arrows.

    Raises:
        ValueError: if the policy is not one of that map and those moves.
    """
    policy = np.asarray(policy)
    if policy.shape != (maps.letters(world).size, len(moves)):
        raise ValueError(
            f"policy has the shape {policy.shape}; this map and these moves need "
            f"({maps.letters(world).size}, {len(moves)})."
        )
    decided = ~(_blocked(world) | (maps.letters(world) == "G"))
    state, action = np.nonzero((policy > _FAINTEST) & decided.reshape(-1, 1))
    foot = _feet(state, world)
    direction = np.asarray(moves, np.float64)[action][:, ::-1]  # columns to the right, rows down
    length = np.linalg.norm(direction, axis=1)
    reach = _REACH * policy[state, action] / policy[state].max(axis=1)
    arrow = direction * (reach / np.maximum(length, 1.0))[:, None]
    goes = length > 0
    axes.quiver(
        *foot[goes].T, *arrow[goes].T, angles="xy", scale_units="xy", scale=1, units="x", width=0.035, color=color
    )
    axes.plot(*foot[~goes].T, "o", color=color, markersize=3)


def draw_trajectory(axes: "Axes", states: np.ndarray, world: maps.Map, color: str = "C1") -> None:
    """The way through the cells ``states [T + 1]``: a line from a dot to a star; a fall back to the start is a jump,
    drawn dotted."""
    feet = _feet(states, world)
    for step in np.stack([feet[:-1], feet[1:]], axis=1):
        jump = np.abs(np.diff(step, axis=0)).max() > 1
        axes.plot(*step.T, color=color, linewidth=2.5, linestyle=":" if jump else "-")
    axes.plot(*feet[0], "o", color=color, markersize=6)
    axes.plot(*feet[-1], "*", color=color, markersize=10)


def _feet(states: np.ndarray, world: maps.Map) -> np.ndarray:
    """``[N, 2]``, where in the cells ``states [N]`` arrows and trajectories begin: across, then down."""
    width = maps.letters(world).shape[1]
    row, column = np.divmod(np.asarray(states), width)
    return np.stack([column, row + _FOOT], axis=-1)


def _on_map(values: np.ndarray, world: maps.Map) -> np.ndarray:
    shape = maps.letters(world).shape
    if values.size != np.prod(shape):
        raise ValueError(f"values has the shape {values.shape}; this map has {shape[0]} x {shape[1]} cells.")
    return values.reshape(shape)


def _blocked(world: maps.Map) -> np.ndarray:
    return np.isin(maps.letters(world), list(_GREYS))


def _lines(axes: "Axes", shape: tuple[int, ...]) -> None:
    """White lines between the cells, and no ticks."""
    height, width = shape
    axes.set(xticks=[], yticks=[])
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color="white", linewidth=0.7)
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color="white", linewidth=0.7)


def _landmarks(axes: "Axes", world: maps.Map) -> None:
    for (row, column), letter in np.ndenumerate(maps.letters(world)):
        if letter in _NAMED:
            patch = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
            axes.text(column - 0.42, row - 0.4, letter, fontsize=7, va="top", weight="bold", bbox=patch)
