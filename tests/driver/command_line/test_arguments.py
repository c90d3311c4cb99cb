"""Command lines, of PPO and of a toy: what their words make of the settings, and what is refused."""

import dataclasses
import pathlib
import re
import types
import typing

import jax
import numpy as np
import pytest

from purerl import xla
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers
from purerl.driver import PBT, RunOptions, Sweep, command_line, cosine, linear, piecewise
from purerl.driver.command_line.arguments import Launch
from purerl.driver.command_line.flags import field_texts
from purerl.driver.options import names_of
from purerl.driver.running import loop
from purerl.presets import dqn
from purerl.presets import ppo as experiment
from purerl.tools import evaluate, play, plot, reproduce
from tests.driver.command_line.conftest import QUIET
from tests.support.toy import EXPERIMENT

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
        *("--num-eval-episodes", "5", "--trials-at-once", "1", "--out-dir", tmp_path, "--no-progress"),
        *("--small-loops", "--cpu-threads", "1", "--decay-steps", "50", "--overwrite", "--wandb", "project"),
        *("--checkpoint-every", "30", "--keep-checkpoints", "2", "--debug-nans", "--optimization-level", "3"),
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
        "trials_at_once": 1,
        "optimization_level": 3,
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


@pytest.mark.parametrize("record", [Launch, RunOptions, PPOConfig, PPOHypers])
def test_help_explains_every_field(record, refused):
    """``--help`` exits with 0 and has a flag for every field that is no object of Python, with the text below the field
    in its source."""
    status, text = refused("--help", of=experiment.EXPERIMENT)
    assert status == 0
    for name, explanation in field_texts(record).items():
        if name not in names_of(record, "in_python"):
            assert re.search(rf"--{name.replace('_', '-')}\b", text), name
            assert explanation.replace(" ", "") in text.replace(" ", ""), name  # wherever a line ends


@pytest.mark.parametrize(
    "record",
    [Launch, RunOptions, dqn.Config, evaluate.Options, play.Options, plot.Options, reproduce.Options],
    ids=lambda record: record.__module__,
)
def test_help_says_what_none_means(record):
    """Wherever a flag takes it."""
    for name, annotation in typing.get_type_hints(record).items():
        if types.NoneType in typing.get_args(annotation) and name not in names_of(record, "in_python"):
            assert "None: " in field_texts(record)[name], name


def test_help_shows_ranges_and_wraps_whole_sentences(call, capsys, monkeypatch):
    """At the end of each text, which no line break of the source cuts; the description fits the terminal, too."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        command_line.main(experiment.EXPERIMENT, ["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).replace("│", " ").split())
    for said in ("Discount. In [0, 1]. (default: 0.99)", "B. At least 1. (default: 8)", "In [0, 4294967295]."):
        assert said in text


def test_whole_numbers_may_have_an_exponent(call):
    """Of the run, the config and the hyperparameters, in tuples too."""
    result = call("--num-env-steps", "1e3", "--sizes", "1e1", "2_0", "--calm", "1.2e1", "--log-every", "1E2")
    assert (result.options["num_env_steps"], result.options["log_every"], result.hypers.calm) == (1000, 100, 12)
    assert result.algorithm.spec.settings["sizes"] == (10, 20)


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
        (["--num-seeds", "0"], "toy: --num-seeds 0: it must be at least 1"),
        (["--num-seeds", "1.5"], "--num-seeds: 1.5 is no whole number"),
        (["--num-env-steps", "inf"], "--num-env-steps: inf is no whole number"),
        (["--seed", "-1"], "toy: --seed -1: it must be in [0, 4294967295]"),
        (["--seed", "4294967296"], "toy: --seed 4294967296: it must be in [0, 4294967295]"),
        (["--rate", "nan"], "toy: --rate nan: it must be finite"),
        (["--calm", "-1"], "toy: --calm -1: it must be at least 0"),
        (["--sizes", "0"], "toy: --sizes (0,): it must be at least 1"),
        (["--keep-checkpoints", "0"], "toy: --keep-checkpoints 0: it must be at least 1"),
        (["--eval-every", "-1"], "toy: --eval-every -1: it must be at least 0"),
        (["--sweep", "rat=1,2"], "There is no 'rat' to sweep. Near: 'rate'"),
        (["--sweep", "rate"], "Sweep item 'rate' is not of the form FIELD=VALUES"),
        (["--sweep", "rate=1,1"], "rate: the value 1 comes twice"),
        (["--sweep", "rate=fast"], "--rate 'fast': rate takes numbers"),
        (["--sweep", "calm=0.5"], "--calm 0.5: calm is int32, which cannot hold that"),
        (["--sweep", "rate=uniform(0,1)"], "say how many with --num-points"),
        (["--sweep", "rate=1,2", "--num-points", "3"], "--num-points is for distributions"),
        (["--num-points", "3"], "give --sweep with distributions, too"),
        (["--schedule", "rate=lin:0"], "no kind 'lin'. Near: 'linear'"),
        (["--evolve-every", "10"], "name the fields to evolve with --evolve"),
        (["--trial-devices", "99"], "need 99 devices; there are"),
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
        (["--sweep", "rate=1,2", "--evolve", "calm"], "--calm is int32: only floating-point numbers evolve"),
        (["--from-step", "10"], "--from-step 10 says where to fork"),
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
    assert status == 2 and "ppo: --num-minibatches 3 does not divide --num-envs * --num-steps = 8 * 128 = 1024." in text


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
        (
            ["--out-dir", "x"],
            "--resume goes on in its own folder: it goes with none of --fork, --overwrite, --out-dir.",
        ),
        (["--overwrite"], "--resume goes on in its own folder"),
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
    assert (status, text) == (2, f"ppo: {recorded} holds a run of toy, not of ppo: use the command of toy.")
