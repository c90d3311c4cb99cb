"""Maps of gridworlds, and how one moves on them.

A map is a tuple of rows of letters: ``S`` start, ``G`` goal, ``#`` wall, ``C`` cliff, ``H`` hole, anything else free.
Cells are numbered row by row from the top left; that number is the state. A cell that nobody can stand on, a wall or
the cliff, keeps its number, so that ``values.reshape(height, width)`` is a picture of the map.
"""

import numpy as np

Map = tuple[str, ...]

# Moves as (rows down, columns to the right), in the order of the actions.
FOUR_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
KINGS_MOVES = (*FOUR_MOVES, (-1, 1), (1, 1), (1, -1), (-1, -1))  # and the diagonals, clockwise from up-right
KINGS_MOVES_AND_STAY = (*KINGS_MOVES, (0, 0))
LAKE_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up: the order of gymnasium's FrozenLake

SMALL: Map = (
    "G...",
    "....",
    "....",
    "...G",
)

JUMPS: Map = (
    ".A.B.",
    ".....",
    "...b.",
    ".....",
    ".a...",
)

WINDY: Map = (
    "..........",
    "..........",
    "..........",
    "S......G..",
    "..........",
    "..........",
    "..........",
)
WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)  # cells up, by the column that one leaves

CLIFF: Map = (
    "............",
    "............",
    "............",
    "SCCCCCCCCCCG",
)

DYNA: Map = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)

# A barrier across the maze with a gap at its right end, at its left end, and at both.
GAP_RIGHT: Map = ("........G", ".........", ".........", "########.", ".........", "...S.....")
GAP_LEFT: Map = ("........G", ".........", ".........", ".########", ".........", "...S.....")
GAPS: Map = ("........G", ".........", ".........", ".#######.", ".........", "...S.....")

LAKES: dict[int, Map] = {
    4: (
        "SFFF",
        "FHFH",
        "FFFH",
        "HFFG",
    ),
    8: (
        "SFFFFFFF",
        "FFFFFFFF",
        "FFFHFFFF",
        "FFFFFHFF",
        "FFFHFFFF",
        "FHHFFFHF",
        "FHFFHFHF",
        "FFFHFFFG",
    ),
}

TOWN: Map = (
    "R...G",
    ".....",
    ".....",
    ".....",
    "Y..B.",
)
TOWN_MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))  # south, north, east, west: the order of gymnasium's Taxi
FENCES = (1, 6, 15, 17, 20, 22)  # cells of the town with a fence on their eastern side


def letters(world: Map) -> np.ndarray:
    """``[H, W]`` of single letters."""
    return np.array([list(row) for row in world])


def where(world: Map, letter: str) -> np.ndarray:
    """``[S]`` bool: the cells that bear one of the letters of ``letter``."""
    return np.isin(letters(world).ravel(), list(letter))


def cell(world: Map, letter: str) -> int:
    """The number of the only cell with that letter."""
    return int(np.flatnonzero(where(world, letter)).item())


def destinations(world: Map, moves: tuple[tuple[int, int], ...], wind: tuple[int, ...] | None = None) -> np.ndarray:
    """``[S, A]`` the cell that each move leads to. The border holds one back along its axis, a wall altogether.

    Args:
        world: the map.
        moves: ``A`` pairs (rows down, columns to the right).
        wind: ``[W]`` cells that one is blown up in addition, by the column one leaves; None for still air.
    """
    height, width = letters(world).shape
    here = np.arange(height * width)[:, None]
    row, column = np.divmod(here, width)
    down, right = np.transpose(moves)
    blown = np.take(np.zeros(width, int) if wind is None else wind, column)
    there = np.clip(row + down - blown, 0, height - 1) * width + np.clip(column + right, 0, width - 1)
    return np.where(where(world, "#")[there], here, there)
