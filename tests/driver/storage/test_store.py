"""What a run keeps and takes up again: resumed, forked or interrupted, it becomes what it would have been."""

import gc
import importlib.util
import json
import os
import shutil
import signal
import warnings

import jax
import numpy as np
import pytest

from purerl.driver import PBT, Interrupted, cosine, grid, linear
from purerl.driver.running import loop, program
from purerl.driver.running.trials import Trials
from purerl.driver.storage import records, store
from purerl.driver.storage.checkpoint import Checkpoints
from purerl.driver.storage.folder import FolderError
from tests.support.toy import (
    KEY,
    ToyConfig,
    ToyHypers,
    assert_same,
    assert_same_results,
    config_of,
    limit_for_one,
    quietly,
    rows,
    toy,
    toy_of_returns,
    train,
)

OPTIONS = {"num_env_steps": 80, "log_every": 20, "eval_every": 40, "num_eval_episodes": 3}
RATES = [0.5, 1.0, 2.0, 4.0]
KINDS = {
    "lone": {},
    "seeds": {"num_seeds": 2},
    "sweep": {"hypers": grid(ToyHypers(), rate=RATES[:2]), "num_seeds": 2},
    "blocks": {"hypers": grid(ToyHypers(), rate=RATES[:3]), "num_seeds": 2, "trials_at_once": 4},
    "schedules": {"num_seeds": 2, "schedules": {"rate": linear(0.0)}},
    "population": {
        "algorithm": toy_of_returns(lambda state: state.x),
        "hypers": grid(ToyHypers(), rate=RATES),
        "num_seeds": 2,
        "population": PBT(every=10, names=("rate",), fraction=0.5),
    },
}


def logged(folder) -> bytes:
    """A run's log."""
    return (folder / "metrics.csv").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs of each kind that nothing came in the way of."""
    done = {}

    def of(kind: str):
        if kind not in done:
            folder = tmp_path_factory.mktemp("whole") / kind
            done[kind] = train(**OPTIONS, **KINDS[kind], out_dir=folder), folder
        return done[kind]

    return of


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Copies of runs of each kind that have half their steps."""
    done = {}

    def copy(kind: str, folder):
        if kind not in done:
            done[kind] = tmp_path_factory.mktemp("half") / kind
            train(**OPTIONS | KINDS[kind] | {"num_env_steps": 40}, out_dir=done[kind])
        return shutil.copytree(done[kind], folder, dirs_exist_ok=True)

    return copy


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A run of two seeds with all its checkpoints, at every 20 steps; not to be changed."""
    folder = tmp_path_factory.mktemp("parent")
    options = {"num_seeds": 2, "checkpoint_every": 20, "keep_checkpoints": 10}
    return train(**OPTIONS | options, out_dir=folder), folder


@pytest.fixture
def stop_at(monkeypatch):
    """Have the process signalled once a run has logged a step."""

    def stop(step: int, number: int = signal.SIGTERM) -> None:
        look = loop._look

        def look_and_signal(engine, log, store):
            look(engine, log, store)
            if engine.job.plan.step(engine.update) == step:
                signal.raise_signal(number)

        monkeypatch.setattr(loop, "_look", look_and_signal)

    return stop


# --- resuming ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["seeds", "sweep"])
def test_a_run_that_is_made_longer_is_the_long_run(whole, halves, tmp_path, kind):
    """Half the steps, then resumed to all: states, curves and every byte of the log are those of the run in one."""
    result, folder = whole(kind)
    halves(kind, tmp_path)
    resumed = train(**OPTIONS, **KINDS[kind], out_dir=tmp_path, resume=True)
    assert_same_results(resumed, result)
    assert logged(tmp_path) == logged(folder)
    assert resumed.summary["resumed_at_step"] == 40
    assert config_of(tmp_path)["num_env_steps"] == 80


@pytest.mark.parametrize(
    ("kind", "step"),
    [("lone", 0), ("seeds", 40), ("blocks", 60), ("schedules", 60), ("population", 40)],
)
def test_a_run_that_is_stopped_and_resumed_is_the_run_in_one(whole, tmp_path, stop_at, monkeypatch, kind, step):
    """SIGTERM at the start, at an evaluation, or at a log entry: saved and left by Interrupted; resumed, states,
    curves and every byte of the log are those of the run that was left alone."""
    result, folder = whole(kind)
    with monkeypatch.context():
        stop_at(step)
        with pytest.raises(Interrupted, match=f"interrupted at step {step}; saved in {tmp_path}") as stopped:
            train(**OPTIONS, **KINDS[kind], out_dir=tmp_path)
    assert (stopped.value.signal, stopped.value.folder) == (signal.SIGTERM, tmp_path)
    assert not (tmp_path / "summary.json").exists()
    monkeypatch.undo()
    resumed = train(**OPTIONS, **KINDS[kind], out_dir=tmp_path, resume=True)
    assert_same_results(resumed, result)
    assert logged(tmp_path) == logged(folder)
    assert resumed.summary["resumed_at_step"] == step


def test_what_was_logged_after_the_checkpoint_is_cut_off(whole, halves, tmp_path):
    """Rows and half a row that a killed process wrote after its last checkpoint are gone from the resumed log."""
    result, folder = whole("seeds")
    halves("seeds", tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0,60,x,123.0\n1,60,x,12")
    assert_same_results(train(**OPTIONS, **KINDS["seeds"], out_dir=tmp_path, resume=True), result)
    assert logged(tmp_path) == logged(folder)


@pytest.mark.parametrize("left", [None, 60])
def test_a_log_that_is_too_short_is_said(whole, halves, tmp_path, left):
    """The file is gone, or cut in the middle of a row: a warning; the states are right, the rows whole."""
    result, folder = whole("seeds")
    halves("seeds", tmp_path)
    path = tmp_path / "metrics.csv"
    path.unlink() if left is None else os.truncate(path, left)
    with pytest.warns(UserWarning, match=r"metrics.csv is shorter than it was: a part of what was logged before is"):
        resumed = train(**OPTIONS, **KINDS["seeds"], out_dir=tmp_path, resume=True)
    assert_same(resumed.states, result.states)
    assert {tuple(row.values()) for row in rows(tmp_path)} < {tuple(row.values()) for row in rows(folder)}
    assert {row["step"] for row in rows(tmp_path)} >= {"60", "80"}


def test_resuming_a_finished_run_changes_nothing(parent):
    """The same result again, not a byte more in the log; that it was finished is said, and that it has no speed."""
    result, folder = parent
    before = logged(folder)
    options = {"num_seeds": 2, "checkpoint_every": 20, "keep_checkpoints": 10}
    with pytest.warns(UserWarning, match=r"is finished: it has all of its 80 steps.*\(--num-env-steps\)"):
        again = train(**OPTIONS | options, out_dir=folder, resume=True)
    assert_same_results(again, result)
    assert logged(folder) == before
    assert (again.summary["num_env_steps_run"], again.summary["env_steps_per_second"]) == (0, None)
    assert result.summary["num_env_steps_run"] == 2 * 80


def test_resuming_what_is_not_there_starts_it(tmp_path):
    """An empty folder: the run starts; with settings but without a checkpoint it starts too, and says so."""
    first = train(num_env_steps=20, out_dir=tmp_path / "run", resume=True)
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.rename(tmp_path / checkpoint.name)
    with pytest.warns(UserWarning, match=f"{tmp_path}/run has no checkpoint yet: starting from the beginning"):
        again = train(num_env_steps=20, out_dir=tmp_path / "run", resume=True)
    assert_same(again.states, first.states)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in test_checkpoint.py
def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path):
    """The last checkpoint's arrays are gone: the run goes on from the one before and becomes what it would have."""
    result, folder = whole("seeds")
    train(**OPTIONS, **KINDS["seeds"], checkpoint_every=40, out_dir=tmp_path)
    for path in (tmp_path / "checkpoints" / "8" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoints/8 is damaged .* passed over"):
        resumed = train(**OPTIONS, **KINDS["seeds"], checkpoint_every=40, out_dir=tmp_path, resume=True)
    assert_same_results(resumed, result)
    assert logged(tmp_path) == logged(folder) and resumed.summary["resumed_at_step"] == 40
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.steps() == [4, 8]
    gc.collect()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hypers": ToyHypers(rate=0.5)}, r"hypers.rate: 1.0 then, 0.5 now"),
        ({"algorithm": toy(ToyConfig(sizes=(1, 3)))}, r"settings.sizes: \[1, 2\] then, \[1, 3\] now"),
        ({"num_seeds": 3}, r"num_seeds: 2 then, 3 now"),
        ({"eval_every": 20, "log_every": 10}, r"eval_every: 40 then, 20 now; log_every: 20 then, 10 now"),
        ({"num_env_steps": 60}, r"num_env_steps: 80 then, 60 now"),
        ({"schedules": {"rate": cosine(0.5)}}, r'schedules.rate: null then, "cosine:0.5" now'),
        ({"hypers": grid(ToyHypers(), rate=[1.0, 2.0]), "num_seeds": 1}, r"sweep.rate: null then, \[1.0, 2.0\] now"),
        ({"extra_settings": {"seed": 3}}, r"seed: null then, 3 now"),
    ],
)
def test_other_settings_are_refused_by_name(parent, changes, message):
    """What has another value is named with both; nothing in the folder changes."""
    _, folder = parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FolderError, match=f"{folder} had other settings .*{message}.*Resume it with those, or fork it"):
        train(**{**OPTIONS, "num_seeds": 2, "out_dir": folder, "resume": True} | changes)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_with_schedules_cannot_grow(whole):
    """Its schedules span its length, so a longer run would have been another from the start."""
    _, folder = whole("schedules")
    with pytest.raises(FolderError, match="num_env_steps: 80 then, 90 now"):
        train(**OPTIONS | KINDS["schedules"] | {"num_env_steps": 90}, out_dir=folder, resume=True)


def test_changed_code_is_said_but_does_not_stop_it(tmp_path, monkeypatch):
    """Another digest of a source file and another version: named, and the run goes on."""
    train(num_env_steps=20, out_dir=tmp_path)
    made_of = records.versions()
    sources = made_of["sources"] | {"algorithm.py": "0" * 16, "new.py": "1" * 16}
    changed = made_of | {"sources": sources, "versions": made_of["versions"] | {"jax": "9.9"}}
    monkeypatch.setattr(records, "versions", lambda: changed)
    message = rf"Changed since {tmp_path} was written: jax .* then, 9.9 now; algorithm.py changed; new.py is new\. The"
    with pytest.warns(UserWarning, match=message):
        train(num_env_steps=20, out_dir=tmp_path, resume=True)
    assert config_of(tmp_path)["sources"]["new.py"] == "1" * 16  # the next time it is no news


def test_frozen_trials_stay_frozen(tmp_path):
    """A trial diverged before the stop, before it had logged anything: resumed, it is as in the run in one, and the
    other trials' log is complete."""
    worst, limit = limit_for_one(2)
    options = {"hypers": ToyHypers(limit=limit), "num_seeds": 2, "log_every": 20}
    result = quietly(train, **options, out_dir=tmp_path / "whole")
    quietly(train, **options | {"num_env_steps": 40}, out_dir=tmp_path / "halves")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was reported once
        resumed = train(**options, out_dir=tmp_path / "halves", resume=True)
    assert_same_results(resumed, result)
    assert logged(tmp_path / "halves") == logged(tmp_path / "whole")
    assert resumed.summary["divergences"] == result.summary["divergences"] != []
    assert np.isnan(resumed.final_returns).tolist() == [seed == worst for seed in range(2)]


# --- checkpoints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("best_after", "kept"), [(2, [2, 7, 8]), (8, [7, 8])])
def test_the_last_and_the_best_are_kept(tmp_path, best_after, kept):
    """Saved at every update, evaluated at every second: the last two and the one of the best evaluation are left, which
    holds the very states that were evaluated, also where that is the end of the run."""
    options = {"eval_every": 20, "checkpoint_every": 10, "keep_checkpoints": 2, "log_every": 10}
    peaked = toy_of_returns(lambda state: -abs(state.num_updates - best_after))
    result = train(peaked, num_seeds=2, **options, out_dir=tmp_path)
    trials = Trials.of(ToyHypers(), KEY, 2)
    like = jax.eval_shape(lambda: program.init(peaked, trials.hypers, trials.keys))
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == (kept, best_after)
        best = checkpoints.load(like, best_after).state.states
    np.testing.assert_array_equal(best.num_updates, [best_after] * 2)
    np.testing.assert_array_equal(best.x, result.metrics["x"][best_after - 1])


@pytest.mark.parametrize(("seconds", "steps"), [(1e9, [8]), (-1.0, [0, 4, 8])])
def test_without_a_distance_it_is_time_that_decides(tmp_path, monkeypatch, seconds, steps):
    """At evaluations whose last checkpoint is old enough, and at the end."""
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", seconds)
    train(**OPTIONS, keep_checkpoints=9, out_dir=tmp_path)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == steps


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(whole, tmp_path, monkeypatch):
    """The disk refuses all but the last: that is said once, each is tried, and the run ends as ever."""
    save, refused = Checkpoints.save, []

    def refuse(self, step, *arguments):
        if step < 8:
            refused.append(step)
            raise OSError("No room.")
        save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", refuse)
    with pytest.warns(UserWarning, match=r"No room\. The run goes on; the checkpoints that are there stay") as said:
        result = train(**OPTIONS, **KINDS["seeds"], checkpoint_every=20, out_dir=tmp_path)
    assert (len(said), refused) == (1, [2, 4, 6])
    assert_same_results(result, whole("seeds")[0])
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == [8]


# --- forking ----------------------------------------------------------------------------------------------


def test_a_fork_goes_on_from_the_step_that_was_chosen(parent, tmp_path):
    """From step 40 with another rate: up to there the parent's log, from there the walk with the new steps; the parent
    is untouched, and the settings say where it came from."""
    result, folder = parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    fork = train(
        **OPTIONS, hypers=ToyHypers(rate=0.5), num_seeds=2, fork=folder, from_step=40, out_dir=tmp_path / "fork"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert config_of(tmp_path / "fork")["forked_from"] == {"folder": str(folder), "step": 40}
    parents, forks = rows(folder), rows(tmp_path / "fork")
    early = [row for row in parents if int(row["step"]) <= 40]
    assert forks[: len(early)] == early
    assert {row["step"] for row in forks[len(early) :]} == {"60", "80"}
    np.testing.assert_array_equal(fork.metrics["rate"][:, 0], [1, 1, 0.5, 0.5])
    assert fork.summary["resumed_at_step"] == 40
    # The draws are those of the parent, so half the rate is half the way from there.
    at_40 = train(num_seeds=2, num_env_steps=40).states.x
    np.testing.assert_allclose(fork.states.x - at_40, 0.5 * (result.states.x - at_40), rtol=1e-5)


def test_a_fork_that_changes_nothing_is_its_parent(parent, tmp_path):
    """From step 20 with the same settings: the same states and the same log; it can be resumed in its own folder."""
    result, folder = parent
    options = OPTIONS | {"num_seeds": 2, "fork": folder, "out_dir": tmp_path}
    train(**options | {"num_env_steps": 40}, from_step=20)
    assert_same_results(train(**options, from_step=20, resume=True), result)
    assert logged(tmp_path) == logged(folder)
    whence = {"folder": str(folder), "step": 20}
    assert config_of(tmp_path)["forked_from"] == whence
    assert json.loads((tmp_path / "summary.json").read_text())["forked_from"] == whence


def test_a_fork_with_another_beginning_is_refused(parent, tmp_path, monkeypatch):
    """A number that the beginning of a run alone reads would be recorded, and heeded by nobody."""
    folder = parent[1]
    monkeypatch.setattr(store, "initial_names", lambda hypers: ("rate",))
    options = OPTIONS | {"num_seeds": 2, "fork": folder, "from_step": 40}
    with pytest.raises(FolderError, match=f"{folder} began with another rate, .* fork it with the one it has"):
        train(**options, hypers=ToyHypers(rate=0.5), out_dir=tmp_path / "other")
    train(**options, hypers=ToyHypers(), out_dir=tmp_path / "same")


def test_without_a_step_a_fork_starts_at_the_end(parent, tmp_path):
    """The last checkpoint of a run of 80 steps; the fork runs 20 more."""
    result, folder = parent
    fork = train(**OPTIONS | {"num_env_steps": 100}, num_seeds=2, fork=folder, out_dir=tmp_path)
    assert fork.summary["resumed_at_step"] == 80
    np.testing.assert_array_equal(fork.states.num_updates, [10, 10])
    np.testing.assert_array_equal(fork.metrics["x"][:4], result.metrics["x"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"from_step": 30}, FileNotFoundError, r"has no checkpoint of step 30; it has those of 20, 40, 60, 80\."),
        ({"from_step": 25}, ValueError, r"from_step = 25 is not a multiple of an update's 10 steps"),
        ({"from_step": -10}, ValueError, r"from_step = -10: it must be at least 0"),
        ({"num_seeds": 3}, ValueError, r"has 2 seeds, and a fork has as many: num_seeds \(--num-seeds\) 3 cannot be"),
        (
            {},
            ValueError,
            r"begins at its step 80, and all the 80 .* give a num_env_steps \(--num-env-steps\)",
        ),
        ({"from_step": 60, "num_env_steps": 60}, ValueError, r"begins at its step 60, and all the 60 steps"),
        ({"algorithm": toy(ToyConfig(sizes=(1, 3)))}, ValueError, r"states\.weights is float32\[2, 2\] there, but"),
        (
            {"hypers": grid(ToyHypers(), rate=[1.0, 2.0])},
            ValueError,
            r"logged other columns than point,rate,seed,step,name,value: fork it with",
        ),
        ({"fork": "nowhere"}, FileNotFoundError, r"No run to fork at nowhere\."),
        ({"fork": None, "from_step": 20}, ValueError, r"from_step = 20 says where to fork: give the folder"),
    ],
)
def test_what_cannot_be_forked(parent, tmp_path, options, error, message):
    """A step that is none or not there, other shapes or trials, no run, nothing left to do: refused, with what there
    is, and no folder is left behind."""
    _, folder = parent
    with pytest.raises(error, match=message):
        train(**OPTIONS | {"num_seeds": 2, "fork": folder, "out_dir": tmp_path / "fork"} | options)
    assert not (tmp_path / "fork").exists()


def contents(folder) -> dict:
    """Every file below a folder but the lock, which comes and goes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_does_not_compile_leaves_its_folder_as_it_was(tmp_path, monkeypatch, overwrite):
    """Whatever keeps it from beginning: there is no new folder, and a run that was to be replaced is still there."""

    def fail(*arguments):
        raise MemoryError

    if overwrite:
        train(num_env_steps=20, out_dir=tmp_path / "run")
    before = contents(tmp_path)
    monkeypatch.setattr(loop.Engine, "compile", fail)
    with pytest.raises(MemoryError):
        train(num_env_steps=40, out_dir=tmp_path / "run", overwrite=overwrite)
    assert contents(tmp_path) == before
    assert overwrite or not list(tmp_path.iterdir())


def test_what_logs_elsewhere_must_be_installed(tmp_path, monkeypatch):
    """Refused at once, with what to install; nothing is left behind."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'mine' needs Weights & Biases: pip install 'purerl\[wandb\]'"):
        train(wandb="mine", out_dir=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_fork_does_not_overwrite_its_parent(parent):
    """The same folder, even where overwriting is allowed: refused, and everything is still there."""
    _, folder = parent
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=f"A fork of {folder} needs a folder of its own"):
        train(**OPTIONS, num_seeds=2, fork=folder, out_dir=folder, overwrite=True)
    assert sorted(folder.rglob("*")) == before


def test_frozen_trials_of_a_fork_stay_frozen(tmp_path):
    """With a limit that nobody exceeds from then on, a trial that diverged is still as it was left."""
    worst, limit = limit_for_one(2)
    options = {"num_seeds": 2, "num_env_steps": 20, "log_every": 10}
    parent = quietly(train, hypers=ToyHypers(limit=limit), **options, out_dir=tmp_path / "parent")
    fork = train(**options | {"num_env_steps": 40}, fork=tmp_path / "parent", out_dir=tmp_path / "fork")
    assert fork.summary["divergences"] == parent.summary["divergences"]
    expected = [1 if seed == worst else 4 for seed in range(2)]
    np.testing.assert_array_equal(fork.states.num_updates, expected)


# --- options that contradict each other -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume, fork, overwrite and wandb need an out_dir"),
        ({"fork": "x"}, "resume, fork, overwrite and wandb need an out_dir"),
        ({"wandb": "x"}, "resume, fork, overwrite and wandb need an out_dir"),
        ({"overwrite": True}, "resume, fork, overwrite and wandb need an out_dir"),
        ({"resume": True, "overwrite": True, "out_dir": "x"}, "resume goes on with a run, overwrite begins anew"),
    ],
)
def test_options_that_contradict_each_other(options, message, tmp_path, monkeypatch):
    """Refused before anything is computed or written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(**options)
    assert list(tmp_path.iterdir()) == []
