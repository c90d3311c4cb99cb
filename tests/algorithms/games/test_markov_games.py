"""Shapley's iteration against linear programmes and value iteration; minimax-Q against Shapley's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.games.markov_games import minimax_q, shapley, state_games
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.games.equilibria import zero_sum_equilibrium
from purerl.mdp import markov_games

GAMMA = 0.6
solve = jax.jit(shapley)  # compiled once for games of one shape


def random_game(gamma=GAMMA):
    return markov_games.random_zero_sum(jax.random.key(3), 4, (3, 3), gamma=gamma, num_terminal=1)


@pytest.mark.covers("markov-game", "nash")
def test_shapley_finds_the_value_that_linear_programmes_find(x64):
    """Sweeps in NumPy with a linear programme in each state: the same values; within the bound; each sweep brings any
    two value functions closer by gamma, at least."""
    game = random_game()
    solution = solve(game, tolerance=1e-9)
    transition, reward, value = np.asarray(game.transition), np.asarray(game.reward[0]), np.zeros(4)
    for _ in range(42):
        payoff = reward + GAMMA * transition @ value
        value = np.array([zero_sum_equilibrium(one).value for one in payoff[:3]] + [0.0])
    np.testing.assert_allclose(solution.value, value, atol=1e-7)
    assert 0 < solution.bound < 2e-9 and 20 < solution.iterations < 60
    pairs = np.random.default_rng(0).normal(size=(2, 20, 4)) * (np.arange(4) < 3)
    swept = jax.jit(jax.vmap(jax.vmap(lambda v: state_games(game, v)[0])))(pairs)
    ratio = np.abs(swept[0] - swept[1]).max(-1) / np.abs(pairs[0] - pairs[1]).max(-1)
    assert 0.05 < ratio.max() <= GAMMA + 1e-9


@pytest.mark.covers("markov-game", "nash")
def test_nobody_gains_by_leaving_the_equilibrium(x64):
    """In the decision process that each player is in while the other keeps to its strategy, the best values are those
    of the game, by value iteration: no player would rather do something else. Against another strategy it would."""
    game = random_game()
    solution = solve(game, tolerance=1e-9)
    best = jax.jit(lambda process: value_iteration(process, tolerance=1e-9).value)
    for player, sign in ((0, 1), (1, -1)):
        process = markov_games.induced(game, player, solution.policies)
        np.testing.assert_allclose(best(process), sign * solution.value, atol=1e-7)
    both = markov_games.values(game, solution.policies)
    np.testing.assert_allclose(both, np.stack([solution.value, -solution.value]), atol=1e-7)
    careless = (solution.policies[0], jnp.full((4, 3), 1 / 3))
    gain = best(markov_games.induced(game, 0, careless)) - solution.value
    assert gain.max() > 0.1 and gain.min() > -1e-7


@pytest.mark.covers("markov-game")
def test_where_one_player_has_no_choice_it_is_value_iteration():
    """The first player chooses, the second has one action: the maximum; with their seats exchanged, the minimum."""
    game = random_game()
    alone = game.replace(transition=game.transition[:, :, :1], reward=game.reward[..., :1])
    process = markov_games.induced(alone, 0, (jnp.ones((4, 3)), jnp.ones((4, 1))))
    expected = value_iteration(process).value
    np.testing.assert_allclose(shapley(alone).value, expected, atol=1e-4)
    seats = game.replace(transition=jnp.swapaxes(alone.transition, 1, 2), reward=jnp.swapaxes(alone.reward, 2, 3)[::-1])
    np.testing.assert_allclose(shapley(seats).value, -expected, atol=1e-4)


@pytest.mark.covers("markov-game")
def test_minimax_q_learns_the_value_by_playing():
    """Two plays of 30,000 steps: values come within .06 of Shapley's, from .8 and more at first; all was tried."""
    game = random_game()
    solution = solve(game)
    payoff = markov_games.stage_games(game, jnp.stack([solution.value, -solution.value]))[0]
    learn = jax.jit(jax.vmap(lambda key: minimax_q(game, key, 30_000)))
    learned = learn(jax.random.split(jax.random.key(0)))
    assert np.abs(solution.value).max() > 0.8
    assert np.abs(learned.value - solution.value).max() < 0.06
    assert np.abs(learned.q - payoff).max() < 0.15
    assert learned.visits[:, :3].min() > 250 and (learned.visits[:, 3] == 0).all()


def test_games_of_other_numbers_of_players_are_refused():
    game = markov_games.make(np.full((2, 2, 2), 0.5), np.zeros((1, 2, 2)), gamma=0.5)
    with pytest.raises(ValueError, match=r"a game of 1 players: only one of two"):
        shapley(game)
