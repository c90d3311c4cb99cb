"""Teams as environments: their games, their rewards, and the best that sums of the agents' values can do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import make
from purerl.envs.checks import interface_errors, signature_errors
from purerl.envs.teams import Team, joint, two_step
from purerl.spaces import Box, Discrete, MultiDiscrete

KEY = jax.random.key(0)


@pytest.mark.covers("ctde", "markov-game")
def test_games_pay_what_they_say():
    """Every pair of actions: the climbing game's table, and both games behind the first step of the two-step one."""
    climbing = make("team/climbing")
    found = [climbing.step(KEY, jnp.int32(0), jnp.array(pair)) for pair in itertools.product(range(3), repeat=2)]
    np.testing.assert_array_equal([step[2] for step in found], [11, -30, 0, -30, 7, 6, 0, 0, 5])
    assert all(bool(step[3]) for step in found)
    env = joint(two_step())
    for first, second, table in ((0, 1, [7, 7, 7, 7]), (1, 0, [0, 1, 1, 8])):
        obs, state = env.reset(KEY)
        np.testing.assert_array_equal(obs, [[1, 0, 0]] * 2)
        obs, state, reward, terminated, *_ = env.step(KEY, state, jnp.array([first, second]))
        assert reward == 0 and not terminated
        np.testing.assert_array_equal(obs.argmax(axis=-1), 1 + first)
        ends = [env.step(KEY, state, jnp.array(pair)) for pair in itertools.product(range(2), repeat=2)]
        np.testing.assert_array_equal([end[2] for end in ends], table)
        assert all(bool(end[3]) for end in ends)


def test_a_team_is_an_environment():
    """Its spaces are those of the agents side by side, its reward their mean, which info has one by one; nothing is
    wrong with it."""

    def step(key, state, action):
        return jnp.zeros((3, 2)), state, action.astype(float), jnp.array(True), jnp.array(False), {}

    team = Team("three", lambda key: (jnp.zeros((3, 2)), 0), step, Box(0.0, 1.0, (2,)), Discrete(5), 3)
    env = joint(team)
    assert env.observation_space.shape == (3, 2) and env.action_space == MultiDiscrete((5, 5, 5))
    *_, reward, _, _, info = env.step(KEY, 0, jnp.array([0, 4, 2]))
    assert reward == 2
    np.testing.assert_array_equal(info["rewards"], [0, 4, 2])
    for name in ("team/two_step", "team/climbing"):
        assert not interface_errors(make(name)) and not signature_errors(make(name))


@pytest.mark.covers("ctde")
def test_the_best_sum_of_values_earns_less_than_the_best_team():
    """By least squares over all pairs of actions, which is what a sum of values comes to on uniform play: in the
    two-step game's second part it is -1.5, 2.5, 2.5, 6.5, so that a sure 7 looks better than the 8; in the climbing
    game the best of the sum earns 5, not 11."""

    def sums(table):
        table = np.array(table, float)
        return table.mean(0)[None] + table.mean(1)[:, None] - table.mean()

    np.testing.assert_allclose(sums([[0, 1], [1, 8]]), [[-1.5, 2.5], [2.5, 6.5]])
    climbing = [[11, -30, 0], [-30, 7, 6], [0, 0, 5]]
    best = np.unravel_index(sums(climbing).argmax(), (3, 3))
    assert climbing[best[0]][best[1]] == 5
