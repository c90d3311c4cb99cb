"""Command lines, of PPO and of a toy: what reaches the driver, what is refused, what a run leaves."""

import ast
import dataclasses
import inspect
import itertools
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from experiments import ppo as experiment
from purerl import xla
from purerl.algorithm import Algorithm
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers
from purerl.driver import PBT, Interrupted, Sweep, command_line, cosine, linear, piecewise
from purerl.driver.command_line import arguments, launch
from purerl.driver.running import loop
from tests.support.toy import EXPERIMENT, assert_same_results, config_of

TINY = ["--num-envs", "2", "--num-steps", "4", "--num-minibatches", "2", "--hidden-sizes", "4"]
QUIET = ["--num-seeds", "2", "--eval-every", "0", "--no-progress"]


class Call(NamedTuple):
    """What the driver was asked to do."""

    algorithm: Algorithm
    hypers: Any
    key: jax.Array
    options: dict[str, Any]
    flags: dict[str, Any]


@pytest.fixture
def flags(monkeypatch) -> dict[str, Any]:
    """What would be asked of XLA, which has started already."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(xla, "set_cpu_flags", lambda **flags: given.update(flags))
    return given


@pytest.fixture
def call(monkeypatch, flags):
    """Parse a command line up to the call of the driver; of the toy, unless an experiment is given."""

    class CalledError(Exception):
        pass

    def driver(*arguments, **options):
        raise CalledError(arguments, options)

    def run(*arguments, of=EXPERIMENT) -> Call:
        with monkeypatch.context() as patch, pytest.raises(CalledError) as called:
            patch.setattr(launch, "train", driver)
            command_line.main(of, list(map(str, arguments)))
        (algorithm, hypers, key), options = called.value.args
        return Call(algorithm, hypers, key, options, dict(flags))

    return run


@pytest.fixture
def refused(monkeypatch, flags, capsys):
    """Exit status and output of a command line that ends without a run: the driver must not be reached."""

    def driver(*arguments, **options):
        raise AssertionError("The driver was called.")

    def run(*arguments, of=EXPERIMENT) -> tuple[Any, str]:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
            patch.setattr(launch, "train", driver)
            command_line.main(of, list(map(str, arguments)))
        printed = capsys.readouterr()
        return exit_.value.code, re.sub(r"[\s│]+", " ", printed.out + printed.err).strip()

    return run


@pytest.fixture
def main(flags):
    """Run a command line of the toy."""
    return lambda *arguments: command_line.main(EXPERIMENT, [*QUIET, *map(str, arguments)])


# --- the defaults and the flags ---------------------------------------------------------------------------


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_the_environment_chooses_the_defaults(call, env):
    """Without other flags everything is the preset's, with decays over the length of the run."""
    config, hypers, num_env_steps, _ = experiment.PRESETS[env]
    result = call("--env", env, of=experiment.EXPERIMENT)
    assert dict(result.algorithm.spec.settings) == {"env": env, **dataclasses.asdict(config)}
    assert result.hypers == hypers.replace(decay_steps=float(config.num_optimizer_steps(num_env_steps)))
    assert result.options["num_env_steps"] == num_env_steps
    assert result.options["out_dir"].parts[:2] == ("runs", "ppo") and result.options["out_dir"].name.endswith(env)


def test_an_environment_without_a_preset_gets_the_fallback(call):
    """The defaults of the dataclasses; a slash in the name makes no folder."""
    result = call("--env", "probe/truncation", of=experiment.EXPERIMENT)
    config = experiment.FALLBACK.config
    assert dict(result.algorithm.spec.settings) == {"env": "probe/truncation", **dataclasses.asdict(config)}
    assert len(result.options["out_dir"].parts) == 3


def test_flags_change_what_they_name_and_nothing_else(call, tmp_path):
    """One flag of each record, and every option of the run."""
    result = call(
        *("--env", "CartPole-v1", "--num-envs", "32", "--normalize-obs", "--objective", "kl", "--gamma", "0.5"),
        *("--num-env-steps", "1000", "--num-seeds", "3", "--seed", "7", "--eval-every", "0", "--log-every", "10"),
        *("--num-eval-episodes", "5", "--members-at-once", "1", "--out-dir", tmp_path, "--no-progress"),
        *("--small-loops", "--cpu-threads", "1", "--decay-steps", "50", "--overwrite", "--wandb", "project"),
        *("--checkpoint-every", "30", "--keep-checkpoints", "2", "--debug-nans"),
        of=experiment.EXPERIMENT,
    )
    preset = experiment.PRESETS["CartPole-v1"]
    config = dataclasses.replace(preset.config, num_envs=32, normalize_obs=True, objective="kl")
    assert dict(result.algorithm.spec.settings) == {"env": "CartPole-v1", **dataclasses.asdict(config)}
    assert result.hypers == preset.hypers.replace(gamma=0.5, decay_steps=50.0)
    np.testing.assert_array_equal(jax.random.key_data(result.key), jax.random.key_data(jax.random.key(7)))
    assert result.options == {
        "num_env_steps": 1000,
        "num_seeds": 3,
        "eval_every": 0,
        "num_eval_episodes": 5,
        "log_every": 10,
        "schedules": {},
        "population": None,
        "members_at_once": 1,
        "mesh": None,
        "out_dir": tmp_path,
        "overwrite": True,
        "resume": False,
        "fork": None,
        "from_step": None,
        "checkpoint_every": 30,
        "keep_checkpoints": 2,
        "wandb": "project",
        "debug_nans": True,
        "progress": False,
        "extra_settings": {"experiment": "ppo", "seed": 7},
    }
    assert result.flags == {"small_loops": True, "threads": 1}


@pytest.mark.parametrize("name", experiment.PRESETS)
def test_every_preset_can_be_parsed(call, name):
    """Its environment exists and PPO accepts the environment's spaces with these settings."""
    assert call("--env", name, of=experiment.EXPERIMENT).algorithm.spec.settings["env"] == name


@pytest.mark.parametrize("record", [RunOptions, PPOConfig, PPOHypers])
def test_help_explains_every_field(record, refused):
    """``--help`` exits with 0 and has a flag for every field, with the text below the field in its source."""
    status, text = refused("--help", of=experiment.EXPERIMENT)
    assert status == 0
    for name, explanation in field_texts(record).items():
        assert re.search(rf"--{name.replace('_', '-')}\b", text), name
        assert explanation[:30] in text, name


def field_texts(record: type) -> dict[str, str]:
    """The string below each field of a dataclass, from its source; every field must have one."""
    (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(record))).body)
    texts = {}
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(following, ast.Expr), f"{record.__name__}.{field.target.id} has no text"
            texts[field.target.id] = " ".join(ast.literal_eval(following.value).split())
    assert set(texts) == {field.name for field in dataclasses.fields(record)}
    return texts


def test_an_unknown_environment_is_met_with_near_names(refused):
    """Exit status and one sentence, no traceback."""
    status, text = refused("--env", "CartPol-v1", of=experiment.EXPERIMENT)
    assert status == 2
    assert "No environment is named 'CartPol-v1'" in text and "'CartPole-v1'" in text


def test_flags_for_sweeps_schedules_and_populations(call):
    """Points in order with the seeds' number, schedules by field, fields that evolve and how often."""
    result = call(
        *("--sweep", "rate=0.5,2", "calm=1,2,3", "--schedule", "rate=linear:0", "limit=cosine:0.5"),
        *("--evolve", "rate", "--evolve-every", "20"),
    )
    assert isinstance(result.hypers, Sweep) and result.hypers.num_points == 6
    np.testing.assert_array_equal(result.hypers.hypers.rate, [0.5, 0.5, 0.5, 2, 2, 2])
    np.testing.assert_array_equal(result.hypers.values["calm"], [1, 2, 3, 1, 2, 3])
    assert result.options["schedules"] == {"rate": linear(0.0), "limit": cosine(0.5)}
    assert result.options["population"] == PBT(every=20, names=("rate",))
    assert call("--schedule", "calm=piecewise:0.5:3").options["schedules"] == {"calm": piecewise({0.5: 3})}
    assert call("--sweep", "rate=1,2", "--evolve", "rate").options["population"].every == 80 / 20


def test_a_random_search_depends_on_the_seed_alone(call):
    """As many points as asked for, the same for the same seed, others for another."""
    draw = lambda *arguments: call("--sweep", "rate=log_uniform(0.1,10)", *arguments).hypers.values["rate"]  # noqa: E731
    few, many, others = draw("--num-points", 3), draw("--num-points", 5), draw("--num-points", 3, "--seed", 1)
    np.testing.assert_array_equal(few, many[:3])
    assert len(few) == 3 and not np.any(few == others)


def test_every_point_of_a_sweep_is_completed(call):
    """Decays span the run at every point, also where the sweep changes something else."""
    arguments = ("--env", "CartPole-v1", "--sweep", "learning_rate=1e-4,1e-3", "--num-env-steps", "1000")
    sweep = call(*arguments, of=experiment.EXPERIMENT).hypers
    preset = experiment.PRESETS["CartPole-v1"]
    np.testing.assert_array_equal(sweep.hypers.decay_steps, [preset.config.num_optimizer_steps(1000)] * 2)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-flag", "1"], "no-such-flag"),
        (["--rate", "much"], "much"),
        (["--num-seeds", "0"], "num_seeds = 0: it must be at least 1"),
        (["--keep-checkpoints", "0"], "keep_checkpoints = 0: it must be at least 1"),
        (["--eval-every", "-1"], "eval_every = -1: it must be at least 0"),
        (["--sweep", "rat=1,2"], "There is no 'rat' to sweep. Near: 'rate'"),
        (["--sweep", "rate"], "Sweep item 'rate' is not of the form FIELD=VALUES"),
        (["--sweep", "rate=1,1"], "rate: the value 1 comes twice"),
        (["--sweep", "rate=fast"], "rate = 'fast': rate takes numbers"),
        (["--sweep", "calm=0.5"], "calm = 0.5: calm is int32, which cannot hold that"),
        (["--sweep", "rate=uniform(0,1)"], "say how many with --num-points"),
        (["--sweep", "rate=1,2", "--num-points", "3"], "--num-points is for distributions"),
        (["--num-points", "3"], "give --sweep with distributions, too"),
        (["--schedule", "rate=lin:0"], "no kind 'lin'. Near: 'linear'"),
        (["--evolve-every", "10"], "name the fields to evolve with --evolve"),
        (["--member-devices", "99"], "need 99 devices; there are"),
        (["--resume", "x", "--fork", "y"], "No run in x: it has no config.json"),
    ],
)
def test_what_cannot_be_exits_with_2_and_says_so(refused, arguments, message):
    """Unknown flags and fields, values that are none, options that do not go together: status 2 and the reason, no
    traceback, and nothing is compiled."""
    status, text = refused(*arguments)
    assert status == 2
    assert message in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "rat=linear:0"], "ToyHypers has no field 'rat'. Near: 'rate'"),
        (["--evolve", "rate"], "A population needs a sweep of at least 2 points"),
        (["--sweep", "rate=1,2", "--evolve", "calm"], "ToyHypers.calm is int32: only floating-point numbers evolve"),
        (["--from-step", "10"], "from_step = 10 says where to fork"),
    ],
)
def test_what_the_driver_refuses_is_one_line_too(main, capsys, monkeypatch, tmp_path, arguments, message):
    """Status 2, before anything is compiled."""

    def compile(*arguments):
        raise AssertionError("Something was compiled.")

    monkeypatch.setattr(loop.Engine, "compile", compile)
    with pytest.raises(SystemExit) as exit_:
        main(*arguments, "--out-dir", tmp_path)
    printed = capsys.readouterr()
    assert exit_.value.code == 2 and printed.out == ""
    assert printed.err.startswith(f"toy: {message}") and printed.err.count("\n") == 1


def test_sizes_that_do_not_fit_are_refused(refused):
    """A Config that contradicts itself: its own sentence."""
    status, text = refused("--num-minibatches", "3", of=experiment.EXPERIMENT)
    assert status == 2 and "num_minibatches = 3 does not divide" in text


# --- resuming and forking ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> pathlib.Path:
    """A run of a sweep with settings that are no defaults; not to be changed."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    flags = "--sizes 3 4 --calm 2 --seed 5 --log-every 20 --sweep rate=0.1,2 --num-env-steps 40 --limit 7"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "set_cpu_flags", lambda **flags: None)
        command_line.main(EXPERIMENT, [*QUIET, *flags.split(), "--out-dir", str(folder)])
    return folder


def test_resuming_needs_only_the_folder(call, recorded):
    """Config, hyperparameters, sweep, key and options are those of the run; only what is said anew is new."""
    result = call("--resume", recorded, "--num-env-steps", 80, "--no-progress")
    assert result.algorithm.spec.settings["sizes"] == (3, 4)
    assert list(result.hypers.values) == ["rate"] and result.hypers.values["rate"].tolist() == [0.1, 2]
    np.testing.assert_array_equal(result.hypers.hypers.rate, np.float32([0.1, 2]))
    np.testing.assert_array_equal([result.hypers.hypers.calm, result.hypers.hypers.limit], [[2, 2], [7, 7]])
    np.testing.assert_array_equal(jax.random.key_data(result.key), jax.random.key_data(jax.random.key(5)))
    expected = {"num_seeds": 2, "log_every": 20, "eval_every": 0, "resume": True, "out_dir": recorded, "fork": None}
    assert expected.items() <= result.options.items() and result.options["num_env_steps"] == 80


def test_forking_takes_settings_over_and_lets_them_change(call, recorded, tmp_path):
    """Like the run, but for what is said; in a folder of its own."""
    result = call("--fork", recorded, "--from-step", 20, "--calm", 3, "--out-dir", tmp_path)
    assert result.options["fork"] == recorded and result.options["from_step"] == 20
    assert result.options["out_dir"] == tmp_path and not result.options["resume"]
    assert result.algorithm.spec.settings["sizes"] == (3, 4)
    np.testing.assert_array_equal(result.hypers.hypers.calm, [3, 3])
    assert call("--fork", recorded).options["out_dir"].parts[:2] == ("runs", "toy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calm", "3"], "toy: A run that is resumed keeps its settings; drop --calm 3 (it was 2), or use --fork."),
        (["--seed", "6", "--sizes", "1"], "drop --seed 6 (it was 5), --sizes (1,) (it was (3, 4)), or use --fork."),
        (["--sweep", "rate=1,2"], "drop --sweep ('rate=1,2',) (it was ()), or use --fork."),
        (["--out-dir", "x"], "resume goes on in its own folder: it goes with none of fork, overwrite and out_dir."),
        (["--overwrite"], "resume goes on in its own folder"),
    ],
)
def test_a_resumed_run_keeps_its_settings(refused, recorded, arguments, message):
    """What is asked for, what it was, and the way out; the settings that it has may be repeated."""
    status, text = refused("--resume", recorded, *arguments)
    assert status == 2 and message in text


def test_settings_may_be_repeated(call, recorded):
    """The flags that the run was started with say nothing new."""
    assert call("--resume", recorded, "--calm", 2, "--seed", 5, "--limit", "7.0", "--env", "nowhere").options["resume"]


@pytest.mark.parametrize("flag", ["--resume", "--fork"])
def test_a_folder_without_a_run_of_this_experiment(refused, recorded, tmp_path, flag):
    """Nothing there, or the run of another experiment: named, with the command for it."""
    status, text = refused(flag, tmp_path)
    assert (status, text) == (2, f"toy: No run in {tmp_path}: it has no config.json.")
    status, text = refused(flag, recorded, of=experiment.EXPERIMENT)
    assert (status, text) == (2, f"ppo: {recorded} holds a run of toy: use python -m experiments.toy.")


def test_a_run_that_is_resumed_on_the_command_line_is_the_long_run(main, flags, tmp_path):
    """Half the steps, then ``--resume`` to all, of a sweep whose rates are no binary numbers: states and log are those
    of the run in one."""
    options = ["--sweep", "rate=0.1,0.3", "--log-every", 20]
    whole = main(*options, "--num-env-steps", 80, "--out-dir", tmp_path / "whole")
    main(*options, "--num-env-steps", 40, "--out-dir", tmp_path / "halves")
    resume = ["--resume", str(tmp_path / "halves"), "--num-env-steps", "80", "--no-progress"]
    assert_same_results(command_line.main(EXPERIMENT, resume), whole)
    assert (tmp_path / "halves" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


# --- runs -------------------------------------------------------------------------------------------------


def test_a_tiny_run(capsys, tmp_path, flags):
    """From the arguments to the files: folder, curve, report; the settings on the command line are in config.json."""
    folder, curve = tmp_path / "run", tmp_path / "curve.png"
    result = command_line.main(
        experiment.EXPERIMENT,
        ["--env", "probe/action-reward", *TINY, "--num-env-steps", "32", "--num-seeds", "2", "--learning-rate", "0.5"]
        + ["--num-epochs", "1", "--eval-every", "0", "--no-progress", "--out-dir", str(folder), "--curve", str(curve)],
    )
    assert {path.name for path in folder.iterdir()} >= {"config.json", "metrics.csv", "summary.json", "curve.png"}
    assert curve.read_bytes().startswith(b"\x89PNG")
    config = config_of(folder)
    assert config["settings"]["hidden_sizes"] == [4] and config["settings"]["env"] == "probe/action-reward"
    assert config["hypers"]["learning_rate"] == 0.5 and math.isfinite(config["hypers"]["decay_steps"])
    assert (config["experiment"], config["seed"]) == ("ppo", 0)
    printed = capsys.readouterr().out
    assert printed.startswith("ppo on probe/action-reward: 2 seeds, 32 steps each\n")
    assert str(result.final_return) in printed and str(folder) in printed and str(curve) in printed


def test_a_sweep_prints_its_points_ranked(main, capsys, tmp_path):
    """One line for each point, best first; the result is the sweep's."""
    result = main("--sweep", "rate=0.5,2", "--out-dir", tmp_path)
    printed = capsys.readouterr().out
    assert printed.startswith("toy on nowhere: 2 points of 2 seeds, 80 steps each\n")
    places = [printed.index(f"rate={point.values['rate']:g}") for point in result.table()]
    assert places == sorted(places)


def test_a_sweep_of_the_config_is_a_loop(main, capsys, tmp_path):
    """Sizes fix shapes: a program for each, which is said; each has its folder, and all points are ranked together."""
    assert main("--sweep", "sizes=1x2,1x3", "rate=0.5,2", "--out-dir", tmp_path) is None
    printed = capsys.readouterr()
    assert "sizes: fixed at compile time, so 2 programs, one after the other." in printed.err
    folders = {path.name: config_of(path) for path in tmp_path.iterdir() if path.is_dir()}
    assert {name: config["settings"]["sizes"] for name, config in folders.items()} == {
        **{"sizes=1x2": [1, 2], "sizes=1x3": [1, 3]}
    }
    assert all(config["sweep"] == {"rate": [0.5, 2]} for config in folders.values())
    assert printed.out.startswith("toy on nowhere: 4 points\n")
    points = json.loads((tmp_path / "summary.json").read_text())["points"]
    assert {point["values"] for point in points} == {
        f"sizes={sizes} rate={rate}" for sizes, rate in itertools.product(["1x2", "1x3"], ["0.5", "2"])
    }
    estimates = [point["final_return"]["estimate"] for point in points]
    assert estimates == sorted(estimates, reverse=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_the_command_that_resumes(main, capsys, monkeypatch, tmp_path, number):
    """Status 128 and the number of the signal; the command, fit for a shell; without a folder, no command."""
    folder = tmp_path / "a run"

    def interrupted(*arguments, **options):
        raise Interrupted("interrupted at step 40; saved.", number, folder)

    monkeypatch.setattr(launch, "train", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 128 + number
    assert f"toy: interrupted at step 40; saved.\n  python -m experiments.toy --resume '{folder}'\n" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "toy: interrupted."),
        (FloatingPointError("Seed 0 diverged"), 1, "toy: Seed 0 diverged"),
        (ValueError("too large"), 2, "toy: too large"),
        (FileNotFoundError("not there"), 2, "toy: not there"),
    ],
)
def test_errors_end_with_a_sentence(main, capsys, monkeypatch, error, code, text):
    """What a user can put right has no traceback, and an exit status of its own; anything else has both."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(launch, "train", fail)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == code and capsys.readouterr().err.strip() == text
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        main()


def test_compiled_programs_are_kept(tmp_path):
    """``--compile-cache`` fills its folder, in a process of its own, for the cache is the process's."""
    cache = tmp_path / "cache"
    code = (
        "import sys\nfrom purerl.driver import command_line\nfrom tests.support.toy import EXPERIMENT\n"
        "command_line.main(EXPERIMENT, sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *QUIET, "--compile-cache", str(cache), "--out-dir", str(tmp_path / "run")],
        cwd=pathlib.Path(__file__).parents[3],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert any(path.is_file() for path in cache.iterdir())


def test_decays_span_the_run_unless_they_have_a_length():
    """Infinite becomes the number of optimiser steps; a number stays."""
    assert command_line.decay_over_run(60, PPOHypers()).decay_steps == 60.0
    assert command_line.decay_over_run(60, PPOHypers(decay_steps=5.0)).decay_steps == 5.0
    config = PPOConfig(num_envs=2, num_steps=4, num_epochs=3, num_minibatches=2)
    assert experiment.complete(PPOHypers(), config, 17).decay_steps == 3 * 3 * 2  # 17 steps are 3 updates of 8
