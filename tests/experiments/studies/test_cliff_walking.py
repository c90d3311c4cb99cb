"""The Cliff Walking experiment: what it keeps of its runs, the paths it follows, its table and its picture."""

import jax
import numpy as np
import pytest

from experiments.studies import cliff_walking as experiment
from purerl.algorithms.tabular.control import ControlHypers
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.textbook import maps

HYPERS = ControlHypers(step_size=0.5)
WIDTH, START, GOAL = 12, maps.cell(maps.CLIFF, "S"), maps.cell(maps.CLIFF, "G")


def corridor(row: int) -> np.ndarray:
    """A table ``[S, A]`` whose greedy policy walks to the goal along a row of the map."""
    table = np.zeros((48, 4))
    for state in range(48):
        down, right = divmod(state, WIDTH)
        table[state, 2 if right == WIDTH - 1 else 0 if down > row else 1] = 1.0
    return table


@pytest.mark.covers("cliff")
def test_greedy_paths_are_followed():
    """The three corridors earn -13, -15 and -17 and end at the goal; a table of zeros goes up for ever."""
    tables = np.stack([corridor(2), corridor(1), corridor(0), np.zeros((48, 4))])
    paths = experiment.greedy_paths(tables)
    np.testing.assert_array_equal(paths.returns, [-13, -15, -17, np.nan])
    np.testing.assert_array_equal(paths.states[:, 0], START)
    np.testing.assert_array_equal(paths.states[:, -1], [GOAL, GOAL, GOAL, 0])
    np.testing.assert_array_equal(paths.states[0, 1:14], [*range(24, 36), GOAL])
    assert experiment.shares(paths.returns) == {"-13": 0.25, "-15": 0.25, "-17": 0.25, "never": 0.25}


@pytest.mark.covers("cliff", "q-learning")
def test_every_episode_is_kept_in_its_place(monkeypatch):
    """The first 8 episodes of 3 runs are the same whether 8 or 12 are asked for; none earns more than the best, and
    falls count."""
    monkeypatch.setattr(experiment, "_CHUNK", 100)
    rule, key = n_step(1, "expected", on_policy=False), jax.random.key(0)
    long, short = (experiment.learn(rule, HYPERS, key, 3, num_episodes) for num_episodes in (12, 8))
    assert long.returns.shape == (3, 12) and long.tables.shape == (3, 48, 4)
    np.testing.assert_array_equal(long.returns[:, :8], short.returns)
    assert np.all((long.returns <= -13) & (long.returns > -20_000))
    assert np.any(long.returns < -100)


def test_command_prints_a_table_and_draws(tmp_path, capsys):
    """Two short runs: a line an algorithm, an image; a step size that cannot be is refused."""
    image = tmp_path / "cliff.png"
    experiment.main(["--num-runs", "2", "--num-episodes", "3", "--out", str(image)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Cliff Walking: 2 runs, α = 0.5, ε = 0.1, 3 episodes"
    assert [line[:14].strip() for line in lines[2:]] == list(experiment.RULES)
    assert image.stat().st_size > 10_000
    with pytest.raises(SystemExit) as exit_:
        experiment.main(["--step-size", "0"])
    assert exit_.value.code == 2
    assert "--step-size 0.0: it must be in (0, 1]" in capsys.readouterr().err
