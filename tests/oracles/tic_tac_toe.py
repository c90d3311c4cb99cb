"""Tic-tac-toe solved by looking at every game, in exact fractions.

A board is a tuple of nine: 1 where X has played, -1 where O has, 0 where nobody has. X begins. A policy maps a board to
a dict of moves and their probabilities.
"""

import functools
from fractions import Fraction

import numpy as np

EMPTY = (0,) * 9
LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


def winner(board):
    """1 or -1, or 0 for nobody."""
    return next((board[a] for a, b, c in LINES if board[a] == board[b] == board[c] != 0), 0)


def is_over(board):
    return winner(board) != 0 or 0 not in board


def to_move(board):
    return 1 if sum(board) == 0 else -1


def moves(board):
    return [] if is_over(board) else [cell for cell in range(9) if board[cell] == 0]


def play(board, cell):
    return (*board[:cell], to_move(board), *board[cell + 1 :])


def from_obs(obs):
    """The board that a player sees: ``[3, 3, 2]``, its own stones and the other's."""
    own, other = np.asarray(obs, int).reshape(9, 2).T
    mover = 1 if own.sum() == other.sum() else -1
    return tuple((mover * (own - other)).tolist())


@functools.cache
def positions():
    """Every board that can be reached, the empty one first."""
    found, new = [EMPTY], [EMPTY]
    while new:
        new = sorted({play(board, cell) for board in new for cell in moves(board)}, reverse=True)
        found += new
    return found


@functools.cache
def value(board):
    """What the player to move gets if both play perfectly: 1, 0 or -1."""
    if is_over(board):
        return -abs(winner(board))
    return max(-value(play(board, cell)) for cell in moves(board))


def optimal_moves(board):
    return [cell for cell in moves(board) if -value(play(board, cell)) == value(board)]


# --- policies ---------------------------------------------------------------------------------------------


def _evenly(cells):
    return {cell: Fraction(1, len(cells)) for cell in cells}


def uniform(board):
    return _evenly(moves(board))


def perfect(board):
    return _evenly(optimal_moves(board))


def one_ply(board):
    """Win; else leave no win to the other; else anything."""

    def wins(board):
        return [cell for cell in moves(board) if winner(play(board, cell))]

    safe = [cell for cell in moves(board) if not wins(play(board, cell))]
    return _evenly(wins(board) or safe or moves(board))


@functools.cache
def outcomes(x, o, board=EMPTY):
    """How likely X wins, nobody does, and O wins."""
    if is_over(board):
        return tuple(Fraction(winner(board) == result) for result in (1, 0, -1))
    policy = (x if to_move(board) == 1 else o)(board)
    parts = [(chance, outcomes(x, o, play(board, cell))) for cell, chance in policy.items()]
    return tuple(sum(chance * part[i] for chance, part in parts) for i in range(3))


@functools.cache
def best_response(player, opponent, board=EMPTY):
    """What ``player`` (1 or -1) gets at most against a policy, a win counting 1 and a loss -1."""
    if is_over(board):
        return Fraction(player * winner(board))
    if to_move(board) == player:
        return max(best_response(player, opponent, play(board, cell)) for cell in moves(board))
    return sum(chance * best_response(player, opponent, play(board, cell)) for cell, chance in opponent(board).items())


def lines_of_first_legal(mine, board=EMPTY):
    """Lines won, drawn and lost by the player ``mine`` of the first legal move, against all replies."""
    if is_over(board):
        return np.array([winner(board) == outcome * mine for outcome in (1, 0, -1)], int)
    cells = moves(board)
    cells = cells[:1] if to_move(board) == mine else cells
    return sum(lines_of_first_legal(mine, play(board, cell)) for cell in cells)
