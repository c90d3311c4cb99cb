"""Search trees as text, as their principal line, and as a picture.

    print(describe(decision.tree, names=["left", "right"]))
    plot_tree(decision.tree, 0, "tree.png")

On the host, not traced. Values of nodes are those of the edges that lead to them; in the picture from the perspective
of the player to move at the root, in the text from that of the player to move in each node.
"""

import heapq
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from purerl.files import atomic_path
from purerl.search.tree import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST, _SMALLEST = 900.0, 12.0  # areas of circles, in points^2


class _Edge(NamedTuple):
    """A visited action of a node."""

    action: int
    visits: float
    value: float  # from the perspective of the player who takes it
    prior: float  # a probability
    slot: int  # of the node that it leads to; negative where there is none


class _Spot(NamedTuple):
    """A node of a picture, found by the edge that leads to it."""

    parent: int  # index of a spot; -1 at the root
    action: int
    depth: int
    visits: float
    value: float  # from the perspective of the player to move at the root
    principal: bool


def describe(tree: Tree, element: int = 0, depth: int = 3, names: Sequence[str] | None = None) -> str:
    """One tree of the batch as indented text: visited actions with N, Q and prior, the most visited first.

    Args:
        tree: of a search.
        element: which of the batch.
        depth: levels to show, at least 1.
        names: of the A actions; their numbers unless given.

    Returns:
        Lines, the first of which is the root's. Q is from the perspective of the player to move in the node.

    Raises:
        IndexError: if there is no such element.
    """
    tree = _one(tree, element)
    visits, raw_value = float(tree.visits[0].sum()), float(tree.raw_value[0])
    value = (raw_value + float(tree.visits[0] @ tree.value[0])) / (1 + visits)

    def lines(slot: int, level: int) -> Iterator[str]:
        for edge in _edges(tree, slot):
            name = str(edge.action) if names is None else names[edge.action]
            yield f"{'  ' * level}{name}  N {edge.visits:.0f}  Q {edge.value:+.3f}  P {edge.prior:.3f}"
            if edge.slot >= 0 and level < depth:
                yield from lines(edge.slot, level + 1)

    return "\n".join([f"root  N {visits:.0f}  V {value:+.3f}", *lines(0, 1)])


def principal_line(tree: Tree, element: int = 0) -> list[int]:
    """Principal line: the most visited action at the root, the most visited one after it, and so on.

    Args:
        tree: of a search.
        element: which of the batch.

    Raises:
        IndexError: if there is no such element.
    """
    tree, slot, line = _one(tree, element), 0, []
    while slot >= 0 and (edges := _edges(tree, slot)):
        line.append(edges[0].action)
        slot = edges[0].slot
    return line


def plot_tree(
    tree: Tree,
    element: int,
    path_or_axes: "str | os.PathLike[str] | Axes",
    max_nodes: int = 80,
    names: Sequence[str] | None = None,
) -> None:
    """Plot one tree of the batch: circles with areas by visits and colours by value, the principal line in black.

    Args:
        tree: of a search.
        element: which of the batch.
        path_or_axes: of the picture to write, its ending saying the format; or matplotlib's axes to draw on.
        max_nodes: how many to draw, the most visited ones.
        names: of the A actions; their numbers unless given.

    Raises:
        IndexError: if there is no such element.
        ValueError: if max_nodes is below 2, which shows nothing.
    """
    if max_nodes < 2:
        raise ValueError(f"max_nodes = {max_nodes}: a picture needs the root and a node below it, so at least 2.")
    spots = _spots(_one(tree, element), max_nodes)
    if not isinstance(path_or_axes, str | os.PathLike):
        _paint(path_or_axes, spots, names)
        return
    from matplotlib.figure import Figure

    width = max(6.0, 0.32 * np.ptp(_columns(spots)) + 2.5)
    height = max(3.5, 0.75 * max(spot.depth for spot in spots) + 1.5)
    figure = Figure(figsize=(width, height), layout="constrained")
    _paint(figure.add_subplot(), spots, names)
    with atomic_path(path_or_axes) as path:
        figure.savefig(path, dpi=150)


def _one(tree: Tree, element: int) -> Tree:
    """One tree of the batch, in NumPy."""
    batch_size = tree.parent.shape[1]
    if not 0 <= element < batch_size:
        raise IndexError(f"element = {element}, but the batch has {batch_size} trees: 0 to {batch_size - 1}.")
    return jax.tree.map(lambda leaf: np.asarray(leaf[:, element]), tree.replace(embedding=None))


def _edges(tree: Tree, slot: int) -> list[_Edge]:
    """Visited actions of a node, the most visited first."""
    prior = np.asarray(tree.prior[slot])
    if prior.max() <= 0:  # logits, of which the highest is 0
        prior = np.exp(prior) / np.sum(np.exp(prior))
    order = np.argsort(-tree.visits[slot], kind="stable")
    tried = order[tree.visits[slot][order] > 0]
    columns = (tree.visits[slot], tree.value[slot], prior, tree.child[slot])
    return [_Edge(int(a), *(c[a].item() for c in columns)) for a in tried]


def _spots(tree: Tree, max_nodes: int) -> list[_Spot]:
    """The most visited nodes, each after its parent."""
    visits = tree.visits[0].sum()
    value = (tree.raw_value[0] + tree.visits[0] @ tree.value[0]) / (1 + visits)
    spots = [_Spot(-1, -1, 0, float(visits), float(value), True)]
    waiting: list[tuple] = []

    def open_edges(index: int, slot: int, sign: float) -> None:
        """``sign`` is -1 where the root's opponent moves."""
        above = spots[index]
        for rank, edge in enumerate(_edges(tree, slot)):
            principal = above.principal and rank == 0
            spot = _Spot(index, edge.action, above.depth + 1, edge.visits, sign * edge.value, principal)
            heapq.heappush(waiting, (-edge.visits, not principal, index, edge.action, edge.slot, sign, spot))

    open_edges(0, 0, 1.0)
    while waiting and len(spots) < max_nodes:
        *_, slot, sign, spot = heapq.heappop(waiting)
        spots.append(spot)
        if slot >= 0:
            open_edges(len(spots) - 1, slot, sign * np.sign(tree.discount[slot]))
    return spots


def _columns(spots: Sequence[_Spot]) -> np.ndarray:
    """Horizontal positions of nodes: leaves side by side, parents above the middle of their children."""
    below: list[list[int]] = [[] for _ in spots]
    for index, spot in enumerate(spots[1:], 1):
        below[spot.parent].append(index)
    columns, next_free = np.zeros(len(spots)), 0

    def place(index: int) -> None:
        nonlocal next_free
        children = sorted(below[index], key=lambda i: spots[i].action)
        for child in children:
            place(child)
        if children:
            columns[index] = (columns[children[0]] + columns[children[-1]]) / 2
        else:
            columns[index], next_free = next_free, next_free + 1

    place(0)
    return columns


def _paint(axes: "Axes", spots: Sequence[_Spot], names: Sequence[str] | None) -> None:
    x, y = _columns(spots), [-spot.depth for spot in spots]
    for index, spot in enumerate(spots[1:], 1):
        color, width = ("black", 2.0) if spot.principal else ("0.75", 0.8)
        ends = [spot.parent, index]
        axes.plot(x[ends], [y[i] for i in ends], color=color, linewidth=width, zorder=1 + spot.principal)
    visits, values = (np.asarray([getattr(spot, name) for spot in spots]) for name in ("visits", "value"))
    area = np.maximum(_LARGEST * visits / visits.max(), _SMALLEST)
    edge_colors = ["black" if spot.principal else "0.4" for spot in spots]
    circles = axes.scatter(x, y, s=area, c=values, cmap="viridis", edgecolors=edge_colors, linewidths=0.8, zorder=3)
    for index, spot in enumerate(spots[1:], 1):
        name = str(spot.action) if names is None else names[spot.action]
        radius = np.sqrt(area[index] / np.pi)  # points
        text = axes.annotate(name, (x[index], y[index]), (0, -radius - 2), textcoords="offset points", fontsize=7)
        text.set(ha="center", va="top", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.margins(0.06, 0.12)
    axes.set_xticks([])
    axes.set_yticks(range(0, min(y) - 1, -1), [str(-level) for level in range(0, min(y) - 1, -1)])
    axes.set_ylabel("moves from the root")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.figure.colorbar(circles, ax=axes, label="value to the player to move at the root", fraction=0.04, pad=0.02)
