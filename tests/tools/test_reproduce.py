"""The command that runs kept results again: what it runs, what it says of the outcome, its exit codes."""

import json
import math
import pathlib
import shutil
import signal

import numpy as np
import pytest

from purerl.analysis.statistics import Interval
from purerl.driver import PBT, linear
from purerl.driver.hypers import sweep
from purerl.driver.running.interruption import Interrupted
from purerl.tools import reproduce
from tests.support.toy import ToyHypers, train
from tests.support.toy_runs import change, refused, register


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """The folder of a run with the settings of its preset."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(num_seeds=3, eval_every=40, num_eval_episodes=4, out_dir=folder)
    return folder


@pytest.fixture
def results(run, tmp_path, monkeypatch) -> pathlib.Path:
    """A folder with one kept result; the toy is an experiment."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "results" / "toy" / "nowhere")
    return tmp_path / "results"


def reproduced(capsys, results, *arguments) -> tuple[int, dict[str, str]]:
    """The exit code, and what was printed by its first words."""
    code = reproduce.main(["toy/nowhere", "--results", str(results), "--no-progress", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return code, dict(line.split(maxsplit=1) for line in lines)


def final_return(folder: pathlib.Path) -> dict:
    """The interval that a run has written."""
    return json.loads((folder / "summary.json").read_text())["final_return"]


def test_a_result_comes_out_as_it_did(results, tmp_path, capsys):
    """The same settings and key give the same return in every seed: inside, exit code 0. Once more only if told to."""
    code, said = reproduced(capsys, results)
    kept = Interval(**final_return(results / "toy" / "nowhere"))
    assert code == 0 and said["verdict"] == "inside"
    assert said["kept"].startswith(f"{kept}, interquartile mean")
    assert said["now"] == f"{kept}, the same in every seed"
    assert said["settings"] == "those of the preset" and said["versions"] == "as they were"
    assert final_return(tmp_path / "runs" / "reproduce" / "toy" / "nowhere") == kept._asdict()

    arguments = ["toy/nowhere", "--results", str(results), "--no-progress"]
    assert "holds a run already" in refused(reproduce.main, capsys, *arguments)
    code, said = reproduced(capsys, results, "--resume")
    assert code == 0 and said["now"].endswith("the same in every seed") and "(from step 80 on)" in said["time"]


def test_a_result_that_comes_out_otherwise(results, capsys, monkeypatch):
    """Outside of the kept interval the exit code is 1; whether the intervals overlap is said, and what changed."""
    outcomes: list = []
    rerun = reproduce.rerun

    def once(*arguments):
        outcomes.append(rerun(*arguments) if not outcomes else outcomes[0])
        return outcomes[0]

    monkeypatch.setattr(reproduce, "rerun", once)
    kept = results / "toy" / "nowhere"
    now = Interval(**final_return(kept))
    config = json.loads((kept / "config.json").read_text())
    change(kept / "config.json", hypers={**config["hypers"], "calm": 3}, versions={**config["versions"], "jax": "0.1"})
    change(kept / "summary.json", final_return=Interval(now.high + 2, now.high + 1, now.high + 3)._asdict())
    code, said = reproduced(capsys, results)
    assert code == 1 and said["verdict"] == "outside; no overlap"
    assert said["settings"] == "calm: 3 then, 0 now"
    assert said["versions"].startswith("jax 0.1 then, ")
    change(kept / "summary.json", final_return=Interval(now.high + 2, now.high, now.high + 3)._asdict())
    code, said = reproduced(capsys, results)
    assert code == 1 and said["verdict"] == "outside, but the intervals overlap"


def test_a_result_of_an_older_version(results, capsys):
    """A record without the fields that came later gives the same run."""
    newer = ("sweep", "schedules", "population", "key_impl", "sources", "device", "versions")
    change(results / "toy" / "nowhere" / "config.json", **dict.fromkeys(newer))
    code, said = reproduced(capsys, results)
    assert code == 0 and said["now"].endswith("the same in every seed")
    assert "jax None then, " in said["versions"]


def test_everything_of_a_run_is_reproduced(monkeypatch, tmp_path, capsys):
    """A sweep under a schedule and a population, with evaluations and blocks: every number of the log."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "results" / "toy" / "nowhere"
    swept = sweep.grid(ToyHypers(limit=2.0), rate=[1.0, 2.0, 4.0])
    population = PBT(every=20, names=("rate",))
    options = {"schedules": {"limit": linear(3.0)}, "trials_at_once": 4, "eval_every": 40, "log_every": 20}
    train(hypers=swept, num_seeds=2, population=population, out_dir=kept, **options)
    code, said = reproduced(capsys, tmp_path / "results", "--out-dir", "again")
    assert code == 0 and said["now"].endswith("the same in every seed")
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (kept / "metrics.csv").read_bytes()


def test_an_interrupted_rerun_says_how_to_go_on(results, capsys, monkeypatch):
    """The exit code of the signal and a command that takes up the very folder."""

    def interrupted(algorithm, hypers, key, options):
        raise Interrupted("interrupted at step 3.", signal.SIGTERM, options.out_dir)

    monkeypatch.setattr(reproduce, "train", interrupted)
    with pytest.raises(SystemExit) as exit_:
        reproduce.main(["toy/nowhere", "--results", str(results), "--out-dir", "a b"])
    assert exit_.value.code == 128 + signal.SIGTERM
    assert "purerl reproduce toy/nowhere --resume --out-dir 'a b'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("estimate", "low", "high", "inside"),
    [
        (500.0, 500.0, 500.0, True),
        (499.96, 500.0, 500.0, True),  # prints as 500
        (499.9, 500.0, 500.0, False),
        (-164.7, -184.9, -156.0, True),
        (-155.94, -184.9, -156.0, False),
        (-155.96, -184.9, -156.0, True),
        (0.0, -1.0, 0.0, True),
        (2.0, math.nan, math.nan, True),  # one seed: the value 2 itself
        (2.1, math.nan, math.nan, False),
        (math.nan, 0.0, 1.0, False),
    ],
)
def test_the_rule(estimate, low, high, inside):
    """Inside at four significant digits; of one seed, equal to its value."""
    assert reproduce.is_inside(estimate, Interval(2.0, low, high)) is inside


def test_intervals_overlap():
    """Also where they only touch; a lone value is an interval of length 0."""
    one = Interval(2.0, 1.0, 3.0)
    assert reproduce.overlaps(one, Interval(4.0, 3.0, 5.0)) and reproduce.overlaps(Interval(4.0, 3.0, 5.0), one)
    assert not reproduce.overlaps(one, Interval(4.0, 3.01, 5.0))
    assert reproduce.overlaps(one, Interval(2.5, math.nan, math.nan))
    assert not reproduce.overlaps(one, Interval(math.nan, math.nan, math.nan))


def test_every_kept_result_is_listed(capsys):
    """A line for each run in ``experiments/results``, with steps, seeds, and the interval of its summary."""
    assert reproduce.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    folders = [path.parent for path in sorted(reproduce.RESULTS.glob("*/*/config.json"))]
    assert len(lines) == len(folders) > 0
    for line, path in zip(lines, folders, strict=True):
        summary = json.loads((path / "summary.json").read_text())
        name, steps, seeds, seconds, *rest = line.split()
        assert name == f"{path.parent.name}/{path.name}"
        assert (int(steps.replace(",", "")), int(seeds)) == (summary["num_env_steps"], summary["num_seeds"])
        assert float(seconds.replace(",", "")) >= np.floor(summary["run_seconds"])
        assert " ".join(rest) == str(Interval(**summary["final_return"]))


def test_every_kept_result_can_be_run_again():
    """Its settings are those of an experiment and an environment that there are."""
    for name in reproduce.names(reproduce.RESULTS):
        config, summary = reproduce.kept(reproduce.RESULTS, name)
        run = reproduce.from_record(config)
        assert (run.options.num_seeds, run.env_name) == (summary["num_seeds"], config["settings"]["env"])


def test_what_is_not_there_is_refused(results, capsys):
    """Near names for one that is unknown; neither a name nor --list; a summary without a return."""
    assert "Near: 'ppo/CartPole-v1'" in refused(reproduce.main, capsys, "ppo/CartPol-v1")
    assert "give the name of a kept result" in refused(reproduce.main, capsys)
    change(results / "toy" / "nowhere" / "summary.json", final_return={"estimate": None, "low": None, "high": None})
    assert "has no final return (no seed has any)" in refused(
        reproduce.main, capsys, "toy/nowhere", "--results", str(results)
    )
