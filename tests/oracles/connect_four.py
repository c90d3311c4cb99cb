"""Connect Four solved by alpha-beta search over sets of cells that are kept as bits of an integer.

Bit ``7 column + row`` is a cell, rows counted from below; the seventh bit of each column stays empty, so that no line
goes on in the next column. A position is ``(own, taken)``: the stones of the player to move, and all stones. Values are
what that player gets if both play perfectly, 1, 0 or -1. Positions of 22 stones or more take well under a second.
"""

import numpy as np

WIDTH, HEIGHT = 7, 6
BOTTOM = sum(1 << 7 * column for column in range(WIDTH))
BOARD = BOTTOM * (2**HEIGHT - 1)
STEPS = (1, 7, 6, 8)  # to the next cell of a column, of a row and of both diagonals


def from_obs(obs):
    """The position that a player sees: ``[6, 7, 2]``, its own stones and the other's, the topmost row first."""
    columns = np.asarray(obs, bool)[::-1].transpose(2, 1, 0).reshape(2, -1)  # [2, column * row]
    cells = [7 * column + row for column in range(WIDTH) for row in range(HEIGHT)]
    own, other = (sum(1 << cell for cell, stone in zip(cells, stones, strict=True) if stone) for stones in columns)
    return own, own | other


def from_moves(columns):
    """The position after moves, columns counted from 0."""
    own = taken = 0
    for column in columns:
        own, taken = play(own, taken, landing(taken, column))
    return own, taken


def landing(taken, column):
    """The lowest free cell of a column, 0 where it is full."""
    return (taken + BOTTOM) & ((2**HEIGHT - 1) << 7 * column)


def play(own, taken, cell):
    """The position of the other player after a move to a cell."""
    return own ^ taken, taken | cell


def has_four(stones):
    return any(stones & stones >> step & stones >> 2 * step & stones >> 3 * step for step in STEPS)


def is_over(own, taken):
    return taken == BOARD or has_four(own ^ taken)


def legal_moves(taken):
    return [column for column in range(WIDTH) if landing(taken, column)]


def completing(stones, taken):
    """Free cells that would make four, whether or not they can be played already."""
    found = 0
    for step in STEPS:
        left, right = stones << step & stones << 2 * step, stones >> step & stones >> 2 * step
        found |= left & (stones << 3 * step | stones >> step) | right & (stones >> 3 * step | stones << step)
    return found & BOARD & ~taken


def winning_moves(own, taken):
    """Columns in which the player to move makes four."""
    return [column for column in range(WIDTH) if landing(taken, column) & completing(own, taken)]


def value(own, taken, memory=None):
    """What the player to move gets; the game is not over."""
    return _search(own, taken, -1, 1, {} if memory is None else memory)


def action_values(own, taken):
    """What the player to move gets after each legal move, by column."""
    memory: dict = {}
    wins = winning_moves(own, taken)

    def after(column):
        child = play(own, taken, landing(taken, column))
        return 0 if child[1] == BOARD else -value(*child, memory)

    return {column: 1 if column in wins else after(column) for column in legal_moves(taken)}


def optimal_moves(own, taken):
    values = action_values(own, taken)
    return [column for column in values if values[column] == max(values.values())]


def _search(own, taken, alpha, beta, memory):
    """The value, or a bound of it where it lies outside of ``[alpha, beta]``."""
    candidates = (taken + BOTTOM) & BOARD
    if not candidates:
        return 0
    if completing(own, taken) & candidates:
        return 1
    threats = completing(own ^ taken, taken)
    if forced := threats & candidates:
        candidates = forced
        if forced & forced - 1:
            return -1  # two threats, one move
    candidates &= ~(threats >> 1)  # below a threat one must not play
    if not candidates:
        return -1

    low, high = memory.get((own, taken), (-1, 1))
    alpha, beta = max(alpha, low), min(beta, high)
    if alpha >= beta:
        return low if low >= beta else high
    best = -1
    for cell in _most_promising_first(own, taken, candidates):
        best = max(best, -_search(*play(own, taken, cell), -beta, -max(alpha, best), memory))
        if best >= beta:
            break
    memory[own, taken] = (best if best > alpha else low, best if best < beta else high)
    return best


def _most_promising_first(own, taken, candidates):
    """Moves that make most threats, then those in the middle."""
    cells = [cell for column in (3, 2, 4, 1, 5, 0, 6) if (cell := candidates & ((2**HEIGHT - 1) << 7 * column))]
    return sorted(cells, key=lambda cell: -completing(own | cell, taken | cell).bit_count())
