"""The log on the host, and what is recorded about machine and settings."""

import subprocess
import warnings

import jax
import numpy as np
import pytest

from purerl.train import records
from purerl.types import Episodes, Mean
from tests.train.toy import ToyHypers


def sums(total, number=(1.0, 1.0)) -> Mean:
    return Mean(np.array(total), np.array(number))


def evaluation(*returns) -> Episodes:
    return Episodes(returns=np.array(returns), lengths=np.ones_like(returns))


def test_sums_become_means_and_nothing_becomes_a_gap():
    """Total over number; a number of 0 is no data: NaN in the arrays, no row, and no warning of any kind."""
    log = records.Log(num_seeds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.add_metrics(10, {"episode_return": sums([6.0, 0.0], [3.0, 0.0])})
        log.add_metrics(20, {"episode_return": sums([8.0, 5.0], [1.0, 1.0])})
    arrays = log.arrays()
    np.testing.assert_array_equal(arrays["steps"], [10, 20])
    np.testing.assert_array_equal(arrays["metrics"]["episode_return"], [[2.0, np.nan], [8.0, 5.0]])
    assert log.rows() == [
        (0, 10, "episode_return", 2.0),
        (0, 20, "episode_return", 8.0),
        (1, 20, "episode_return", 5.0),
    ]


def test_rows_are_in_order_of_steps():
    """Evaluations, which are kept apart, come at their step."""
    log = records.Log(num_seeds=1)
    log.add_evaluation(0, evaluation([1.0, 3.0]))
    for step in (10, 20):
        log.add_metrics(step, {"loss": sums([0.5], [1.0])})
    log.add_evaluation(20, evaluation([4.0, 4.0]))
    steps_and_names = [(step, name) for _, step, name, _ in log.rows()]
    assert steps_and_names == [
        (0, "eval_return"),
        (0, "eval_length"),
        (10, "loss"),
        (20, "loss"),
        (20, "eval_return"),
        (20, "eval_length"),
    ]


def test_final_returns_are_the_last_there_are():
    """Training: the last entry of each seed in which an episode ended. Evaluation, once there is one, goes before."""
    log = records.Log(num_seeds=3)
    assert np.isnan(log.final_returns()).all() and np.isnan(log.last_return())
    log.add_metrics(10, {"episode_return": sums([1.0, 2.0, 0.0], [1.0, 1.0, 0.0])})
    log.add_metrics(20, {"episode_return": sums([3.0, 0.0, 0.0], [1.0, 0.0, 0.0])})
    np.testing.assert_array_equal(log.final_returns(), [3.0, 2.0, np.nan])
    assert np.isnan(log.last_return())  # not an average of some seeds
    assert log.final_return().estimate == 2.5  # of the seeds that have one
    log.add_evaluation(20, evaluation([1.0, 3.0], [4.0, 4.0], [5.0, 7.0]))
    np.testing.assert_array_equal(log.final_returns(), [2.0, 4.0, 6.0])
    assert log.last_return() == 4.0


def test_divergence_is_said_once_for_each_seed():
    """Infinite or NaN, in any metric, also where others are fine; later entries of the same seed say nothing."""
    log = records.Log(num_seeds=2)
    for step, total in ((10, [1.0, 1.0]), (20, [1.0, np.inf]), (30, [np.nan, np.nan])):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            log.add_metrics(step, {"fine": sums([0.0, 0.0]), "loss": sums(total)})
        messages = [str(warning.message) for warning in said]
        expected = {10: [], 20: [1], 30: [0]}[step]
        assert len(messages) == len(expected)
        for message, seed in zip(messages, expected, strict=True):
            assert message.startswith(f"Seed {seed} diverged: its loss is not finite by step {step}.")


def test_hypers_become_plain_numbers():
    """By the names of the fields, whatever the record: a dataclass of numbers, arrays, or nested dicts."""
    assert records.plain(ToyHypers(rate=0.5, limit=np.float32(2.0))) == {"rate": 0.5, "limit": 2.0}
    assert records.plain({"a": {"b": np.arange(2)}}) == {"['a']['b']": [0, 1]}


def test_versions_and_device():
    """The installed JAX, the device, and a package that is not installed as None."""
    found = records.versions()
    assert found["versions"]["jax"] == jax.__version__
    assert jax.devices()[0].device_kind in found["device"]
    assert found["git_commit"] is None or len(found["git_commit"]) >= 7


@pytest.mark.parametrize("error", [OSError("no git"), subprocess.TimeoutExpired("git", 10)])
def test_without_git_there_is_no_commit(monkeypatch, error):
    """git missing or stuck: no commit, no error."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert records.versions()["git_commit"] is None


def test_peak_memory_is_in_bytes():
    """A process with JAX and NumPy loaded holds more than 10 MB and less than a terabyte."""
    memory = records.peak_memory()
    assert 1e7 < memory["peak_bytes"] < 1e12
    assert memory["peak_bytes_of"] in ("device", "process")
