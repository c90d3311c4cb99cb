"""The solvers of board games against known numbers and plain search: they are what everything else is compared with."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from tests.oracles import connect_four, tic_tac_toe


def test_tic_tac_toe_has_its_known_numbers():
    """5478 boards, 958 of them final, a draw from the start after every first move; the known results of random play,
    of the best answers to it, and of perfect play against it."""
    boards = tic_tac_toe.positions()
    assert len(boards) == len(set(boards)) == 5478 and sum(map(tic_tac_toe.is_over, boards)) == 958
    assert tic_tac_toe.value(tic_tac_toe.EMPTY) == 0 and tic_tac_toe.optimal_moves(tic_tac_toe.EMPTY) == [*range(9)]
    uniform, perfect = tic_tac_toe.uniform, tic_tac_toe.perfect
    assert tic_tac_toe.outcomes(uniform, uniform) == (Fraction(737, 1260), Fraction(8, 63), Fraction(121, 420))
    assert tic_tac_toe.best_response(1, uniform) == Fraction(191, 192)
    assert tic_tac_toe.best_response(-1, uniform) == Fraction(874, 945)
    np.testing.assert_allclose(
        np.array(tic_tac_toe.outcomes(perfect, uniform), float), [0.967811, 0.032189, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        np.array(tic_tac_toe.outcomes(uniform, perfect), float), [0, 0.222516, 0.777484], atol=1e-6
    )
    assert tic_tac_toe.outcomes(perfect, perfect) == (0, 1, 0)


def test_tic_tac_toe_boards_are_read_from_either_side():
    """Own stones first: the board is the same whoever looks at it when it is their turn."""
    for board in tic_tac_toe.positions()[::7]:
        own = np.array(board) * tic_tac_toe.to_move(board)
        assert tic_tac_toe.from_obs(np.stack([own > 0, own < 0], -1).reshape(3, 3, 2)) == board


def random_position(rng, num_stones):
    """A game of Connect Four that is not over after that many random moves, as columns."""
    while True:
        columns: list[int] = []
        position = connect_four.from_moves(columns)
        while len(columns) < num_stones and not connect_four.is_over(*position):
            columns.append(int(rng.choice(connect_four.legal_moves(position[1]))))
            position = connect_four.from_moves(columns)
        if not connect_four.is_over(*position):
            return columns


class Grid:
    """Connect Four without bits: a list of columns, looked through cell by cell."""

    def __init__(self, columns=()):
        self.stones: list[list[int]] = [[] for _ in range(7)]
        self.mover = 0
        for column in columns:
            self.drop(column)

    def drop(self, column):
        self.stones[column].append(self.mover)
        self.mover = 1 - self.mover

    def lift(self, column):
        self.mover = self.stones[column].pop()

    def legal(self):
        return [column for column in range(7) if len(self.stones[column]) < 6]

    def at(self, column, row):
        return self.stones[column][row] if 0 <= column < 7 and 0 <= row < len(self.stones[column]) else None

    def has_four(self):
        steps = ((0, 1), (1, 0), (1, 1), (1, -1))
        lines = (
            [self.at(c + i * dc, r + i * dr) for i in range(4)]
            for (c, r), (dc, dr) in itertools.product(itertools.product(range(7), range(6)), steps)
        )
        return any(None not in line and len(set(line)) == 1 for line in lines)

    def value(self):
        """What the player to move gets, by looking at every game."""
        if self.has_four():
            return -1
        return max(self.action_values().values(), default=0)

    def action_values(self):
        values = {}
        for column in self.legal():
            self.drop(column)
            values[column] = -self.value()
            self.lift(column)
        return values

    def obs(self):
        """As the player to move sees it, the topmost row first."""
        cells = [[self.at(column, row) for column in range(7)] for row in range(5, -1, -1)]
        return np.stack(
            [[[cell == side for cell in row] for row in cells] for side in (self.mover, 1 - self.mover)], -1
        )


@pytest.mark.parametrize("num_stones", [35, 37, 40])
def test_connect_four_endgames_are_those_of_plain_search(num_stones):
    """Values of all moves in random positions with few free cells, and positions read from what a player sees."""
    rng = np.random.default_rng(num_stones)
    for _ in range(8):
        columns = random_position(rng, num_stones)
        grid, position = Grid(columns), connect_four.from_moves(columns)
        assert connect_four.from_obs(grid.obs()) == position
        values = connect_four.action_values(*position)
        assert values == grid.action_values()
        assert connect_four.value(*position) == max(values.values())
        assert connect_four.optimal_moves(*position) == [c for c in values if values[c] == max(values.values())]


def test_connect_four_sees_every_line():
    """Each of the 69 lines of four, and no set of four random cells that is not a line, is four in a row; with any one
    of its stones missing, the free cell completes it."""
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    starts = itertools.product(range(7), range(6), steps)
    lines = [[(c + i * dc, r + i * dr) for i in range(4)] for c, r, (dc, dr) in starts]
    lines = [line for line in lines if all(0 <= c < 7 and 0 <= r < 6 for c, r in line)]
    assert len(lines) == 69

    def stones(cells):
        return sum(1 << 7 * c + r for c, r in cells)

    known = {stones(line) for line in lines}
    for line in lines:
        assert connect_four.has_four(stones(line))
        for cell in line:
            missing = stones(line) ^ stones([cell])
            assert connect_four.completing(missing, missing) & stones([cell])
    rng, cells = np.random.default_rng(0), [*itertools.product(range(7), range(6))]
    drawn = [stones(cells[i] for i in rng.choice(42, 4, replace=False)) for _ in range(2000)]
    assert [connect_four.has_four(cells) for cells in drawn] == [cells in known for cells in drawn]


def test_connect_four_of_many_free_cells_agrees_with_its_own_moves():
    """With 22 stones: the value is the best move's, and after a best move the other player's value is its negative."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        own, taken = connect_four.from_moves(random_position(rng, 22))
        worth = connect_four.value(own, taken)
        assert worth == max(connect_four.action_values(own, taken).values())
        for column in set(connect_four.optimal_moves(own, taken)) - set(connect_four.winning_moves(own, taken)):
            assert connect_four.value(*connect_four.play(own, taken, connect_four.landing(taken, column))) == -worth
