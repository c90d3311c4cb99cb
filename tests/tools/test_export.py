"""The command that writes an agent to a file: which agent, of which kind, and what it refuses."""

import pathlib

import jax
import numpy as np
import pytest

import purerl
from purerl import envs
from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.tools import export
from tests.support.toy_runs import refused


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """Two seeds of a bandit."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    algorithm = bandit(envs.make("bandit/gaussian", num_arms=3), ucb1, BanditConfig(num_steps=4))
    options = {"num_env_steps": 16, "num_seeds": 2, "eval_every": 0, "progress": False, "out_dir": folder}
    purerl.train(algorithm, UCB1Hypers(), jax.random.key(0), **options)
    return folder


def test_an_agent_of_a_run_is_written(run, tmp_path, capsys):
    """The seed that is asked for; from that file on as a program; all three act alike."""
    saved, program = tmp_path / "agent.safetensors", tmp_path / "agent.program"
    export.main([str(run), str(saved), "--agent", "1"])
    export.main([str(saved), str(program), "--platforms", "cpu"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in printed] == [f"wrote {saved}", f"wrote {program}"]
    agents = [purerl.load(run, seed=1), purerl.load(saved), purerl.load_program(program)]
    assert agents[1].source.about == {"step": 16, "seed": 1, "point": 0}
    obs = np.zeros(agents[0].obs_like.shape, np.float32)
    first, *others = [int(agent.act(agent.start(), obs)[1]) for agent in agents]
    assert others == [first, first]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["agent.pickle"], "agent.pickle: the file's name ends in one of .safetensors, .program, .onnx."),
        (["agent.program", "--batch-size", "0"], "--batch-size 0: it must be at least 1."),
        (["agent.program", "--best", "--step", "4"], "--best chooses the step by itself"),
        (["agent.program", "--agent", "2"], "seed = 2: the run has 2 seeds, counted from 0."),
        (["agent.program", "--step", "3"], "has no checkpoint of step 3"),
    ],
)
def test_what_cannot_be_written_is_refused(run, tmp_path, monkeypatch, capsys, arguments, message):
    """One line, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    assert message in refused(export.main, capsys, str(run), *arguments)
    assert list(tmp_path.iterdir()) == []
