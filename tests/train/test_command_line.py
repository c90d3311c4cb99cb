"""Command lines, on the experiment of PPO: what reaches the driver, what is refused, what a run leaves."""

import ast
import dataclasses
import inspect
import itertools
import json
import math
import re
import textwrap
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from experiments import ppo as experiment
from purerl import xla
from purerl.algorithm import Algorithm
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers
from purerl.train import command_line
from purerl.train.command_line import RunOptions

TINY = ["--num-envs", "2", "--num-steps", "4", "--num-minibatches", "2", "--hidden-sizes", "4"]


class Call(NamedTuple):
    """What the driver was asked to do."""

    algorithm: Algorithm
    hypers: Any
    key: jax.Array
    options: dict[str, Any]
    flags: dict[str, Any]


@pytest.fixture
def call(monkeypatch):
    """Parse a command line up to the call of the driver."""

    class CalledError(Exception):
        pass

    def driver(*arguments, **options):
        raise CalledError(arguments, options)

    flags = {}
    monkeypatch.setattr(command_line, "train", driver)
    monkeypatch.setattr(xla, "set_cpu_flags", lambda **given: flags.update(given))

    def run(*arguments) -> Call:
        with pytest.raises(CalledError) as called:
            experiment.main(list(arguments))
        (algorithm, hypers, key), options = called.value.args
        return Call(algorithm, hypers, key, options, dict(flags))

    return run


def refused(capsys, *arguments) -> tuple[Any, str]:
    """The exit status and what was printed, of a command line that ends without a run."""
    with pytest.raises(SystemExit) as exit_:
        experiment.main(list(arguments))
    printed = capsys.readouterr()
    text = printed.out + printed.err + (exit_.value.code if isinstance(exit_.value.code, str) else "")
    return exit_.value.code, re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_the_environment_chooses_the_defaults(call, env):
    """Without other flags everything is the preset's, with decays over the length of the run."""
    config, hypers, num_env_steps = experiment.PRESETS[env]
    result = call("--env", env)
    assert dict(result.algorithm.spec.settings) == {"env": env, **dataclasses.asdict(config)}
    assert result.hypers == hypers.replace(decay_steps=float(config.num_optimizer_steps(num_env_steps)))
    assert result.options["num_env_steps"] == num_env_steps
    assert result.options["out_dir"].parts[:2] == ("runs", "ppo") and result.options["out_dir"].name.endswith(env)


def test_an_environment_without_a_preset_gets_the_fallback(call):
    """The defaults of the dataclasses; a slash in the name makes no folder."""
    result = call("--env", "probe/truncation")
    config = experiment.FALLBACK.config
    assert dict(result.algorithm.spec.settings) == {"env": "probe/truncation", **dataclasses.asdict(config)}
    assert len(result.options["out_dir"].parts) == 3


def test_flags_change_what_they_name_and_nothing_else(call, tmp_path):
    """One flag of each record, and every option of the run."""
    result = call(
        *("--env", "CartPole-v1", "--num-envs", "32", "--normalize-obs", "--objective", "kl", "--gamma", "0.5"),
        *("--num-env-steps", "1000", "--num-seeds", "3", "--seed", "7", "--eval-every", "0", "--log-every", "10"),
        *("--num-eval-episodes", "5", "--seeds-at-once", "1", "--out-dir", str(tmp_path), "--no-progress"),
        *("--small-loops", "--cpu-threads", "1", "--decay-steps", "50"),
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
        "seeds_at_once": 1,
        "out_dir": tmp_path,
        "progress": False,
    }
    assert result.flags == {"small_loops": True, "threads": 1}


@pytest.mark.parametrize("name", experiment.PRESETS)
def test_every_preset_can_be_parsed(call, name):
    """Its environment exists and PPO accepts the environment's spaces with these settings."""
    assert call("--env", name).algorithm.spec.settings["env"] == name


@pytest.mark.parametrize("record", [RunOptions, PPOConfig, PPOHypers])
def test_help_explains_every_field(record, capsys):
    """``--help`` exits with 0 and has a flag for every field, with the text below the field in its source."""
    status, text = refused(capsys, "--help")
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


def test_an_unknown_environment_is_met_with_near_names(capsys):
    """Exit status and one sentence, no traceback."""
    status, text = refused(capsys, "--env", "CartPol-v1")
    assert status != 0
    assert "No environment is named 'CartPol-v1'" in text and "'CartPole-v1'" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-flag", "1"], "no-such-flag"),
        (["--gamma", "much"], "much"),
        (["--objective", "other"], "other"),
        (["--num-seeds", "0"], "num_seeds = 0: it must be at least 1"),
        (["--eval-every", "-1"], "eval_every = -1: use 0 for no evaluation"),
        (["--num-minibatches", "3"], "num_minibatches = 3 does not divide"),
    ],
)
def test_what_cannot_be_exits_with_2_and_says_so(capsys, arguments, message):
    """Unknown flags, values that are none, and sizes that do not fit: status 2 and the reason, no traceback."""
    status, text = refused(capsys, *arguments)
    assert status == 2
    assert message in text and "Traceback" not in text


def test_a_tiny_run(capsys, tmp_path, monkeypatch):
    """From the arguments to the files: folder, curve, report; the settings on the command line are in config.json."""
    monkeypatch.setattr(xla, "set_cpu_flags", lambda **given: None)
    folder, curve = tmp_path / "run", tmp_path / "curve.png"
    result = experiment.main(
        ["--env", "probe/action-reward", *TINY, "--num-env-steps", "32", "--num-seeds", "2", "--learning-rate", "0.5"]
        + ["--num-epochs", "1", "--eval-every", "0", "--no-progress", "--out-dir", str(folder), "--curve", str(curve)]
    )
    assert {path.name for path in folder.iterdir()} >= {"config.json", "metrics.csv", "summary.json", "curve.png"}
    assert curve.read_bytes().startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["hidden_sizes"] == [4] and config["settings"]["env"] == "probe/action-reward"
    assert config["hypers"]["learning_rate"] == 0.5 and math.isfinite(config["hypers"]["decay_steps"])
    printed = capsys.readouterr().out
    assert printed.startswith("ppo on probe/action-reward: 2 seeds, 32 steps each\n")
    assert str(result.final_return) in printed and str(folder) in printed and str(curve) in printed


def test_an_interruption_ends_with_a_sentence(capsys, monkeypatch, tmp_path):
    """Control-C in the run: status 130, and where the results so far are."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(xla, "set_cpu_flags", lambda **given: None)
    monkeypatch.setattr(command_line, "train", interrupted)
    status, text = refused(capsys, "--out-dir", str(tmp_path))
    assert status == 130
    assert f"interrupted. What was measured until then is in {tmp_path}" in text


def test_decays_span_the_run_unless_they_have_a_length():
    """Infinite becomes the number of optimiser steps; a number stays."""
    assert command_line.decay_over_run(60, PPOHypers()).decay_steps == 60.0
    assert command_line.decay_over_run(60, PPOHypers(decay_steps=5.0)).decay_steps == 5.0
    config = PPOConfig(num_envs=2, num_steps=4, num_epochs=3, num_minibatches=2)
    assert experiment.complete(PPOHypers(), config, 17).decay_steps == 3 * 3 * 2  # 17 steps are 3 updates of 8
