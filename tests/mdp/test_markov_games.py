"""Markov games against loops over everything that may happen; what one player is in while the others stay or learn."""

import itertools

import jax
import numpy as np
import pytest

from purerl import mdp
from purerl.mdp import markov_games

GAMMA = 0.8


def random_game(seed, num_states=3, num_actions=(2, 3, 2)):
    """A game of three players whose last state is terminal, and a policy of each, of NumPy."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(num_states), size=(num_states, *num_actions))
    reward = rng.normal(size=(len(num_actions), num_states, *num_actions))
    terminal = np.arange(num_states) == num_states - 1
    game = markov_games.make(transition, reward, gamma=GAMMA, terminal=terminal)
    policies = tuple(rng.dirichlet(np.ones(n), size=num_states) for n in num_actions)
    return game, policies


@pytest.mark.covers("markov-game")
def test_one_player_among_fixed_others_is_in_a_decision_process(x64):
    """The middle one of three players: its transitions and rewards are means over what the others do, which a loop
    adds up; they change when another one's policy does, and not with its own."""
    game, policies = random_game(0)
    process = markov_games.induced(game, 1, policies)
    transition, reward = np.zeros((3, 3, 3)), np.zeros((3, 3))
    for s, a, b, c in itertools.product(range(3), range(2), range(3), range(2)):
        chance = policies[0][s, a] * policies[2][s, c]
        transition[s, b] += chance * np.asarray(game.transition[s, a, b, c])
        reward[s, b] += chance * float(game.reward[1, s, a, b, c])
    np.testing.assert_allclose(process.transition, transition, rtol=1e-12)
    np.testing.assert_allclose(mdp.expected_reward(process), reward, atol=1e-12)
    np.testing.assert_array_equal(reward[2], 0)
    other = random_game(1)[1]
    moved = markov_games.induced(game, 1, (policies[0], policies[1], other[2]))
    assert np.abs(moved.transition - process.transition)[:2].max() > 0.05
    same = markov_games.induced(game, 1, (policies[0], other[1], policies[2]))
    jax.tree.map(np.testing.assert_array_equal, same, process)


@pytest.mark.covers("markov-game")
def test_values_of_all_players_solve_one_system(x64):
    """The chain of joint actions solved by NumPy; and each player's stage games, averaged over what all of them do,
    give the values back."""
    game, policies = random_game(2)
    joint = np.einsum("sa,sb,sc->sabc", *policies)
    chain = np.einsum("sabc,sabcz->sz", joint, game.transition) * (np.arange(3) < 2)[:, None]
    reward = np.einsum("sabc,nsabc->ns", joint, game.reward)
    expected = np.linalg.solve(np.eye(3) - GAMMA * chain, reward.T).T
    found = markov_games.values(game, policies)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    stage = markov_games.stage_games(game, found)
    np.testing.assert_allclose(np.einsum("sabc,nsabc->ns", joint, stage), expected, atol=1e-10)


@pytest.mark.covers("markov-game")
def test_random_zero_sum_games():
    """Rows are distributions, what one wins the other loses, terminal states stay."""
    game = markov_games.random_zero_sum(jax.random.key(0), 4, (2, 3), gamma=GAMMA, num_terminal=1)
    assert game.reward.shape == (2, 4, 2, 3)
    np.testing.assert_allclose(game.transition.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(game.reward[0], -game.reward[1])
    np.testing.assert_array_equal(game.transition[3, :, :, 3], 1)
    assert np.abs(game.reward[0, :3]).min() > 0


def test_wrong_arrays_are_said():
    """Shapes that do not go together, rows that are no distributions, NaN."""
    even = np.full((2, 2, 2, 2), 0.5)
    for transition, reward, message in [
        (even[0], even[0], r"shape \(2, 2, 2\); it must be|reward has the shape"),
        (even, np.zeros((3, 2, 2, 2)), r"reward has the shape \(3, 2, 2, 2\)"),
        (even * 0.7, np.zeros((2, 2, 2)), r"transition\[0, 0\] sums to 0.7, not to 1"),
        (even, np.full((2, 2, 2), np.nan), r"rewards must be finite"),
        (even[:, :, :, :1], np.zeros((2, 2, 2)), r"it must be \[S, A_1, ..., A_n, S\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            markov_games.make(transition, reward, gamma=GAMMA)
    game = markov_games.make(even, np.arange(8.0).reshape(2, 2, 2), gamma=GAMMA)
    np.testing.assert_array_equal(game.reward[1], -np.arange(8).reshape(2, 2, 2))
