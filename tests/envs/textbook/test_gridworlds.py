"""Gridworlds of the textbook: their exact answers, and their tables beside gymnasium's."""

import itertools
from typing import Any

import numpy as np
import pytest
from gymnasium.envs import toy_text

from purerl.envs import textbook
from purerl.envs.textbook import maps
from tests.support.solutions import (
    arrays,
    at_start,
    cost_to_go,
    evaluate,
    iterate,
    one_hot,
    sweep,
    uniform,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_gridworld_4x4_has_the_published_values():
    """The random policy's values in the 4 x 4 grid, by a linear solve, are the integers of the book's Figure 4.1."""
    mdp = textbook.gridworld_4x4()
    known = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp)).reshape(4, 4), known, atol=1e-9)


def test_gridworld_5x5_has_the_published_values():
    """In the 5 x 5 grid with jumps the random policy's values and the optimal ones are known to 6 decimals."""
    mdp = textbook.gridworld_5x5()
    random = [
        [3.308996, 8.789292, 4.427619, 5.322368, 1.492179],
        [1.521588, 2.992318, 2.250140, 1.907572, 0.547403],
        [0.050822, 0.738171, 0.673113, 0.358186, -0.403141],
        [-0.973592, -0.435495, -0.354882, -0.585605, -1.183075],
        [-1.857701, -1.345231, -1.229267, -1.422918, -1.975179],
    ]
    optimal = [
        [21.977485, 24.419428, 21.977485, 19.419428, 17.477485],
        [19.779737, 21.977485, 19.779737, 17.801763, 16.021587],
        [17.801763, 19.779737, 17.801763, 16.021587, 14.419428],
        [16.021587, 17.801763, 16.021587, 14.419428, 12.977485],
        [14.419428, 16.021587, 14.419428, 12.977485, 11.679737],
    ]
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp)).reshape(5, 5), random, atol=6e-7)
    values, _ = iterate(mdp)
    np.testing.assert_allclose(values.reshape(5, 5), optimal, atol=6e-7)
    assert values[1] == pytest.approx(10 / (1 - 0.9**5), abs=1e-9)


@pytest.mark.parametrize(
    ("moves", "steps"), [(maps.FOUR_MOVES, 15), (maps.KINGS_MOVES, 7), (maps.KINGS_MOVES_AND_STAY, 7)]
)
def test_windy_gridworld_takes_the_known_number_of_steps(moves, steps):
    """Through the wind the shortest way takes 15 steps with four moves, 7 with a king's, by value iteration."""
    mdp = textbook.windy_gridworld(moves)
    assert at_start(mdp, sweep(mdp)) == -steps


def corridor(row: int) -> np.ndarray:
    """Cliff Walking's policy along one row: into that row, right along it, down at the last column."""
    rows, columns = np.divmod(np.arange(48), 12)
    up, right, down = 0, 1, 2
    return np.select([columns == 11, rows > row, rows < row], [down, up, down], right)


@pytest.mark.covers("cliff")
@pytest.mark.parametrize(("row", "plain", "explored"), [(2, -13, -51.81), (1, -15, -21.05), (0, -17, -22.27)])
def test_cliff_walking_corridors(row, plain, explored):
    """The returns of the three corridors along the cliff, greedy and with exploration 0.1, by linear solves."""
    mdp = textbook.cliff_walking()
    greedy = one_hot(corridor(row), mdp)
    assert at_start(mdp, evaluate(mdp, greedy)) == pytest.approx(plain, abs=1e-9)
    assert at_start(mdp, evaluate(mdp, 0.9 * greedy + 0.1 * uniform(mdp))) == pytest.approx(explored, abs=5e-3)


@pytest.mark.covers("cliff")
def test_cliff_walking_is_best_along_the_edge():
    """The optimal return of Cliff Walking is -13, and -1 a step from every cell that one can stand on."""
    mdp = textbook.cliff_walking()
    rows, columns = np.divmod(np.arange(48), 12)
    steps = np.where(columns == 11, 3 - rows, np.where(rows < 3, 14 - rows - columns, 13))
    np.testing.assert_allclose(sweep(mdp), np.where(maps.where(maps.CLIFF, "C"), 0, -steps), atol=1e-9)


@pytest.mark.parametrize(
    ("mdp", "steps"),
    [
        (textbook.maze, 14),
        (textbook.blocking_maze, 10),
        (lambda: textbook.blocking_maze(changed=True), 16),
        (textbook.shortcut_maze, 16),
        (lambda: textbook.shortcut_maze(changed=True), 10),
    ],
)
def test_mazes_have_the_known_shortest_paths(mdp, steps):
    """The value of a maze's start is ``gamma^(steps - 1)`` for its shortest path, by policy iteration."""
    mdp = mdp()
    assert at_start(mdp, iterate(mdp)[0]) == pytest.approx(0.95 ** (steps - 1), abs=1e-12)
    assert at_start(mdp, sweep(cost_to_go(mdp))) == -steps


def test_dyna_maze_takes_a_random_walker_869_steps():
    """The expected first episode in the Dyna maze, walked at random, is 868.73 steps, by a linear solve."""
    mdp = cost_to_go(textbook.maze())
    assert at_start(mdp, evaluate(mdp, uniform(mdp))) == pytest.approx(-868.73, abs=5e-3)


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 14 / 17), (0.99, 0.5420259), (0.95, 0.1804716), (0.9, 0.0688909)])
def test_frozen_lake_has_the_known_values(gamma, value):
    """The value of the slippery 4 x 4 lake's start, by value iteration; at gamma = 1 the probability of success."""
    mdp = textbook.frozen_lake(gamma=gamma)
    assert at_start(mdp, sweep(mdp)) == pytest.approx(value, abs=1e-7)


def test_frozen_lake_with_a_limit_with_luck_and_without_ice():
    """100 steps are enough with chance 0.7441903; the large lake can surely be crossed; without ice 14 moves do it."""

    def value(num_sweeps: int = 20_000, **kwargs) -> float:
        mdp = textbook.frozen_lake(**kwargs)
        return at_start(mdp, sweep(mdp, num_sweeps))

    assert value(100, gamma=1.0) == pytest.approx(0.7441903, abs=5e-8)
    assert value(size=8, gamma=1.0) == pytest.approx(1.0, abs=1e-6)
    assert value(slippery=False) == pytest.approx(0.99**5, abs=1e-12)
    assert value(size=8, slippery=False) == pytest.approx(0.99**13, abs=1e-12)


def test_taxi_has_the_known_values():
    """Over Taxi's 300 starts the best return is 7.93 on average, 3 at least, 15 at most; discounted values too."""
    mdp = textbook.taxi(gamma=1.0)
    values, starts = sweep(mdp), np.asarray(mdp.start) > 0
    assert (len(values), starts.sum(), np.asarray(mdp.terminal).sum()) == (500, 300, 100)
    assert at_start(mdp, values) == pytest.approx(7.93, abs=1e-9)
    assert (values[starts].min(), values[starts].max()) == (3, 15)
    for gamma, known in ((0.99, 6.327464), (0.9, -1.263323)):
        discounted = mdp.replace(gamma=gamma)
        assert at_start(discounted, sweep(discounted)) == pytest.approx(known, abs=6e-7)


def gymnasium_tables(toy: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transitions, expected rewards, and the chance that a pair ends the episode."""
    num_states, num_actions = len(toy.P), len(toy.P[0])
    transition, reward = np.zeros((num_states, num_actions, num_states)), np.zeros((num_states, num_actions))
    ends = np.zeros((num_states, num_actions))
    for s, a in itertools.product(range(num_states), range(num_actions)):
        for chance, after, gain, ended in toy.P[s][a]:
            transition[s, a, after] += chance
            reward[s, a] += chance * gain
            ends[s, a] += chance * ended
    return transition, reward, ends


@pytest.mark.covers("cliff")
@pytest.mark.parametrize(
    ("build", "build_toy"),
    [
        (textbook.cliff_walking, toy_text.CliffWalkingEnv),
        (textbook.taxi, toy_text.TaxiEnv),
        (textbook.frozen_lake, toy_text.FrozenLakeEnv),
        (lambda: textbook.frozen_lake(slippery=False), lambda: toy_text.FrozenLakeEnv(is_slippery=False)),
        (lambda: textbook.frozen_lake(8), lambda: toy_text.FrozenLakeEnv(map_name="8x8")),
    ],
    ids=["cliff", "taxi", "lake", "lake without ice", "large lake"],
)
def test_tables_are_those_of_gymnasium(build, build_toy):
    """Transitions, rewards, starts and ends equal gymnasium's in every state that an episode can be in."""
    mdp, toy = build(), build_toy()
    transition, reward, terminal, _ = arrays(mdp)
    known_transition, known_reward, known_ends = gymnasium_tables(toy)
    inner = ~terminal
    np.testing.assert_allclose(transition[inner], known_transition[inner], atol=1e-12)
    np.testing.assert_allclose(reward[inner], known_reward[inner], atol=1e-12)
    np.testing.assert_allclose(np.asarray(mdp.start), toy.initial_state_distrib, atol=1e-12)
    np.testing.assert_allclose((transition @ terminal)[inner], known_ends[inner], atol=1e-12)
