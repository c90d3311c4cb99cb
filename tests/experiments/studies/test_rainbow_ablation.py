"""The Rainbow ablation: what each agent lacks, how they are scored, and the command from end to end."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from experiments.studies import rainbow_ablation as experiment
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers
from purerl.analysis.statistics import holm, mann_whitney
from purerl.driver.command_line import Preset
from purerl.driver.running.interruption import Interrupted
from purerl.presets.rainbow import EXPERIMENT, PARTS

TINY = DQNConfig(
    num_envs=2, num_steps=4, batch_size=4, replay_capacity=64, num_warmup_steps=16, hidden_sizes=(4,), num_atoms=3
)


@pytest.mark.covers("rainbow")
def test_each_agent_lacks_one_part():
    """Rainbow, then six that differ from it in one field, which is as in plain DQN, then DQN, without all of them; also
    where the config that they come from has parts of its own."""
    base = dataclasses.replace(TINY, target="double", n_step=5)
    whole, *fewer, bare = map(dataclasses.asdict, experiment.variants(base).values())
    assert {name: whole[name] for name in PARTS} == PARTS
    for part, config in zip(PARTS, fewer, strict=True):
        assert [name for name in whole if config[name] != whole[name]] == [part]
        assert config[part] == getattr(DQNConfig(), part)
    assert bare == dataclasses.asdict(dataclasses.replace(TINY, target="max", n_step=1))
    assert list(experiment.variants(base, ["distribution"])) == ["Rainbow", "no distribution", "DQN"]


def test_scores_and_their_table():
    """Last return and mean over the run, by hand; a seed that diverged has none; a worse agent is always worse."""
    high = experiment.scores(np.array([3.0, 5.0, np.nan]), np.array([[1.0, 1.0, 1.0], [3.0, 5.0, np.nan]]))
    np.testing.assert_array_equal(high, [[3, 2], [5, 3]])
    assert experiment.better(high, high - 10)[:3] == (1.0, 1.0, 1.0)
    assert experiment.better(high, high).estimate == 0.5
    header, *lines = experiment.table({"Rainbow": high, "DQN": high - 10})
    assert header.endswith("Rainbow is better")
    few = "(2 seeds: too few for 95 %)"
    assert lines[0] == f"Rainbow  4 [3, 5] {few}  2.5 [2, 3] {few}"
    # Of two seeds against two, six ways to choose two of four, one of them at either end: p = 2 / 6.
    assert lines[1] == f"DQN      -6 [-7, -5] {few}  -7.5 [-8, -7] {few}  1 [1, 1] {few}, p = 0.33 (Holm)"
    line = experiment.table({"Rainbow": high, "DQN": high[:0]}, {"DQN": 3})[2]
    assert line.split() == ["DQN", *2 * ["nan", "(3", "of", "3", "seeds", "diverged)"]]


def test_comparisons_are_corrected_for_how_many_they_are():
    """Three agents that are worse in every one of five seeds: each by the smallest p-value that five seeds can have,
    2 / 252, three times, for there are three."""
    whole = np.arange(10.0).reshape(5, 2)
    found = experiment.p_values({"Rainbow": whole, "a": whole - 20, "b": whole - 30, "c": whole + 20})
    assert found == pytest.approx(dict.fromkeys("abc", 3 * 2 / 252))


KEPT = pathlib.Path(__file__).parents[3] / "experiments" / "results"


def test_what_the_readme_says_of_five_seeds():
    """Of the kept ablations, no comparison with Rainbow is beyond doubt once it is corrected for fourteen; nearest is
    SpaceInvaders without three steps, all of whose seeds are below all of Rainbow's."""
    found = {}
    for game in ("Breakout", "SpaceInvaders"):
        agents = json.loads((KEPT / "rainbow_ablation" / f"{game}-MinAtar.json").read_text())["agents"]
        scores = {label: agent["mean_return_of_each_seed"] for label, agent in agents.items()}
        found |= {(game, name): mann_whitney(scores["Rainbow"], scores[name]) for name in scores if name != "Rainbow"}
    corrected = holm(list(found.values()))
    assert len(found) == 14 and min(corrected) == pytest.approx(14 * 2 / 252)
    assert min(found, key=found.__getitem__) == ("SpaceInvaders", "no multi-step")


@pytest.mark.parametrize(("game", "p_value"), [("SpaceInvaders", 0.0003), ("Freeway", 0.016)])
def test_what_the_readme_says_of_ten_seeds(game, p_value):
    """Rainbow against DQN in two of seven environments: the smallest and the second smallest p-value, as Holm corrects
    them: seven times and six times."""
    of_seeds = [
        json.loads((KEPT / name / f"{game}-MinAtar" / "summary.json").read_text())["final_return_of_each_seed"]
        for name in ("rainbow", "dqn")
    ]
    factor = 7 if game == "SpaceInvaders" else 6
    assert factor * mann_whitney(*of_seeds) == pytest.approx(p_value, rel=0.05)
    assert (np.mean(of_seeds[0]) > np.mean(of_seeds[1])) == (game == "Freeway")


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> list[str]:
    """A preset that is over at once, and the arguments that ask for it."""
    preset = Preset(TINY, DQNHypers(), num_env_steps=32)
    monkeypatch.setattr(experiment, "EXPERIMENT", EXPERIMENT._replace(presets={"CartPole-v1": preset}))
    return ["--env", "CartPole-v1", "--num-seeds", "2", "--out-dir", str(tmp_path), "--no-progress"]


@pytest.mark.deep
@pytest.mark.covers("rainbow")
def test_command_from_end_to_end(tiny, tmp_path, capsys):
    """Two seeds of Rainbow and of DQN: a table, two images, a summary, and two folders, each run by its name."""
    experiment.main([*tiny, "--parts", "--eval-every", "16", "--num-eval-episodes", "2"])
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "Rainbow without its parts on CartPole-v1, 2 seeds, 32 steps each"
    assert [row.split()[0] for row in rows] == ["Rainbow", "DQN"]
    agents = json.loads((tmp_path / "summary.json").read_text())["agents"]
    assert list(agents) == ["Rainbow", "DQN"]
    assert len(agents["DQN"]["mean_return_of_each_seed"]) == 2
    for name in ("curves.png", "scores.png", "DQN/curve.png", "Rainbow/curve.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert json.loads((tmp_path / "DQN" / "summary.json").read_text())["title"] == "DQN on CartPole-v1"


def test_interrupted_it_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    """Stopped in the folder of one agent: exit code of the signal, and the same command for all of them, to resume."""

    def stopped(*_, out_dir, **__):
        raise Interrupted("interrupted at step 7;", 2, out_dir)

    monkeypatch.setattr(experiment, "train", stopped)
    with pytest.raises(SystemExit) as exit_:
        experiment.main(tiny)
    assert exit_.value.code == 130
    command = f"python -m experiments.studies.rainbow_ablation {' '.join(tiny)} --resume --out-dir {tmp_path}"
    assert capsys.readouterr().err.splitlines()[-1].strip() == command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "noise"], "parts has 'noise'. Near: 'noisy'"),
        (["--num-seeds", "0"], "--num-seeds 0"),
        (["--eval-every", "0"], "--eval-every 0"),
        (["--resume", "--overwrite"], "choose one"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    """One line that names it, and exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        experiment.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
