"""The command that evaluates a run's agents: its numbers, its choices, its picture, what it refuses."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from purerl.analysis.statistics import interval
from purerl.driver import command_line
from purerl.driver.hypers import sweep
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.running.program import seed_keys
from purerl.driver.storage import restore
from purerl.envs import drawing
from purerl.presets import ppo as experiment
from purerl.tools import evaluate
from tests.support.toy import ToyHypers, limit_for_one, quietly, toy, train
from tests.support.toy_runs import refused, register, returning

pytestmark = pytest.mark.usefixtures("quick_compiles")

EPISODES = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """The smallest run of PPO that there is: two seeds, who have learned next to nothing."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    tiny = "--num-envs 2 --num-steps 4 --num-minibatches 1 --num-epochs 1 --hidden-sizes 4"
    short = "--num-env-steps 16 --num-seeds 2 --eval-every 0 --no-progress"
    command_line.main(experiment.EXPERIMENT, ["--out-dir", str(folder), *tiny.split(), *short.split()])
    return folder


def evaluated(capsys, tmp_path, *arguments) -> tuple[dict, str]:
    """What a command wrote and printed."""
    path = tmp_path / "out.json"
    evaluate.main([*map(str, arguments), "--episodes", str(EPISODES), "--no-progress", "--json", str(path)])
    return json.loads(path.read_text()), capsys.readouterr().out


def directly(folder: pathlib.Path, seed: int, key: int, *sample: bool):
    """Episodes of a seed by the algorithm's own evaluation."""
    agents = restore.load_agents(folder)
    episodes_key = fold_in_name(fold_in_name(jax.random.key(key), "evaluate"), "episodes")
    hypers, state = jax.tree.map(lambda leaf: leaf[seed], (agents.hypers, agents.states))
    play = jax.jit(agents.run.algorithm.spec.evaluate, static_argnums=(3, 4))
    return play(hypers, state, seed_keys(episodes_key, 2)[seed], EPISODES, *sample)


def test_numbers_are_those_of_the_algorithms_own_evaluation(run, tmp_path, capsys):
    """Mean, deviation and quantiles of returns and lengths of each seed; over seeds the interquartile mean.

    Nothing in the run's folder changes.
    """
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found, printed = evaluated(capsys, tmp_path, run, "--seed", 3)
    (point,) = found["points"]
    means = []
    for seed in (0, 1):
        episodes = directly(run, seed, 3)
        for name, values in (("return", episodes.returns), ("length", episodes.lengths)):
            values = np.asarray(values, np.float64)
            described = point["seeds"][seed][name]
            assert described["mean"] == values.mean() and described["std"] == pytest.approx(values.std())
            expected = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            np.testing.assert_allclose([described[f"p{p}"] for p in ("05", "25", "50", "75", "95")], expected)
        means.append(np.asarray(episodes.returns, np.float64).mean())
    assert list(point["return"].values()) == list(interval(means))
    assert f"[95 % interval]: {interval(means)}" in printed
    assert "ppo on CartPole-v1 at step 16 (the last checkpoint): 20 episodes of each seed with the mode" in printed
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_sampled_actions_are_drawn_from_the_policy(run, tmp_path, capsys):
    """The evaluation that is told to sample, which is another one than the mode's."""
    found, printed = evaluated(capsys, tmp_path, run, "--sampled", "--agent", 1)
    (seed,) = found["points"][0]["seeds"]
    sampled = directly(run, 1, 0, True)
    assert seed["seed"] == 1 and found["sampled"] and "drawn from the policy" in printed
    assert seed["return"]["mean"] == np.asarray(sampled.returns, np.float64).mean()
    assert np.any(np.asarray(sampled.returns) != np.asarray(directly(run, 1, 0).returns))


def test_the_picture_shows_an_episode_of_the_best_seed(run, tmp_path, capsys):
    """One frame for each step up to the limit, and the first; of the seed with the highest mean."""
    found, printed = evaluated(capsys, tmp_path, run, "--render", tmp_path / "episode.gif", "--max-steps", 3)
    best = max(found["points"][0]["seeds"], key=lambda seed: seed["return"]["mean"])["seed"]
    assert f"episode.gif: Seed {best}, 3 steps" in printed
    with Image.open(tmp_path / "episode.gif") as picture:
        assert (picture.format, picture.n_frames, picture.size) == ("GIF", 4, (400, 300))


def test_what_cannot_be_drawn_is_said_before_anything_is_played(run, tmp_path, capsys, monkeypatch):
    """The drawing module's own line; nothing is evaluated, nothing written."""
    monkeypatch.setattr(drawing, "DRAWINGS", {})
    monkeypatch.setattr(evaluate, "play", lambda *_: pytest.fail("played"))
    text = refused(evaluate.main, capsys, str(run), "--render", str(tmp_path / "episode.gif"))
    assert text.startswith("evaluate: CartPole-v1 with observations of shape (4,) cannot be drawn.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agent", "2"], "--agent 2: the run has 2 seeds, counted from 0."),
        (["--point", "1"], "--point 1: the run has 1 point, counted from 0."),
        (["--step", "5"], "has no checkpoint of step 5; it has those of 16."),
        (["--best"], "was evaluated at none of its checkpoints (16): choose one by its step."),
        (["--best", "--step", "16"], "--best chooses the step by itself"),
        (["--episodes", "0"], "--episodes 0: it must be at least 1."),
        (["--render", "episode.png"], "its name must end in .gif"),
        (["--attempts", "2"], "--attempts 2 goes with --sampled, lest all be the same"),
        (["--sampled", "--attempts", "3"], "must divide --episodes 1000"),
        (["--sampled", "--attempts", "2"], "--attempts is for language models, and ppo is none: drop it."),
    ],
)
def test_bad_options(run, capsys, arguments, message):
    """Exit code 2 and a line that says what is wrong."""
    assert message in refused(evaluate.main, capsys, str(run), *arguments)


def test_a_folder_without_a_run(tmp_path, capsys):
    """Exit code 2 and a line that names it."""
    assert refused(evaluate.main, capsys, str(tmp_path)).startswith(f"evaluate: No run in {tmp_path}")


def test_points_of_a_sweep_are_ranked(monkeypatch, tmp_path, capsys):
    """By the interquartile mean of the returns, but those with a diverged seed last; the seeds are the best one's."""
    worst, limit = limit_for_one(2)
    register(monkeypatch, algorithm := returning(lambda hypers, state: hypers.rate))
    points = [{"rate": 1.0, "limit": 2.0}, {"rate": 4.0, "limit": 2.0}, {"rate": 8.0, "limit": limit}]
    quietly(train, algorithm, sweep.points(ToyHypers(), points), num_seeds=2, out_dir=tmp_path / "run")
    found, printed = evaluated(capsys, tmp_path, tmp_path / "run")
    assert [point["values"]["rate"] for point in found["points"]] == [4.0, 1.0, 8.0]
    assert [point["return"]["estimate"] for point in found["points"]] == [4.0, 1.0, 8.0]
    assert [point["length"]["estimate"] for point in found["points"]] == [8.0, 2.0, 16.0]
    assert found["points"][2]["num_diverged"] == 1
    assert found["points"][2]["seeds"][worst]["return"]["mean"] is None
    lines = [line.strip() for line in printed.splitlines()]
    assert lines[2].startswith("point 1 rate=4 limit=2 ") and lines[2].endswith(
        "  4 [4, 4] (2 seeds: too few for 95 %)"
    )
    assert lines[4].endswith("  8 (one seed: no interval, 1 of 2 seeds diverged)")
    assert "the best, point 1 rate=4 limit=2" in lines

    found, _ = evaluated(capsys, tmp_path, tmp_path / "run", "--point", 0, "--agent", 1)
    assert [(point["point"], [seed["seed"] for seed in point["seeds"]]) for point in found["points"]] == [(0, [1])]
    text = refused(evaluate.main, capsys, str(tmp_path / "run"), "--point", "2", "--agent", str(worst))
    assert f"Seed {worst} of point 2 (rate=8.0 limit={limit}) has diverged" in text


def test_the_step_is_chosen_and_said(monkeypatch, tmp_path, capsys):
    """The best checkpoint, one of a step, and the last, whose returns tell them apart."""
    register(monkeypatch, falling := returning(lambda hypers, state: -state.num_updates))
    train(falling, eval_every=20, checkpoint_every=20, out_dir=tmp_path / "run")
    for arguments, update, text in (
        (["--best"], 2, "step 20 (the checkpoint with the best evaluation)"),
        (["--step", "60"], 6, "step 60 (as asked for)"),
        ([], 8, "step 80 (the last checkpoint)"),
    ):
        found, printed = evaluated(capsys, tmp_path, tmp_path / "run", *arguments)
        assert found["step"] == 10 * update and text in printed
        assert found["points"][0]["return"]["estimate"] == -update


def test_games_name_the_opponent_and_episodes_that_did_not_end_are_counted(monkeypatch, tmp_path, capsys):
    """In the first line what is played, below it how many of the episodes a guard cut, and of each seed for a file."""
    plain = returning(lambda hypers, state: 1.0)

    def evaluate_and_cut(hypers, state, key, num_episodes):
        episodes = plain.spec.evaluate(hypers, state, key, num_episodes)
        return episodes.replace(cut=jnp.arange(num_episodes) < 3)

    spec = plain.spec._replace(evaluate=evaluate_and_cut, evaluated_in="evaluation games against nobody")
    register(monkeypatch, algorithm := plain._replace(spec=spec))
    train(algorithm, out_dir=tmp_path / "run")
    found, printed = evaluated(capsys, tmp_path, tmp_path / "run")
    assert "20 games against nobody of each seed" in printed and "\n  3 of them did not end and were cut off" in printed
    assert [seed["num_cut"] for seed in found["points"][0]["seeds"]] == [3]


@pytest.mark.covers("pass-at-k")
def test_attempts_tell_how_often_one_of_k_is_right(monkeypatch, tmp_path, capsys):
    """Of five prompts answered four times each, one never, one always, the others once, twice and three times."""
    plain = returning(lambda hypers, state: 1.0)
    times = np.array([0, 1, 2, 3, 4])

    def answer(hypers, state, key, num_episodes, sample=False, attempts=1):
        solved = (np.arange(attempts) < times[:, None]).reshape(-1)
        return plain.spec.evaluate(hypers, state, key, num_episodes).replace(solved=jnp.asarray(solved))

    spec = plain.spec._replace(evaluate=answer, evaluated_in="answers")
    register(monkeypatch, algorithm := plain._replace(spec=spec))
    train(algorithm, out_dir=tmp_path / "run")
    found, printed = evaluated(capsys, tmp_path, tmp_path / "run", "--sampled", "--attempts", 4)
    within = found["points"][0]["solved_within"]
    assert within["1"]["estimate"] == pytest.approx(0.5)
    assert within["2"]["estimate"] == pytest.approx(np.mean([0, 3 / 6, 5 / 6, 1, 1]))
    assert within["4"]["estimate"] == pytest.approx(4 / 5)
    assert "\n  solved, pass@2  0.66" in printed


def test_agents_that_cannot(monkeypatch, tmp_path, capsys):
    """Who acts in one way alone cannot sample, who does not act cannot be rendered or evaluated."""
    register(monkeypatch)
    train(out_dir=tmp_path / "run")
    folder = str(tmp_path / "run")
    assert "toy acts in one way alone: drop --sampled." in refused(evaluate.main, capsys, folder, "--sampled")
    register(monkeypatch, toy()._replace(act=None))
    assert "toy does not act: there is nothing to render" in refused(evaluate.main, capsys, folder, "--render", "a.gif")
    register(monkeypatch, toy(evaluates=False))
    assert "toy does not act: there is nothing to evaluate" in refused(evaluate.main, capsys, folder)
