"""From a run to a dataset, from a dataset to a run: the two options of the command line of DQN."""

import json
import pathlib
import re
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import purerl
from purerl import envs
from purerl.data import dataset, ring
from purerl.driver import command_line
from purerl.driver.storage import restore
from purerl.driver.storage.checkpoint import Checkpoints
from purerl.presets import dqn as experiment
from purerl.tools import evaluate
from purerl.types import Transition
from tests.support.presets import check
from tests.support.toy_runs import refused

pytestmark = pytest.mark.usefixtures("quick_compiles")

TINY = "--num-envs 2 --num-steps 4 --num-gradient-steps 1 --batch-size 4 --hidden-sizes 4 --num-seeds 2 --no-progress"
ONLINE = f"{TINY} --num-warmup-steps 400 --replay-capacity 400 --num-env-steps 440 --eval-every 0"
OFFLINE = f"{TINY} --num-env-steps 40 --num-eval-episodes 2 --eval-every 40 --schedule"  # none: a run can grow


def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state."""
    check("dqn")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> pathlib.Path:
    """A folder with a run of two seeds, ``online``, what it remembers, ``data.npz``, and a run on that, ``offline``."""
    folder = tmp_path_factory.mktemp("runs")
    data = str(folder / "data.npz")
    experiment.main([*ONLINE.split(), "--out-dir", str(folder / "online"), "--save-dataset", data])
    offline = [*OFFLINE.split(), "--cql-weight", "0.5", "--out-dir", str(folder / "offline")]
    experiment.main([*offline, "--dataset", data])
    return folder


@pytest.mark.covers("offline-tax")
def test_a_run_leaves_the_episodes_of_its_first_seed(runs, capsys):
    """What is in the file is what the checkpoint's replay has of seed 0, and what a resumed run writes in the end."""
    again = runs / "again.npz"
    experiment.main(["--resume", str(runs / "online"), "--no-progress", f"--save-dataset={again}"])
    env = envs.make("CartPole-v1")
    found = dataset.load(runs / "data.npz", env)
    agents = restore.load_agents(runs / "online")
    ring = agents.trial(0)[1].replay.ring
    assert dataset.fingerprint(found) == dataset.fingerprint(dataset.complete_episodes(ring))
    assert dataset.fingerprint(found) == dataset.fingerprint(dataset.load(again, env))
    returns = dataset.episode_returns(found)
    assert len(returns) > 5 and len(found.reward) > 200
    assert np.sum(returns) == len(found.reward)  # a reward of 1 for every step
    printed = capsys.readouterr().out
    expected = f"seed 0, {len(found.reward)} transitions, {len(returns)} episodes of mean return {returns.mean():.5g}"
    assert expected in printed


@pytest.mark.covers("offline-tax")
def test_a_run_on_a_dataset(runs):
    """The return of the data in the summary beside the learnt one; the file and its fingerprint among the settings.

    Its checkpoint has no room for the data, and its agents evaluate like any others'.
    """
    found = dataset.load(runs / "data.npz", envs.make("CartPole-v1"))
    summary = json.loads((runs / "offline" / "summary.json").read_text())
    assert summary["dataset_return"] == dataset.episode_returns(found).mean()
    assert summary["dataset_transitions"] == len(found.reward) and summary["final_return"]["estimate"] > 0
    assert summary["title"] == "offline_dqn on CartPole-v1" and summary["num_env_steps"] == 40
    settings = json.loads((runs / "offline" / "config.json").read_text())["settings"]
    assert settings["dataset"] == str(runs / "data.npz")
    assert settings["dataset_sha256"] == dataset.fingerprint(found)
    agents = restore.load_agents(runs / "offline")
    assert sum(x.nbytes for x in jax.tree.leaves(agents.states)) < found.obs.nbytes
    evaluate.main([str(runs / "offline"), "--episodes", "2", "--no-progress", "--json", str(runs / "evaluated.json")])
    assert json.loads((runs / "evaluated.json").read_text())["title"] == "offline_dqn on CartPole-v1"


@pytest.mark.covers("offline-tax")
def test_a_run_is_resumed_with_its_own_data(runs, capsys):
    """Longer with the same file; with one reward changed in it, refused before anything is touched."""
    result = experiment.main(["--resume", str(runs / "offline"), "--num-env-steps", "80", "--no-progress"])
    assert result is not None and result.summary["resumed_at_step"] == 40
    assert result.states.num_env_steps.tolist() == [80, 80]
    assert re.search(r"dataset  mean return [\d.]+ of \d+ episodes, \d+ transitions; learnt", capsys.readouterr().out)
    path, env = runs / "data.npz", envs.make("CartPole-v1")
    original, files = path.read_bytes(), sorted((runs / "offline").rglob("*"))
    try:
        transitions = dataset.load(path, env)
        reward = np.array(transitions.reward)
        reward[7] = 2.0
        dataset.save(path, transitions.replace(reward=reward), env.name)
        message = refused(experiment.main, capsys, "--resume", str(runs / "offline"), "--num-env-steps", "120")
    finally:
        path.write_bytes(original)
    assert "holds other transitions" in message and "restore the file, or start another run" in message
    assert sorted((runs / "offline").rglob("*")) == files
    with Checkpoints(runs / "offline" / "checkpoints", read_only=True) as checkpoints:
        assert max(checkpoints.steps()) == 10


@pytest.mark.covers("offline-tax")
def test_agents_act_without_their_dataset(runs, capsys):
    """From the folder and from a file, as with it; a run that is to learn on is refused, and its folder stays."""
    obs, folder, data = np.zeros((3, 4)), runs / "offline", runs / "data.npz"
    _, expected = purerl.load(folder).act((), obs)
    files = sorted(folder.rglob("*"))
    data.rename(runs / "elsewhere.npz")
    try:
        agent = purerl.load(folder)
        agent.save(runs / "agent.safetensors")
        for one in (agent, purerl.load(runs / "agent.safetensors")):
            np.testing.assert_array_equal(one.act((), obs)[1], expected)
        message = refused(experiment.main, capsys, "--resume", str(folder), "--num-env-steps", "400")
    finally:
        (runs / "elsewhere.npz").rename(data)
    assert "offline_dqn has no dataset to learn from" in message and sorted(folder.rglob("*")) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--save-dataset data.csv", r"data\.csv: a dataset's name ends in \.npz or \.parquet"),
        ("--save-dataset data.npz --sweep gamma=0.9,0.99", "drop --sweep"),
        ("--save-dataset data.npz --dataset other.npz", "drop --dataset"),
        ("--dataset none.npz", r"none\.npz: there is no such file"),
        ("--dataset data.csv", r"data\.csv: a dataset's name ends in"),
    ],
    ids=["suffix", "sweep", "both", "no-file", "other-file"],
)
def test_what_is_refused_before_a_run(arguments, message, capsys, tmp_path, monkeypatch):
    """One line, status 2, and no folder of a run."""
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(experiment.main, capsys, *arguments.split()))
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_environment_are_refused(runs, capsys):
    """CartPole's data in Acrobot."""
    message = refused(experiment.main, capsys, "--env", "Acrobot-v1", "--dataset", str(runs / "data.npz"))
    assert "holds transitions of CartPole-v1, not of Acrobot-v1" in message


@pytest.fixture
def finished(monkeypatch):
    """Let the driver return at once: a result of seeds whose replays hold these numbers of steps, all episodes of 1."""

    def result(num_steps, **changes):
        flags = np.ones((8, 1), bool)
        obs, one = np.zeros((8, 1, 4), np.float32), np.ones((8, 1), np.float32)
        items: Any = {"obs": obs, "action": flags * np.int32(1), "reward": one, "next_obs": obs}
        steps = Transition(**items, terminated=flags, truncated=~flags, info={})
        rings = [ring.full(steps).replace(head=np.int32(size), size=np.int32(size)) for size in num_steps]
        replay = SimpleNamespace(ring=jax.tree.map(lambda *leaves: np.stack(leaves), *rings))
        summary = {"diverged": [False] * len(num_steps), "title": "dqn on CartPole-v1"} | changes
        found = SimpleNamespace(summary=summary, sweep=None, states=SimpleNamespace(replay=replay))
        monkeypatch.setattr(command_line, "main", lambda experiment, arguments, prog: found)
        return found

    return result


def test_a_seed_that_diverged_is_passed_over(finished, tmp_path, capsys):
    """Of three seeds the first has diverged: the second's replay is saved."""
    finished([2, 3, 4], diverged=[True, False, False])
    experiment.main(["--save-dataset", str(tmp_path / "data.npz")])
    assert len(dataset.load(tmp_path / "data.npz", envs.make("CartPole-v1")).reward) == 3
    assert "seed 1, 3 transitions, 3 episodes of mean return 1" in capsys.readouterr().out


def test_a_run_that_leaves_nothing_to_save(finished, tmp_path, capsys):
    """No whole episode, no seed left, a sweep that was resumed, one without a replay: what would help, and no file."""
    arguments = ("--save-dataset", str(tmp_path / "data.npz"))
    finished([0])
    assert "no episode from its beginning to its end: increase --replay-capacity" in refused(
        experiment.main, capsys, *arguments
    )
    finished([2, 2], diverged=[True, True])
    assert "all seeds diverged" in refused(experiment.main, capsys, *arguments)
    finished([2]).sweep = "gamma"
    assert "this was a sweep, or learnt from a dataset" in refused(experiment.main, capsys, *arguments)
    finished([2]).states = SimpleNamespace()
    assert "this was a sweep, or learnt from a dataset" in refused(experiment.main, capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_help_tells_of_both(capsys):
    """``--help`` explains how a dataset is made and used."""
    with pytest.raises(SystemExit) as exit_:
        experiment.main(["--help"])
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert exit_.value.code == 0
    for part in ("--save-dataset FILE writes, when the run has ended", "--dataset FILE learns", "--dataset-sha256"):
        assert part in text
