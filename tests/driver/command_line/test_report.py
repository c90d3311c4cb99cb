"""The report of a run: ranked points, short values, readable bytes."""

import pathlib

import numpy as np
import pytest

from purerl.analysis.statistics import Interval
from purerl.driver import TrainResult
from purerl.driver.command_line import report

NAN = np.nan


def test_points_are_a_line_each_in_one_width():
    """Label, interval, and beside it how many seeds diverged; the first one is told apart by its heading."""
    rows = [("rate=1", Interval(2.0, 1.0, 3.0), 0), ("rate=0.25", Interval(1.0, 0.5, 2.0), 1)]
    assert report.ranked_lines(rows) == [
        "  points   rate=1     2 [1, 3]",
        "           rate=0.25  1 [0.5, 2] (1 diverged)",
    ]


def test_many_points_are_counted():
    """Ten are shown."""
    lines = report.ranked_lines([(f"rate={i}", Interval(1.0, 1.0, 1.0), 0) for i in range(13)])
    assert len(lines) == 11 and lines[-1].endswith("and 3 more in summary.json")


def of_seeds(returns, **changes) -> TrainResult:
    """A finished run with these returns, NaN for seeds that diverged."""
    returns = np.array(returns, float)
    summary = {
        "title": "toy on nowhere", "num_seeds": len(returns), "num_points": 1, "num_blocks": 1, "num_env_steps": 8000,
        "final_return_of_each_seed": returns.tolist(), "num_diverged": int(np.isnan(returns).sum()),
        "final_return_is": "mean of 32 evaluation episodes", "warnings": [], "resumed_at_step": 0,
        "num_env_steps_run": 8000, "env_steps_per_second": 100.0, "bytes_per_trial": 1, "peak_bytes": 1,
        "peak_bytes_of": "process", **{f"{name}_seconds": 0.0 for name in ("trace", "compile", "run", "eval")},
    }  # fmt: skip
    nothing = np.zeros((0, len(returns)))
    return TrainResult((), (), nothing[:, 0], {}, nothing[:, 0], nothing, summary | changes)


def lines_of(made: TrainResult) -> list[str]:
    return report.report(made, pathlib.Path("runs/a")).splitlines()


def test_diverged_seeds_stand_beside_the_mean():
    """On the line of the return, whatever else is said."""
    lines = lines_of(of_seeds([20.0, 20.5, 20.5, 20.5, 20.5, 21.0, NAN, NAN]))
    assert lines[1].startswith("  return   20.5 [20.25, 20.75] (2 of 8 seeds diverged), interquartile mean over seeds")
    assert lines_of(of_seeds([NAN, NAN]))[1] == "  return   nan (2 of 2 seeds diverged)"


def test_few_seeds_have_no_95_percent_interval():
    """It is called a bootstrap interval, and one seed has no mean."""
    four, one = (lines_of(of_seeds([1.0] * n))[1] for n in (4, 1))
    assert "(4 seeds: too few for 95 %)" in four and "with its bootstrap interval (mean of 32" in four
    assert one.startswith("  return   1 (one seed: no interval), return of the seed (mean of 32")


def test_what_a_reader_should_know_is_a_line():
    """Each warning of the summary."""
    assert "  warning  37 % of the targets" in lines_of(of_seeds([1.0], warnings=["37 % of the targets"]))


def test_a_fork_says_from_where_and_a_finished_run_that_it_was():
    """A run that was finished has no speed, and says how to go on."""
    fork = {"folder": "runs/b", "step": 4000}
    for resumed_at, more in ((4000, ""), (6000, ", resumed at step 6,000")):
        line = lines_of(of_seeds([1.0], forked_from=fork, resumed_at_step=resumed_at))[0]
        assert line.endswith(f"8,000 steps each, forked from runs/b at step 4,000{more}")
    again = lines_of(of_seeds([1.0], resumed_at_step=8000, num_env_steps_run=0, env_steps_per_second=None))
    assert again[0].endswith("the run was finished, and nothing was trained: to go on, give a larger --num-env-steps")
    assert not any(line.startswith("  speed") for line in again)
    lost = lines_of(of_seeds([NAN], resumed_at_step=64, num_env_steps_run=0, env_steps_per_second=None))
    assert lost[0].endswith("; all of it had diverged, and nothing was trained")
    assert lines_of(of_seeds([1.0], resumed_at_step=4000))[0].endswith("8,000 steps each, resumed at step 4,000")


@pytest.mark.parametrize(
    ("number", "text"), [(None, "unknown"), (12, "12 B"), (1234, "1.23 kB"), (5e6, "5 MB"), (2.5e12, "2.5e+03 GB")]
)
def test_bytes_have_a_unit(number, text):
    """Three digits in the largest unit that fits."""
    assert report._bytes(number) == text
