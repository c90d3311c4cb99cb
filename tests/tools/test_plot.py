"""The command that compares runs, on folders written by hand: figure, table, refusals."""

import pathlib
import re

import numpy as np
import pytest

from purerl import files
from purerl.analysis.statistics import interval, probability_of_improvement, stratified_bootstrap
from purerl.tools import plot

GOOD, BAD = np.array([[1.0, 2.0, 3.0], [7.0, 9.0, 8.0]]), np.array([[1.0, 1.0], [2.0, 8.0]])


def write_run(folder: pathlib.Path, returns: np.ndarray, name: str = "eval_return", env: str = "CartPole-v1") -> str:
    """A run of one metric ``[K, S]``, every 1000 steps."""
    rows = [(seed, 1000 * k, name, value) for k, row in enumerate(returns.tolist()) for seed, value in enumerate(row)]
    files.write_json(folder / "config.json", {"algorithm": "ppo", "settings": {"env": env}})
    files.write_csv(folder / "metrics.csv", ["seed", "step", "name", "value"], rows)
    return str(folder)


@pytest.fixture
def runs(tmp_path) -> list[str]:
    """Two runs on one environment."""
    return [write_run(tmp_path / "good", GOOD), write_run(tmp_path / "bad", BAD)]


@pytest.fixture
def sweep(tmp_path) -> str:
    """A sweep of four points, two seeds, whose last return is ten times the point's number; point 1 has none."""
    rows = [
        (p, 10.0**-p, seed, step, "eval_return", 10.0 * p + seed)
        for p in (0, 1, 2, 3)
        for seed in (0, 1)
        for step in (0, 50)
    ]
    rows = [row if row[0] != 1 else (*row[:4], "loss", 0.0) for row in rows]
    header = ["point", "learning_rate", "seed", "step", "name", "value"]
    files.write_json(tmp_path / "sweep" / "config.json", {"algorithm": "ppo", "settings": {"env": "CartPole-v1"}})
    files.write_csv(tmp_path / "sweep" / "metrics.csv", header, rows)
    return str(tmp_path / "sweep")


@pytest.fixture
def drawn(monkeypatch) -> list:
    """Figures that are saved from now on."""
    figures: list = []
    save = plot.plots.save
    monkeypatch.setattr(plot.plots, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def refused(capsys, *arguments) -> str:
    """What is printed by a command line that ends with status 2, in one line."""
    with pytest.raises(SystemExit) as exit_:
        plot.main(list(arguments))
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" or "│" in printed.out
    return re.sub(r"[\s│]+", " ", printed.out + printed.err)


def test_two_runs_are_compared(runs, tmp_path, capsys, drawn):
    """The image; a line a run with its seeds, steps and interval; the probability that one beats the other."""
    out = tmp_path / "figure.png"
    plot.main([*runs, "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    header, good, bad, improvement, wrote = capsys.readouterr().out.splitlines()
    assert "last eval_return" in header
    assert good.split(maxsplit=3) == ["good", "3", "1,000", str(interval(GOOD[-1]))]
    assert bad.split(maxsplit=3) == ["bad", "2", "1,000", str(interval(BAD[-1]))]
    expected = stratified_bootstrap(probability_of_improvement, GOOD[-1], BAD[-1])
    assert improvement.endswith(f"good ends higher than one of bad: {expected}") and expected.estimate == 0.75
    assert wrote == f"wrote {out}"
    (axes,) = drawn[0].axes
    assert [line.get_label() for line in axes.lines] == [
        "good (3 seeds)",
        "bad (2 seeds)",
    ] and axes.get_title() == "ppo on CartPole-v1"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, 8.0])


def test_runs_are_called_by_what_tells_them_apart(tmp_path, runs, drawn, capsys):
    """Titles, where they differ; names of folders; whole paths; or the labels that are given."""
    other = write_run(tmp_path / "other" / "good", GOOD, env="Acrobot-v1")
    for folders, labels in (
        ([runs[0], other], ["ppo on CartPole-v1", "ppo on Acrobot-v1"]),
        (runs, ["good", "bad"]),
        ([*runs, other], [*runs, other]),
        ([*runs, "--labels", "A", "B"], ["A", "B"]),
        (runs[:1], ["ppo on CartPole-v1"]),
    ):
        plot.main([*folders, "--out", str(tmp_path / "figure.png")])
        figure = drawn.pop()
        assert [line.get_label().partition(" (")[0] for line in figure.axes[0].lines] == labels
        assert ("probability" in capsys.readouterr().out) == (len(labels) == 2)


def test_diverged_seeds_are_not_in_the_mean_and_stand_beside_it(tmp_path, drawn, capsys):
    """A seed whose log ends before that of the others, also while there is no summary yet: what it had before is not
    how it ended."""
    returns = np.array([[1.0, 2.0, 9.0], [2.0, 4.0, np.nan], [3.0, 5.0, np.nan]])
    plot.main([write_run(tmp_path / "run", returns), "--out", str(tmp_path / "figure.png")])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith(interval([3.0, 5.0, np.nan]).text("diverged")) and "1 of 3 seeds diverged" in line
    assert drawn[0].axes[0].lines[0].get_label() == "ppo on CartPole-v1, 1 diverged"


def test_training_returns_stand_in_for_evaluations(tmp_path, runs, capsys):
    """One run without evaluations: both are drawn by a metric that both have, or the run is named that has none."""
    training = write_run(tmp_path / "training", GOOD, name="episode_return")
    plot.main([training, "--out", str(tmp_path / "figure.png"), "--smooth", "2"])
    assert "last episode_return" in capsys.readouterr().out
    message = refused(capsys, training, runs[0], "--out", str(tmp_path / "both.png"))
    assert f"{runs[0]} has no metric 'episode_return'. It has eval_return." in message
    assert not (tmp_path / "both.png").exists()


def test_a_sweep_gives_a_curve_for_each_of_its_best_points(sweep, runs, tmp_path, capsys, drawn):
    """Points by their last values, called by their fields; as many as are asked for, and the rest is mentioned."""
    plot.main([sweep, "--out", str(tmp_path / "figure.png"), "--max-points", "2"])
    labels = [line.get_label() for line in drawn[0].axes[0].lines]
    assert labels == ["learning_rate=0.001", "learning_rate=0.01"]
    printed = capsys.readouterr().out
    assert f"{sweep}: a sweep of 4 points, of which the 2 with the highest last values" in printed
    assert "--max-points 4 shows all" in printed
    plot.main([sweep, runs[0], "--labels", "S", "G", "--out", str(tmp_path / "figure.png")])
    assert [line.get_label().partition(" (")[0] for line in drawn[1].axes[0].lines] == [
        *(f"S: learning_rate={rate}" for rate in ("0.001", "0.01", "1", "0.1")),  # the last one has no value
        "G",
    ]


def test_members_of_a_population_are_called_by_what_they_have_become(tmp_path, drawn, capsys):
    """By the last values of their hyperparameters, of each seed; so in the picture of the sweep, too."""
    rows = [
        (p, 0.1 * (p + 1), seed, 50, name, value)
        for p in (0, 1)
        for seed in (0, 1)
        for name, value in (("eval_return", 10.0 * p + seed), ("hyper_rate", 0.5 + p * seed))
    ]
    files.write_json(tmp_path / "run" / "config.json", {"algorithm": "ppo", "population": {"names": ["rate"]}})
    files.write_csv(tmp_path / "run" / "metrics.csv", ["point", "rate", "seed", "step", "name", "value"], rows)
    for kind in ("curves", "sweep"):
        plot.main([str(tmp_path / "run"), "--out", str(tmp_path / "figure.png"), "--kind", kind])
    curves, sweep = drawn
    assert [line.get_label() for line in curves.axes[0].lines] == ["rate=0.5..1.5", "rate=0.5"]
    assert sorted(sweep.axes[0].containers[0][0].get_xdata()) == [0.5, 1.5]
    assert "rate=0.1" not in capsys.readouterr().out


def test_points_that_read_alike_are_numbered(tmp_path, drawn):
    """Two points of the same rounded values and another one: the two have their numbers."""
    rows = [(p, 0.1 + x, 0, 0, "eval_return", -p) for p, x in enumerate((0.0, 1e-9, 0.1))]
    files.write_json(tmp_path / "config.json", {})
    files.write_csv(tmp_path / "metrics.csv", ["point", "rate", "seed", "step", "name", "value"], rows)
    plot.main([str(tmp_path), "--out", str(tmp_path / "figure.png")])
    labels = [line.get_label() for line in drawn[0].axes[0].lines]
    assert labels == ["rate=0.1 (point 0)", "rate=0.1 (point 1)", "rate=0.2"]


@pytest.mark.parametrize(("kind", "num_axes"), [("profiles", 1), ("intervals", 2)])
def test_other_kinds_draw_the_last_values(runs, tmp_path, drawn, kind, num_axes):
    """Profiles and bars, labelled by the metric."""
    plot.main([*runs, "--kind", kind, "--out", str(tmp_path / "figure.png")])
    assert len(drawn[0].axes) == num_axes
    assert drawn[0].axes[0].get_xlabel().startswith("last eval return")


def test_a_sweep_is_drawn_against_its_fields(sweep, runs, tmp_path, capsys, drawn):
    """One panel per field, of exactly one sweep."""
    plot.main([sweep, "--kind", "sweep", "--out", str(tmp_path / "figure.png")])
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["learning_rate"]
    capsys.readouterr()
    for folders in (runs[:1], [sweep, runs[0]]):
        assert "--kind sweep draws one sweep" in refused(capsys, *folders, "--kind", "sweep", "--out", "x.png")


def test_what_cannot_be_drawn_is_said_in_a_line(runs, sweep, tmp_path, capsys):
    """Status 2, and what is wrong: no folder, no run, twice the same, labels, numbers, metrics, endings."""
    out = ("--out", str(tmp_path / "figure.png"))
    for arguments, message in (
        (out, "give the folder of at least one run"),
        ((runs[0],), "--out"),
        (("nothing-here", *out), "plot: nothing-here is not a folder"),
        ((str(tmp_path), *out), "has no config.json: give the folder of a run"),
        ((runs[0], runs[0], *out), f"two curves are called '{runs[0]}'"),
        ((*runs, "--labels", "A", *out), "1 labels for 2 folders"),
        ((*runs, "--labels", "A", "A", *out), "two curves are called 'A'"),
        ((runs[0], "--smooth", "0", *out), "plot: --smooth 0: it must be at least 1."),
        ((runs[0], "--metric", "loss", *out), "has no metric 'loss'. It has eval_return."),
        ((sweep, "--kind", "profiles", *out), "learning_rate=0.1 has no value of eval_return"),
        ((runs[0], "--out", str(tmp_path / "figure.abc")), "cannot be written as .abc"),
    ):
        assert message in refused(capsys, *arguments), arguments
    assert not list(tmp_path.glob("figure*"))


def test_an_unfinished_run_without_metrics_is_named(tmp_path, capsys):
    """A run that has just begun: which one, and that it has logged nothing."""
    folder = write_run(tmp_path / "begun", np.zeros((0, 2)))
    message = refused(capsys, folder, "--out", str(tmp_path / "x.png"))
    assert f"{folder} has no metric 'episode_return'. It has none yet" in message


def test_help_has_an_example(capsys):
    """Status 0, a command line to copy, and every flag."""
    with pytest.raises(SystemExit) as exit_:
        plot.main(["--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0 and "purerl plot runs/ppo/" in text
    for flag in ("--out", "--metric", "--labels", "--kind", "--smooth", "--max-points"):
        assert flag in text
