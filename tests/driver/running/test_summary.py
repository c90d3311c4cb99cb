"""The summary of a run: axes of points and seeds, what was asked for, what it took, points ranked."""

import numpy as np
import pytest

from purerl.driver import grid
from purerl.driver.running.summary import _warnings
from purerl.driver.storage.logs import Columns, Log
from tests.support.toy import ToyHypers, toy, train


def logged(**metrics) -> Log:
    """A log of three trials whose last entry is this."""
    log = Log(Columns(3, {}))
    log.add(10, {name: np.array(row, float) for name, row in metrics.items()})
    return log


def test_saturation_is_warned_of():
    """Targets outside the support, above one in ten on the whole; of fewer nothing is said."""
    (line,) = _warnings(logged(clipped_targets=[0.3, 0.1, np.nan]), 32)
    assert line.startswith("20 % of the last targets lay outside the support") and "v_min and v_max" in line
    assert _warnings(logged(clipped_targets=[0.2, 0.0, 0.0]), 32) == []


def test_rewards_out_of_range_are_warned_of():
    """From the first on, with the agent's name."""
    (line,) = _warnings(logged(clipped_rewards=[0.03, 0.01, np.nan]), 32, "exp3")
    assert line.startswith("2 % of the last rewards lay outside the range that exp3 is made for")
    assert _warnings(logged(clipped_rewards=[0, 0, 0]), 32, "exp3") == []


def test_returns_under_wrappers_of_rewards_say_which_they_are():
    """They are those of the rewards before, and the summary says so."""
    algorithm = toy()
    settings = {**algorithm.spec.settings, "env": "Taxi + clip_reward(low=-2)"}
    result = train(algorithm._replace(spec=algorithm.spec._replace(settings=settings)), num_env_steps=20)
    assert result.summary["final_return_is"] == "training return, of rewards before clip_reward(low=-2)"


def test_what_is_in_the_summary_is_warned_of():
    """At the end of a run from Python, too, where nobody prints a report."""
    update = toy().update

    def saturated(*arguments):
        state, metrics = update(*arguments)
        return state, metrics | {"clipped_targets": 0.5}

    with pytest.warns(UserWarning, match="50 % of the last targets"):
        result = train(toy()._replace(update=saturated), num_env_steps=20)
    assert len(result.summary["warnings"]) == 1


def test_episodes_that_were_cut_are_warned_of():
    """How many of how many, over the trials that were evaluated."""
    (line,) = _warnings(logged(eval_num_cut=[3, 0, np.nan]), 32)
    assert line.startswith("3 of the last 64 evaluation episodes did not end and were cut off")
    assert _warnings(logged(eval_num_cut=[0, 0, 0]), 32) == [] == _warnings(logged(x=[1.0, 1.0, 1.0]), 32)


RATES = [0.5, 1.0, 2.0]
OPTIONS = {"hypers": grid(ToyHypers(), rate=RATES), "num_seeds": 2, "log_every": 20}


def test_arrays_of_a_sweep_have_an_axis_of_points_before_that_of_seeds():
    """States, metrics and returns; the summary counts both, and ranks the points as the table does."""
    result = train(**OPTIONS)
    assert result.states.x.shape == result.hypers.rate.shape == result.final_returns.shape == (3, 2)
    assert result.metrics["x"].shape == (4, 3, 2) and result.eval_returns.shape == (0, 3, 2)
    summary = result.summary
    assert (summary["num_points"], summary["num_seeds"], summary["num_env_steps"]) == (3, 2, 80)
    assert [point["values"] for point in summary["points"]] == [point.values for point in result.table()]
    assert summary["final_return"] == result.best().final_return._asdict() == summary["points"][0]["final_return"]
    assert summary["diverged"] == [[False] * 2] * 3 and "population" not in summary
    np.testing.assert_array_equal(summary["final_return_of_each_seed"], result.metrics["episode_return"][-1])


def test_an_evaluation_is_called_what_the_algorithm_says():
    """In a game, by the opponent's name."""
    algorithm = toy()
    algorithm = algorithm._replace(spec=algorithm.spec._replace(evaluated_in="evaluation games against nobody"))
    for algo, words in ((algorithm, "games against nobody"), (toy(), "episodes")):
        result = train(algo, eval_every=40, num_eval_episodes=3)
        assert result.summary["final_return_is"] == f"mean of 3 evaluation {words}"


def test_a_run_without_a_sweep_has_seeds_alone():
    """One axis, no points to rank."""
    result = train(num_seeds=6, log_every=20)
    assert result.states.x.shape == result.final_returns.shape == (6,)
    assert result.summary["num_points"] == 1 and "points" not in result.summary
    assert result.summary["final_return_is"] == "training return" and result.summary["resumed_at_step"] == 0
    assert result.summary["bytes_per_trial"] > 0 and result.summary["num_blocks"] == 1
