"""The driver, on a learner that only counts and draws: what it runs, what it records, what it refuses."""

import csv
import json
import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import xla
from purerl.train import TrainResult, checkpoint, loop
from tests.train.toy import ToyHypers, ToyState, toy

KEY = jax.random.key(0)


def train(algorithm=None, hypers=None, **options) -> TrainResult:
    """Eight updates in silence, without evaluation (which would compile as long as the rest), unless told otherwise."""
    options = {"num_env_steps": 80, "eval_every": 0, "progress": False} | options
    return purerl.train(algorithm or toy(), hypers or ToyHypers(), KEY, **options)


def assert_same_states(a: ToyState, b: ToyState) -> None:
    a, b = (state.replace(key=jax.random.key_data(state.key)) for state in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[TrainResult, pathlib.Path]:
    """Three seeds, 8 updates, a log entry every two, an evaluation every four, and all files."""
    folder = tmp_path_factory.mktemp("runs") / "toy" / "first"
    return train(num_seeds=3, log_every=20, eval_every=40, num_eval_episodes=5, out_dir=folder), folder


# --- what is computed -------------------------------------------------------------------------------------


def test_metrics_are_means_since_the_last_entry(run):
    """Update t reports t: entries of two updates are their means; a mean over episodes weighs each once."""
    result, _ = run
    np.testing.assert_array_equal(result.steps, [20, 40, 60, 80])
    np.testing.assert_array_equal(result.metrics["number"], np.repeat([[0.5], [2.5], [4.5], [6.5]], 3, axis=1))
    np.testing.assert_array_equal(result.states.num_updates, [8, 8, 8])
    # The one episode of every entry ended in its second update, with the return x of that moment.
    np.testing.assert_allclose(result.metrics["episode_return"][-1], result.states.x, rtol=1e-6)


def test_evaluation_stands_at_the_start_and_the_end(run):
    """Evaluations at 0, every 40 steps and the end; their return is that of the agent of that moment."""
    result, _ = run
    np.testing.assert_array_equal(result.eval_steps, [0, 40, 80])
    np.testing.assert_array_equal(np.floor(result.eval_returns), [[0] * 3, [4] * 3, [8] * 3])
    assert len(set(result.eval_returns.ravel() % 1)) == 9  # every seed and every evaluation draws anew


@pytest.mark.parametrize("options", [{"log_every": 30, "eval_every": 10}, {}])
def test_logging_and_evaluating_change_no_training(run, options):
    """However often one looks, the final states are the same, bit for bit."""
    assert_same_states(train(num_seeds=3, **options).states, run[0].states)


@pytest.mark.parametrize("seeds_at_once", [1, 2])
def test_seeds_at_once_give_the_same_runs(run, seeds_at_once):
    """Seeds that wait their turn, in blocks that fit or do not: the same states, metrics and evaluations."""
    result, _ = run
    other = train(num_seeds=3, seeds_at_once=seeds_at_once, log_every=20, eval_every=40, num_eval_episodes=5)
    assert_same_states(other.states, result.states)
    np.testing.assert_allclose(other.eval_returns, result.eval_returns, rtol=1e-6)
    for name, values in result.metrics.items():
        np.testing.assert_allclose(other.metrics[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_seed_does_not_depend_on_how_many_there_are(run, num_seeds):
    """Seed i of fewer seeds is seed i of more."""
    states = train(num_seeds=num_seeds).states
    assert_same_states(states, jax.tree.map(lambda x: x[:num_seeds], run[0].states))


def test_seed_keys():
    """Keys of seeds are distinct, the first ones of any number are the same, and another root gives others."""
    few, many = (jax.random.key_data(loop.seed_keys(KEY, n)) for n in (2, 50))
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(many, axis=0)) == 50
    assert not np.any(np.all(jax.random.key_data(loop.seed_keys(jax.random.key(1), 2)) == few, axis=1))


def test_updates_get_keys_of_their_own(run):
    """The walk's increments differ between updates: log every update and difference."""
    x = train(num_seeds=3, seeds_at_once=7, log_every=10).metrics["x"]
    increments = np.diff(x, axis=0, prepend=0.0)
    assert len(np.unique(increments.round(6))) == 8 * 3
    np.testing.assert_allclose(x[-1], run[0].states.x, rtol=1e-6)


def test_no_evaluation():
    """``eval_every=0`` and an algorithm without ``evaluate`` alike: nothing is evaluated, training returns stand in."""
    for result in (train(log_every=10), train(toy(evaluates=False), eval_every=None, log_every=10)):
        assert result.eval_steps.size == result.eval_returns.size == 0
        assert result.summary["final_return_is"] == "training return"
        assert result.final_return.estimate == pytest.approx(float(result.metrics["episode_return"][-1, 0]))
        # An episode ends in every second update: in between there is no data, which is not a number.
        np.testing.assert_array_equal(np.isnan(result.metrics["episode_return"][:, 0]), [True, False] * 4)
        assert len(result.plot().axes[0].lines) == 2


def test_an_algorithm_without_episodes_keeps_its_results(tmp_path):
    """Neither evaluation nor episodes: no curve, and a plot says so; every other file is there."""
    result = train(toy(evaluates=False, finishes_episodes=False), out_dir=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "metrics.csv", "summary.json", "checkpoint"}
    assert not (tmp_path / "curve.png").exists()
    assert np.isnan(result.final_return.estimate)
    with pytest.raises(ValueError, match="no curve to draw"):
        result.plot()


# --- what is recorded -------------------------------------------------------------------------------------


def test_metrics_csv_is_tidy_and_complete(run):
    """Every number of the result is one row, seeds, steps and names in columns; nothing else is in the file."""
    result, folder = run
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = {(int(row["seed"]), int(row["step"]), row["name"]): float(row["value"]) for row in rows}
    assert len(table) == len(rows) == 3 * (3 * 4 + 2 * 3)
    for seed in range(3):
        for name, values in result.metrics.items():
            for step, value in zip(result.steps, values[:, seed], strict=True):
                assert table[seed, step, name] == pytest.approx(value)
        for step, value in zip(result.eval_steps, result.eval_returns[:, seed], strict=True):
            assert table[seed, step, "eval_return"] == pytest.approx(value)
            assert table[seed, step, "eval_length"] == 3
    assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)


def test_no_row_where_there_was_no_data(tmp_path):
    """With an entry per update, the updates in which no episode ended have no row for the episodes."""
    train(log_every=10, out_dir=tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["name"] == "episode_return"] == [20, 40, 60, 80]
    assert [int(row["step"]) for row in rows if row["name"] == "x"] == list(range(10, 90, 10))


def test_summary_and_config(run):
    """Both files hold what a reader needs to repeat the run and to judge it."""
    result, folder = run
    summary, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert summary == result.summary
    assert summary["title"] == "toy on nowhere"
    assert summary["final_return"]["estimate"] == pytest.approx(np.mean(result.eval_returns[-1]), abs=1e-6)
    assert summary["final_return"]["low"] <= summary["final_return"]["estimate"] <= summary["final_return"]["high"]
    np.testing.assert_allclose(summary["final_return_of_each_seed"], result.eval_returns[-1], rtol=1e-6)
    for name in ("compile_seconds", "run_seconds", "eval_seconds", "env_steps_per_second", "peak_bytes"):
        assert summary[name] > 0, name
    assert config["algorithm"] == "toy" and config["settings"] == {"env": "nowhere", "sizes": [1, 2]}
    assert config["hypers"] == {"rate": 1.0, "limit": None}  # JSON has no infinity
    assert config["key"] == jax.random.key_data(KEY).tolist()
    assert (config["num_env_steps"], config["num_seeds"], config["eval_every"], config["log_every"]) == (80, 3, 40, 20)
    assert config["versions"]["jax"] == jax.__version__
    assert jax.default_backend() in config["device"]


def test_other_files(run):
    """An image, events of each seed, the final states; and no temporary file beside them."""
    result, folder = run
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [len(list((folder / "tensorboard" / f"seed_{i}").glob("events.*"))) for i in range(3)] == [1, 1, 1]
    assert_same_states(checkpoint.load(folder / "checkpoint", result.states), result.states)
    names = {"config.json", "metrics.csv", "summary.json", "curve.png", "tensorboard", "checkpoint"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_second_run_replaces_the_files_of_the_first(run):
    """The same folder again, with other settings: everything there is of the second run."""
    folder = run[1].parent / "again"
    for num_seeds in (2, 1):
        result = train(num_seeds=num_seeds, num_env_steps=20, out_dir=folder)
    assert json.loads((folder / "config.json").read_text())["num_seeds"] == 1
    with (folder / "metrics.csv").open(newline="") as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"0"}
    assert [path.parent.name for path in (folder / "tensorboard").glob("*/events.*")] == ["seed_0"]
    assert_same_states(checkpoint.load(folder / "checkpoint", result.states), result.states)


def test_an_interrupted_run_keeps_its_log(tmp_path, monkeypatch):
    """An interruption after the second entry: metrics.csv has both, the interruption goes on, no summary is written."""

    def update(bar, num_env_steps, mean_return):
        if num_env_steps == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        train(log_every=20, out_dir=tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert {int(row["step"]) for row in csv.DictReader(file)} == {20, 40}
    assert (tmp_path / "config.json").exists() and not (tmp_path / "summary.json").exists()


def test_plot_shows_the_result(run, tmp_path):
    """One thin line per seed, the estimate over the evaluations, a band; written where a path is given."""
    result, _ = run
    axes = result.plot(tmp_path / "new" / "curve.png").axes[0]
    assert len(axes.lines) == 3 + 1
    np.testing.assert_array_equal(axes.lines[-1].get_xdata(), result.eval_steps)
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), result.eval_returns.mean(axis=1), rtol=1e-6)
    assert axes.get_title() == "toy on nowhere" and len(axes.collections) == 1
    assert (tmp_path / "new" / "curve.png").stat().st_size > 0


# --- what is said -----------------------------------------------------------------------------------------


@pytest.fixture
def stops_before_running(monkeypatch):
    """``train`` up to where it would compile, for what is said before."""

    class StoppedError(Exception):
        pass

    def stop(*arguments):
        raise StoppedError

    def train_and_stop(**options):
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            patch.setattr(loop, "_run", stop)
            train(**options)

    return train_and_stop


def test_rounding_is_said_and_recorded(capsys, stops_before_running):
    """75 steps become 8 updates of 10: a warning, or a line beside the progress bar; the summary has both numbers."""
    with pytest.warns(UserWarning, match=r"75 environment steps .* updates of 10: running 8 updates, 80 steps") as said:
        result = train(num_env_steps=75)
    assert [pathlib.Path(warning.filename).name for warning in said] == ["test_loop.py"]
    assert (result.summary["num_env_steps"], result.summary["num_env_steps_requested"]) == (80, 75)
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stops_before_running(num_env_steps=75, progress=True)
    printed = capsys.readouterr()
    assert "running 8 updates, 80 steps" in printed.err and printed.out == ""


def test_whole_updates_say_nothing(capsys):
    """Nothing to round, no progress bar: not a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train()
    assert capsys.readouterr() == ("", "")


def test_a_diverged_seed_is_named_and_the_others_go_on():
    """The seed whose level exceeds the limit turns NaN: one warning with its number; the others match a calm run."""
    calm = train(num_seeds=4)
    levels = np.asarray(calm.states.level)
    worst, limit = int(levels.argmax()), float(np.sort(levels)[-2:].mean())
    with pytest.warns(UserWarning, match=f"Seed {worst} diverged: its .* is not finite by step 10") as said:
        result = train(hypers=ToyHypers(limit=limit), num_seeds=4)
    assert len(said) == 1
    assert pathlib.Path(said[0].filename).name == "test_loop.py"
    others = np.arange(4) != worst
    assert np.isnan(result.states.x[worst])
    np.testing.assert_array_equal(result.states.x[others], calm.states.x[others])
    assert (result.summary["num_diverged"], calm.summary["num_diverged"]) == (1, 0)


def test_deadlock_is_warned_of_with_its_remedy(monkeypatch, stops_before_running):
    """On an affected jaxlib without the flag, several seeds warn, once a run, naming the flag; a lone seed does not."""
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(xla, "jaxlib_can_deadlock", lambda: True)
    monkeypatch.setattr(xla, "has_deadlock_remedy", lambda: False)
    with pytest.warns(UserWarning, match="can deadlock") as said:
        stops_before_running(num_seeds=2)
    assert [pathlib.Path(warning.filename).name for warning in said] == ["test_loop.py"]
    assert xla.SEQUENTIAL_SCHEDULER in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stops_before_running(num_seeds=1)
        monkeypatch.setattr(xla, "has_deadlock_remedy", lambda: True)
        stops_before_running(num_seeds=2)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_env_steps": 0}, "num_env_steps = 0: it must be at least 1"),
        ({"num_seeds": 0}, "num_seeds = 0: it must be at least 1"),
        ({"num_eval_episodes": 0}, "num_eval_episodes = 0: it must be at least 1"),
        ({"seeds_at_once": 0}, "seeds_at_once = 0: it must be at least 1"),
        ({"log_every": 0}, "log_every = 0: it must be at least 1"),
        ({"log_every": -5}, "log_every = -5: it must be at least 1"),
        ({"eval_every": -1}, "eval_every = -1: use 0 for no evaluation"),
        ({"algorithm": toy(evaluates=False), "eval_every": 10}, "toy has nothing to evaluate. Use eval_every=0"),
    ],
)
def test_bad_arguments(options, message):
    """The message names the argument, its value and the way out."""
    with pytest.raises(ValueError, match=message):
        train(**options)


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), loop.seed_keys(KEY, 2), 0, jnp.zeros(())])
def test_only_one_typed_key_will_do(key):
    """A legacy key, several keys, a number and an array are refused with the remedy."""
    with pytest.raises(ValueError, match=r"key must be one typed key, such as jax.random.key\(0\)"):
        purerl.train(toy(), ToyHypers(), key, num_env_steps=10)
