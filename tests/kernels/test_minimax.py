"""Values of small zero-sum games against linear programmes and games whose value is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.games.equilibria import zero_sum_equilibrium
from purerl.kernels.minimax import maximin


@pytest.mark.covers("nash", "markov-game")
def test_value_is_that_of_the_linear_programme(x64):
    """100 random games of two and three actions, a third of them of small whole numbers, with ties: the value, and
    strategies of both players that guarantee it."""
    rng = np.random.default_rng(0)
    games = rng.normal(size=(100, 2, 3)) * np.logspace(-3, 3, 100)[:, None, None]
    games[::3] = rng.integers(-2, 3, size=(34, 2, 3))
    solve = jax.jit(jax.vmap(maximin))
    ours, others = solve(jnp.asarray(games)), solve(-jnp.asarray(games).swapaxes(1, 2))
    for game, value, row, column in zip(games, ours.value, ours.strategy, others.strategy, strict=True):
        scale = np.abs(game).max()
        np.testing.assert_allclose(value, zero_sum_equilibrium(game).value, atol=1e-9 * scale)
        np.testing.assert_allclose([row.sum(), column.sum()], 1, rtol=1e-12)
        assert min(row.min(), column.min()) >= 0
        np.testing.assert_allclose([(row @ game).min(), (game @ column).max()], value, atol=1e-9 * scale)


@pytest.mark.covers("rps", "pd", "nash")
def test_known_values():
    """In single precision: rock, paper, scissors and its biased form with the strategy (1, 10, 5) / 16, a saddle point,
    a game in which nothing is at stake; adding 7 to a game adds 7 to its value, and keeps the strategy."""
    rock = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32)
    biased = np.array([[0, -0.25, 0.5], [0.25, 0, -0.05], [-0.5, 0.05, 0]], np.float32)
    saddle = np.array([[3, 1, 4], [1, 0, 5], [2, -1, 3]], np.float32)
    found = jax.jit(jax.vmap(maximin))(jnp.stack([rock, biased, saddle, 0 * rock, rock + 7]))
    np.testing.assert_allclose(found.value, [0, 0, 1, 0, 7], atol=1e-5)
    np.testing.assert_allclose(found.strategy[0], [1 / 3] * 3, atol=1e-5)
    np.testing.assert_allclose(found.strategy[1], np.array([1, 10, 5]) / 16, atol=1e-5)
    np.testing.assert_allclose(found.strategy[2], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found.strategy[4], [1 / 3] * 3, atol=1e-5)
