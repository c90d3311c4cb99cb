"""Gridworlds as exact Markov decision processes.

Each is a function that returns an :class:`~purerl.mdp.MDP`, built once on the host. States are the cells of a
map of :mod:`purerl.envs.textbook.maps`, row by row from the top left; actions are up, right, down, left unless stated
otherwise. Cells that nobody can stand on (walls, the cliff) are states too, never entered and marked terminal.

Sources: Sutton and Barto 2018, "Reinforcement Learning: An Introduction", 2nd edition, by the number of the example;
gymnasium's "toy text" environments for FrozenLake and Taxi.
"""

from typing import Any

import numpy as np

from purerl.envs.textbook import maps
from purerl.mdp import MDP, make


def gridworld_4x4(gamma: float = 1.0) -> MDP:
    """Small gridworld: 16 cells, ends in two opposite corners, reward -1 a step: the shortest way out.

    Starts uniformly on the 14 inner states. Source: Example 4.1.
    """
    ends = maps.where(maps.SMALL, "G")
    return _walk(maps.destinations(maps.SMALL, maps.FOUR_MOVES), -1.0, gamma, ends)


def gridworld_5x5(gamma: float = 0.9) -> MDP:
    """Gridworld of 5 x 5 cells without an end, with two cells from which every move jumps.

    Every move from A = (0, 1) has reward 10 and leads to (4, 1), every one from B = (0, 3) reward 5 and leads to
    (2, 3); elsewhere a move off the grid has reward -1 and leads nowhere, any other 0.

    Starts uniformly. Sources: Examples 3.5 and 3.8.
    """
    world = maps.JUMPS
    after = maps.destinations(world, maps.FOUR_MOVES)
    reward = np.where(after == np.arange(after.shape[0])[:, None], -1.0, 0.0)
    for jump, landing, gain in (("A", "a", 10.0), ("B", "b", 5.0)):
        after[maps.cell(world, jump)] = maps.cell(world, landing)
        reward[maps.cell(world, jump)] = gain
    return _walk(after, reward, gamma)


def windy_gridworld(moves: tuple[tuple[int, int], ...] = maps.FOUR_MOVES, gamma: float = 1.0) -> MDP:
    """Windy gridworld: 7 x 10 cells with an upward wind in the columns 3 to 8, from (3, 0) to (3, 7), reward -1 a step.

    The wind that counts is that of the column one leaves. Sources: Example 6.5; Exercise 6.9 for the king's moves.

    Args:
        moves: the actions: ``maps.FOUR_MOVES``, ``maps.KINGS_MOVES``, ``maps.KINGS_MOVES_AND_STAY``, or any other pairs
            (rows down, columns to the right).
        gamma: [0, 1].
    """
    world = maps.WINDY
    after = maps.destinations(world, moves, maps.WIND)
    return _walk(after, -1.0, gamma, maps.where(world, "G"), maps.where(world, "S"))


def cliff_walking(gamma: float = 1.0) -> MDP:
    """Cliff walking: 4 x 12 cells, from the lower left to the lower right corner, reward -1 a step.

    Between them lies a cliff: a step into it has reward -100 and leads back to the start, and the episode goes on.

    Source: Example 6.6. States and actions are numbered as in gymnasium's CliffWalking.
    """
    world = maps.CLIFF
    after = maps.destinations(world, maps.FOUR_MOVES)
    fallen = maps.where(world, "C")[after]
    after = np.where(fallen, maps.cell(world, "S"), after)
    reward = np.where(fallen, -100.0, -1.0)
    return _walk(after, reward, gamma, maps.where(world, "GC"), maps.where(world, "S"))


def maze(world: maps.Map = maps.DYNA, gamma: float = 0.95) -> MDP:
    """A maze in which only the step into the goal is rewarded, by 1.

    Source: Example 8.1, the Dyna maze.

    Args:
        world: rows of letters, as long as each other: one or more ``S``, of which one is drawn uniformly, one or more
            ``G``, and walls ``#``.
        gamma: [0, 1].

    Raises:
        ValueError: if the map has rows of several lengths, no start or no goal.
    """
    if len({len(row) for row in world}) != 1 or not {"S", "G"} <= set("".join(world)):
        raise ValueError(f"maze(world={world!r}): a map has rows of one length, with an 'S' and a 'G' in them.")
    after = maps.destinations(world, maps.FOUR_MOVES)
    reward = np.where(maps.where(world, "G")[after], 1.0, 0.0)
    return _walk(after, reward, gamma, maps.where(world, "G#"), maps.where(world, "S"))


def blocking_maze(changed: bool = False, gamma: float = 0.95) -> MDP:
    """Blocking maze, whose way on the right is closed, while a longer one on the left opens: 10 steps, then 16.

    Source: Example 8.2; there the change comes after 1000 steps.

    Args:
        changed: before (False) or after (True) the change; both have the same shapes.
        gamma: [0, 1].
    """
    return maze(maps.GAP_LEFT if changed else maps.GAP_RIGHT, gamma)


def shortcut_maze(changed: bool = False, gamma: float = 0.95) -> MDP:
    """Shortcut maze, to whose way on the left a shorter one on the right is added: 16 steps, then 10.

    Source: Example 8.3; there the change comes after 3000 steps.

    Args:
        changed: before (False) or after (True) the change; both have the same shapes.
        gamma: [0, 1].
    """
    return maze(maps.GAPS if changed else maps.GAP_LEFT, gamma)


def frozen_lake(size: int = 4, slippery: bool = True, gamma: float = 0.99) -> MDP:
    """Frozen lake of ``size x size`` cells, reward 1 for the step into the goal; holes end the episode.

    On slippery ice one moves in the direction meant, or in one of the two across it, with probability 1/3 each.
    States and actions (left, down, right, up) are those of gymnasium's FrozenLake, whose time limit is left out.

    Args:
        size: 4 or 8.
        slippery: False for moves that succeed.
        gamma: [0, 1].

    Raises:
        ValueError: if there is no map of that size.
    """
    if size not in maps.LAKES:
        raise ValueError(f"frozen_lake(size={size}): there are maps of sizes {' and '.join(map(str, maps.LAKES))}.")
    world = maps.LAKES[size]
    meant = _onto(maps.destinations(world, maps.LAKE_MOVES))
    slipped = (meant + np.roll(meant, 1, axis=1) + np.roll(meant, -1, axis=1)) / 3
    arrival = maps.where(world, "G").astype(float)[None, None, :]
    return make(
        slipped if slippery else meant,
        arrival,
        gamma=gamma,
        terminal=maps.where(world, "GH"),
        start=_uniform(maps.where(world, "S")),
    )


def taxi(gamma: float = 0.99) -> MDP:
    """Taxi in a town of 5 x 5 cells fetches a passenger at one of four stands and brings them to another.

    Reward -1 a step, 20 for setting the passenger down at the destination, which ends the episode, -10 for picking up
    or setting down where that cannot be done. States and actions are those of gymnasium's Taxi, without its time limit:
    ``state = 20 cell + 4 passenger + destination``, stands in the order of the letters ``RGYB``, passenger 4 being in
    the taxi; actions south, north, east, west, pick up, set down. Starts on any of the 300 states where the passenger
    waits at a stand that is not the destination.

    Source: Dietterich 2000, "Hierarchical Reinforcement Learning with the MAXQ Value Function Decomposition".
    """
    sizes = (25, 5, 4)
    cell, passenger, destination = np.unravel_index(np.arange(np.prod(sizes)), sizes)
    stands, drives = np.array([maps.cell(maps.TOWN, letter) for letter in "RGYB"]), _drives()
    aboard = passenger == 4
    waits_here = ~aboard & (stands[passenger % 4] == cell)
    stops_at = cell[:, None] == stands  # [S, 4]
    lets_out = aboard & stops_at.any(axis=1)
    arrives = aboard & stops_at[np.arange(cell.size), destination]

    new_cell = np.column_stack([drives[cell], cell, cell])
    picked_up, set_down = np.where(waits_here, 4, passenger), np.where(lets_out, stops_at.argmax(axis=1), passenger)
    new_passenger = np.column_stack([*[passenger] * 4, picked_up, set_down])
    reward = np.full(new_cell.shape, -1.0)
    reward[:, 4] = np.where(waits_here, -1.0, -10.0)
    reward[:, 5] = np.select([arrives, lets_out], [20.0, -1.0], -10.0)

    after = np.ravel_multi_index((new_cell, new_passenger, destination[:, None]), sizes)
    delivered = passenger == destination
    return _walk(after, reward, gamma, delivered, ~delivered & ~aboard)


def _drives() -> np.ndarray:
    """``[25, 4]`` the cell to the south, north, east and west in the taxi's town, or where a fence or the border is,
    the same cell."""
    after = maps.destinations(maps.TOWN, maps.TOWN_MOVES)
    west_of_fence = np.array(maps.FENCES)
    after[west_of_fence, 2] = west_of_fence
    after[west_of_fence + 1, 3] = west_of_fence + 1
    return after


def _walk(
    after: np.ndarray, reward: Any, gamma: float, terminal: np.ndarray | None = None, start: np.ndarray | None = None
) -> MDP:
    """A process without chance.

    Args:
        after: ``[S, A]``, the next state.
        reward: ``[S, A]``, or one number for all.
        gamma: [0, 1].
        terminal: ``[S]`` bool; None for a process without end.
        start: ``[S]`` bool, the states to start in, each as likely; None for all that are not terminal.
    """
    first = None if start is None else _uniform(start)
    return make(_onto(after), np.broadcast_to(reward, after.shape), gamma=gamma, terminal=terminal, start=first)


def _onto(after: np.ndarray) -> np.ndarray:
    """``[S, A, S]`` transition probabilities of the next states ``after [S, A]``."""
    return np.eye(after.shape[0])[after]


def _uniform(states: np.ndarray) -> np.ndarray:
    return states / states.sum()
