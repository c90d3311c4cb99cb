"""Exact equilibria against another library's, against each other, and of games that are known."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import matrix_games
from purerl.games import equilibria
from purerl.kernels import normal_form as nf
from tests.oracles import nashpy_values
from tests.oracles.games import nash_conv


@pytest.fixture(scope="module")
def random_games():
    """Payoffs ``[N, 2, 3, 3]`` and all their equilibria by nashpy."""
    return nashpy_values.games(), json.loads(nashpy_values.PATH.read_text())["equilibria"]


@pytest.mark.covers("nash")
def test_support_enumeration_finds_all_equilibria(random_games):
    """250 random 3x3 games: the same equilibria as nashpy's vertex enumeration, at least one each (Nash's theorem) and
    an odd number, each with NashConv 0."""
    for payoffs, theirs in zip(*random_games, strict=True):
        ours = sorted([*row, *column] for row, column in equilibria.support_enumeration(payoffs))
        assert len(ours) % 2 == 1
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
        for found in ours:
            np.testing.assert_allclose(nash_conv(payoffs, [np.array(found[:3]), np.array(found[3:])]), 0, atol=1e-9)


@pytest.mark.covers("nash")
def test_linear_programme_agrees(random_games):
    """The zero-sum ones among them: one equilibrium, which is that of the linear programme and of highest entropy."""
    payoffs, theirs = random_games
    cases = [(equilibria.zero_sum_equilibrium, 1e-7, 50), (equilibria.maximum_entropy_equilibrium, 1e-6, 8)]
    for solve, close, number in cases:
        for game, (expected,) in zip(payoffs[-number:], theirs[-number:], strict=True):
            value, row, column = solve(game[0])
            np.testing.assert_allclose([*row, *column], expected, atol=close)
            np.testing.assert_allclose(value, row @ game[0] @ column, atol=close)


@pytest.mark.covers("rps", "nash")
def test_known_equilibria():
    """Rock, paper, scissors: a third each, value 0; the biased one (1, 10, 5) / 16; matching pennies; the battle of the
    sexes with its mixed equilibrium; the stag hunt has three; the dilemma one."""
    found = equilibria.zero_sum_equilibrium(np.asarray(matrix_games.rock_paper_scissors()[0]))
    np.testing.assert_allclose([found.value, *found.row, *found.column], [0] + [1 / 3] * 6, atol=1e-9)
    biased = np.asarray(matrix_games.rock_paper_scissors(0.25, 0.5, 0.05)[0], float)
    found = equilibria.zero_sum_equilibrium(biased)
    np.testing.assert_allclose([found.value, *found.row], [0, 1 / 16, 10 / 16, 5 / 16], atol=1e-7)
    counts = {"prisoners_dilemma": 1, "stag_hunt": 3, "battle_of_the_sexes": 3, "matching_pennies": 1}
    for name, count in counts.items():
        assert len(list(equilibria.support_enumeration(matrix_games.MATRIX_GAMES[name]()))) == count
    mixed = list(equilibria.support_enumeration(matrix_games.battle_of_the_sexes()))[-1]
    np.testing.assert_allclose([*mixed[0], *mixed[1]], [0.6, 0.4, 0.4, 0.6], atol=1e-7)


@pytest.mark.covers("nash")
def test_entropy_does_not_count_players_twice(x64):
    """Two rocks in rock, paper, scissors share rock's third, and the others keep theirs; an action that is worse than
    the value everywhere gets nothing. A linear programme may choose any share."""
    rock = np.asarray(matrix_games.rock_paper_scissors()[0])
    index = [0, 0, 1, 2]
    twice = rock[np.ix_(index, index)]
    value, row, column = equilibria.maximum_entropy_equilibrium(twice)
    np.testing.assert_allclose([value, *row, *column], [0] + [1 / 6, 1 / 6, 1 / 3, 1 / 3] * 2, atol=1e-6)
    assert nf.nash_conv(nf.zero_sum(twice), (jnp.asarray(row), jnp.asarray(column))) < 1e-6
    worse = np.block([[rock, np.ones((3, 1))], [-np.ones((1, 3)), np.zeros((1, 1))]])
    np.testing.assert_allclose(equilibria.maximum_entropy_equilibrium(worse).row, [1 / 3] * 3 + [0], atol=1e-4)


def test_what_is_no_game_is_refused():
    """Payoffs that are not finite or no matrix."""
    with pytest.raises(ValueError, match=r"a matrix \[A, K\] of finite numbers"):
        equilibria.zero_sum_equilibrium([[np.nan, 1.0]])
    with pytest.raises(ValueError, match=r"payoffs of the shape \(3, 3\)"):
        next(equilibria.support_enumeration(np.zeros((3, 3))))
