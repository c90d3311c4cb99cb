"""The driver, on a learner that only counts and draws: what it runs, what it records, what it refuses."""

import itertools
import json
import pathlib
import signal
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from purerl import xla
from purerl.algorithm import Algorithm
from purerl.driver import PBT, Interrupted, TrainResult, grid, linear
from purerl.driver.running import loop
from purerl.driver.storage.checkpoint import Checkpoints
from tests.support.toy import (
    KEY,
    ToyHypers,
    assert_same,
    assert_same_results,
    config_of,
    quietly,
    rows,
    toy,
    toy_of_returns,
    train,
)


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
    # An episode's return is the number of updates and a draw in [0, 1), of which five are averaged.
    np.testing.assert_array_equal(np.floor(result.eval_returns), [[0] * 3, [4] * 3, [8] * 3])
    assert len(set(result.eval_returns.ravel() % 1)) == 9  # every seed and every evaluation draws anew


@pytest.mark.parametrize("options", [{"log_every": 30, "eval_every": 10}, {}])
def test_logging_and_evaluating_change_no_training(run, options):
    """However often one looks, the final states are the same, bit for bit."""
    assert_same(train(num_seeds=3, **options).states, run[0].states)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_seed_does_not_depend_on_how_many_there_are(run, num_seeds):
    """Seed i of fewer seeds is seed i of more."""
    states = train(num_seeds=num_seeds).states
    assert_same(states, jax.tree.map(lambda x: x[:num_seeds], run[0].states))


def test_updates_get_keys_of_their_own(run):
    """The walk's increments differ between updates: log every update and difference."""
    x = train(num_seeds=3, log_every=10).metrics["x"]
    increments = np.diff(x, axis=0, prepend=0.0)
    assert len(np.unique(increments.round(6))) == 8 * 3
    np.testing.assert_allclose(x[-1], run[0].states.x, rtol=1e-6)


def test_no_evaluation(pictures):
    """``eval_every=0`` and an algorithm without ``evaluate`` alike: nothing is evaluated, training returns stand in."""
    for result in (train(log_every=10), train(toy(evaluates=False), eval_every=None, log_every=10)):
        assert result.eval_steps.size == result.eval_returns.size == 0
        assert result.summary["final_return_is"] == "training return"
        assert result.final_return.estimate == pytest.approx(float(result.metrics["episode_return"][-1, 0]))
        # An episode ends in every second update: in between there is no data, which is not a number.
        np.testing.assert_array_equal(np.isnan(result.metrics["episode_return"][:, 0]), [True, False] * 4)
        assert len(result.plot().axes[0].lines) == 2


def test_an_algorithm_without_episodes_keeps_its_results(tmp_path, pictures):
    """Neither evaluation nor episodes: no curve, and a plot says so; every other file is there."""
    result = train(toy(evaluates=False, finishes_episodes=False), out_dir=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "metrics.csv", "summary.json", "checkpoints"}
    assert not (tmp_path / "curve.png").exists()
    assert np.isnan(result.final_return.estimate)
    with pytest.raises(ValueError, match="no curve to draw"):
        result.plot()


# --- sweeps, schedules, populations ------------------------------------------------------------------------


RATES = [0.5, 2.0, 1.0]
SWEEP_OPTIONS = {"hypers": grid(ToyHypers(), rate=RATES), "num_seeds": 2, "log_every": 20}


def counting(traces: list) -> Algorithm:
    """The toy, with a note for every trace of its update."""
    algorithm = toy()

    def update(hypers, state, key):
        traces.append(None)
        return algorithm.update(hypers, state, key)

    return algorithm._replace(update=update)


@pytest.fixture(scope="module")
def sweep() -> tuple[TrainResult, int]:
    """Three rates of two seeds, and how often the update was traced."""
    traces: list = []
    return train(counting(traces), **SWEEP_OPTIONS), len(traces)


def test_a_sweep_is_one_program(sweep):
    """The update is traced for a sweep of three as often as for a lone run."""
    traces: list = []
    train(counting(traces))
    assert sweep[1] == len(traces) > 0


@pytest.mark.parametrize("trials_at_once", [1, None])
def test_every_trial_of_a_sweep_is_a_lone_run(sweep, trials_at_once):
    """Points come first, seeds second; seed s at point p is seed s of a run with the hyperparameters of p: bit for bit
    one at a time, and as the toy rounds alike everywhere, side by side too."""
    result = train(**SWEEP_OPTIONS, trials_at_once=trials_at_once)
    assert result.states.x.shape == (3, 2) and result.metrics["x"].shape == (4, 3, 2)
    np.testing.assert_array_equal(result.hypers.rate, [[rate] * 2 for rate in RATES])
    for p, rate in enumerate(RATES):
        lone = train(hypers=ToyHypers(rate=rate), num_seeds=2, log_every=20)
        assert_same(jax.tree.map(lambda leaf, p=p: leaf[p], result.states), lone.states)
        assert_same({name: values[:, p] for name, values in result.metrics.items()}, lone.metrics)
        np.testing.assert_array_equal(result.final_returns[p], lone.final_returns)


def test_a_schedule_reaches_every_update_and_evaluation():
    """Update t has the rate of progress t / 8, an evaluation after t updates too; without drift, for two points."""
    result = train(
        **{**SWEEP_OPTIONS, "log_every": 10, "eval_every": 20, "num_eval_episodes": 2},
        schedules={"rate": linear(0.0)},
    )
    updates = np.array(RATES) * (1 - np.arange(8) / 8)[:, None]
    np.testing.assert_allclose(result.metrics["rate"], np.repeat(updates[..., None], 2, axis=2), rtol=1e-6)
    np.testing.assert_array_equal(result.hypers.rate, [[rate] * 2 for rate in RATES])  # where the schedules begin


def test_an_evaluation_has_the_schedule_of_its_moment(tmp_path):
    """The toy's episodes are as long as its rate: those of evaluations after 0, 2, ... 8 updates."""
    train(eval_every=20, num_eval_episodes=2, schedules={"rate": linear(0.0)}, out_dir=tmp_path)
    lengths = [float(row["value"]) for row in rows(tmp_path) if row["name"] == "eval_length"]
    np.testing.assert_allclose(lengths, [1.0, 0.75, 0.5, 0.25, 0.0], atol=1e-7)


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> tuple[TrainResult, pathlib.Path]:
    """Four rates of two seeds that evolve every two updates."""
    folder = tmp_path_factory.mktemp("population")
    pbt = PBT(every=20, names=("rate",), fraction=0.25, factors=(0.5,))
    options = {"num_seeds": 2, "log_every": 20, "eval_every": 40, "num_eval_episodes": 2}
    algorithm, sweep = toy_of_returns(lambda state: state.x), grid(ToyHypers(), rate=[1.0, 2.0, 4.0, 8.0])
    return train(algorithm, sweep, population=pbt, **options, out_dir=folder), folder


def test_a_population_copies_the_best_of_its_seed(population):
    """By the log: at each selection the worst trial of each seed has the best one for parent, and half its rate; the
    others keep theirs. Returns are those of that very step."""
    result, folder = population
    table = {
        (int(row["step"]), row["name"], int(row["seed"]), int(row["point"])): float(row["value"])
        for row in rows(folder)
    }
    assert {step for step, name, *_ in table if name == "parent"} == {20, 40, 60}
    for seed in range(2):
        rates = np.array([1.0, 2.0, 4.0, 8.0])
        for step in (20, 40, 60):
            returns = [table[step, "eval_return", seed, point] for point in range(4)]
            parents = [table[step, "parent", seed, point] for point in range(4)]
            worst, best = int(np.argmin(returns)), int(np.argmax(returns))
            expected = np.arange(4.0)
            rates[worst], expected[worst] = rates[best] / 2, best
            assert parents == expected.tolist()
            assert [table[step, "hyper_rate", seed, point] for point in range(4)] == rates.tolist()
        np.testing.assert_array_equal(result.hypers.rate[:, seed], rates)


def test_a_population_is_recorded(population):
    """How it evolves is in the settings and in the summary; every seed of a point has rates of its own."""
    result, folder = population
    written = {"every": 20, "names": ["rate"], "fraction": 0.25, "factors": [0.5], "bounds": {}}
    assert config_of(folder)["population"] == json.loads((folder / "summary.json").read_text())["population"] == written
    assert result.best().hypers.rate.shape == (2,)


# --- pieces and interruptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_where_pieces_are_cut_changes_nothing(run, tmp_path, monkeypatch, seconds):
    """One update a piece, or as many as there are between two entries: states, curves and the log, byte for byte."""
    result, folder = run
    monkeypatch.setattr(loop, "_PIECE_SECONDS", seconds)
    other = train(num_seeds=3, log_every=20, eval_every=40, num_eval_episodes=5, out_dir=tmp_path)
    assert_same_results(other, result)
    assert (tmp_path / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()


def test_an_interrupted_run_without_a_folder_says_that_nothing_was_saved(monkeypatch):
    """The signal comes at step 20: Interrupted, which is a KeyboardInterrupt, with the step."""
    look = loop._look

    def look_and_signal(engine, *arguments):
        look(engine, *arguments)
        if engine.update == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "_look", look_and_signal)
    with pytest.raises(
        Interrupted, match="interrupted at step 20; nothing was saved, for there is no out_dir"
    ) as stopped:
        train(log_every=20)
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert (stopped.value.signal, stopped.value.folder) == (signal.SIGINT, None)


def test_a_run_that_is_interrupted_at_its_end_says_how_to_have_its_results(tmp_path, monkeypatch):
    """While the results are written: what was trained is saved, and the same run resumed has them."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="resume it to have them") as stopped:
        patch.setattr(loop, "result_of", interrupt)
        train(num_env_steps=20, out_dir=tmp_path)
    assert (stopped.value.signal, stopped.value.folder) == (signal.SIGINT, tmp_path)
    assert quietly(train, num_env_steps=20, out_dir=tmp_path, resume=True).summary["num_env_steps_run"] == 0
    assert (tmp_path / "summary.json").exists()


def test_a_run_that_is_broken_off_keeps_its_log(tmp_path, monkeypatch):
    """An error after the second entry: metrics.csv has both, the error goes on, there is no summary, the folder can be
    claimed again and the run resumed."""

    def update(bar, num_env_steps, *shown):
        if num_env_steps == 40:
            raise KeyError("broken")

    with monkeypatch.context() as patch, pytest.raises(KeyError, match="broken"):
        patch.setattr(loop.Progress, "update", update)
        train(log_every=20, out_dir=tmp_path)
    assert {int(row["step"]) for row in rows(tmp_path)} == {20, 40}
    assert (tmp_path / "config.json").exists() and not (tmp_path / "summary.json").exists()
    with pytest.warns(UserWarning, match="no checkpoint yet"):
        train(log_every=20, out_dir=tmp_path, resume=True)
    assert (tmp_path / "summary.json").exists()


# --- what is recorded -------------------------------------------------------------------------------------


def test_metrics_csv_is_tidy_and_complete(run):
    """Every number of the result is one row, seeds, steps and names in columns, exactly; besides there are the spread
    of each evaluation, and nothing else."""
    result, folder = run
    found = rows(folder)
    table = {(int(row["seed"]), int(row["step"]), row["name"]): float(row["value"]) for row in found}
    spread = [f"eval_{what}{which}" for what in ("return", "length") for which in ("", "_std", "_p05", "_p50", "_p95")]
    assert {row["name"] for row in found} == {*result.metrics, *spread}
    assert len(table) == len(found) == 3 * (4 * len(result.metrics) + 3 * len(spread))
    for seed in range(3):
        for name, values in result.metrics.items():
            for step, value in zip(result.steps, values[:, seed], strict=True):
                assert table[seed, step, name] == value
        for step, value in zip(result.eval_steps, result.eval_returns[:, seed], strict=True):
            assert table[seed, step, "eval_return"] == value
            assert table[seed, step, "eval_length"] == 1
            low, middle, high = (table[seed, step, f"eval_return_{p}"] for p in ("p05", "p50", "p95"))
            assert low < middle < high and table[seed, step, "eval_return_std"] > 0
    assert [int(row["step"]) for row in found] == sorted(int(row["step"]) for row in found)


def test_trials_that_diverged_are_counted_in_the_log():
    """From the first of them on; before, no row says anything."""
    engine = SimpleNamespace(frozen={}, job=SimpleNamespace(trials=SimpleNamespace(num_trials=3)))
    assert loop._diverged(engine) == {}
    engine.frozen = {1: "report"}
    assert {name: row.tolist() for name, row in loop._diverged(engine).items()} == {"num_diverged": [0.0, 1.0, 0.0]}


def test_no_row_where_there_was_no_data(tmp_path):
    """With an entry per update, the updates in which no episode ended have no row for the episodes."""
    train(log_every=10, out_dir=tmp_path)
    found = rows(tmp_path)
    assert [int(row["step"]) for row in found if row["name"] == "episode_return"] == [20, 40, 60, 80]
    assert [int(row["step"]) for row in found if row["name"] == "x"] == list(range(10, 90, 10))


def test_summary_and_config(run):
    """Both files hold what a reader needs to repeat the run and to judge it."""
    result, folder = run
    summary, config = json.loads((folder / "summary.json").read_text()), config_of(folder)
    assert summary == result.summary
    assert summary["title"] == "toy on nowhere"
    assert summary["final_return"]["estimate"] == pytest.approx(np.mean(result.eval_returns[-1]), abs=1e-6)
    assert summary["final_return"]["low"] <= summary["final_return"]["estimate"] <= summary["final_return"]["high"]
    np.testing.assert_allclose(summary["final_return_of_each_seed"], result.eval_returns[-1], rtol=1e-6)
    for name in ("trace", "compile", "run", "eval", "log", "checkpoint"):
        assert summary[f"{name}_seconds"] > 0, name
    for name in ("env_steps_per_second", "peak_bytes", "bytes_per_trial", "trials_on_device", "num_blocks"):
        assert summary[name] > 0, name
    assert config["algorithm"] == "toy" and config["settings"] == {"env": "nowhere", "sizes": [1, 2]}
    assert config["hypers"] == {"rate": 1.0, "limit": None, "calm": 0}  # JSON has no infinity
    assert config["key"] == jax.random.key_data(KEY).tolist()
    assert (config["num_env_steps"], config["num_seeds"], config["eval_every"], config["log_every"]) == (80, 3, 40, 20)
    assert config["versions"]["jax"] == jax.__version__
    assert jax.default_backend() in config["device"]


def test_other_files(run):
    """An image, events of each seed, the last checkpoint; and no temporary file beside them."""
    _, folder = run
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [len(list((folder / "tensorboard" / f"seed_{i}").glob("events.*"))) for i in range(3)] == [1, 1, 1]
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == [8]
    names = {"config.json", "metrics.csv", "summary.json", "curve.png", "tensorboard", "checkpoints"}
    assert {path.name for path in folder.iterdir()} - {".lock"} == names


def test_a_second_run_is_refused_unless_it_may_overwrite(tmp_path):
    """The same folder again: refused, nothing changes; allowed to overwrite, everything there is of the second run,
    and what somebody else has put there stays."""
    options = {"num_env_steps": 20, "out_dir": tmp_path}
    first = train(**options, num_seeds=2)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"{tmp_path} holds a run already: resume it, choose another folder, or allow"):
        train(**options)
    assert json.loads((tmp_path / "summary.json").read_text()) == first.summary
    train(**options, overwrite=True)
    assert config_of(tmp_path)["num_seeds"] == 1
    assert {row["seed"] for row in rows(tmp_path)} == {"0"}
    assert [path.parent.name for path in (tmp_path / "tensorboard").glob("*/events.*")] == ["seed_0"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_files_of_a_sweep(sweep, tmp_path, pictures):
    """Rows know their point and its values; a picture of the returns against what was swept; a ranked table."""
    folder = tmp_path / "sweep"
    result = train(**SWEEP_OPTIONS, out_dir=folder)
    assert_same_results(result, sweep[0])
    for row in rows(folder):
        assert float(row["rate"]) == RATES[int(row["point"])]
        if row["name"] == "rate":
            assert row["value"] == row["rate"]
    assert {(row["point"], row["seed"]) for row in rows(folder)} == {
        (str(p), str(s)) for p, s in itertools.product(range(3), range(2))
    }
    assert (folder / "sweep.png").exists() and config_of(folder)["sweep"] == {"rate": RATES}
    points = json.loads((folder / "summary.json").read_text())["points"]
    assert [point["values"] for point in points] == [point.values for point in result.table()]


def test_plot_shows_the_result(run, tmp_path, pictures):
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
            patch.setattr(loop.Engine, "compile", stop)
            train(**options)

    return train_and_stop


def test_rounding_is_said_and_recorded(capsys, stops_before_running):
    """75 steps become 8 updates of 10: a warning, or a line beside the progress bar; the summary has both numbers."""
    with pytest.warns(UserWarning, match=r"75 environment steps .* updates of 10: running 8 updates, 80 steps") as said:
        result = train(num_env_steps=75)
    assert len(said) == 1
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


def test_deadlock_is_warned_of_with_its_remedy(monkeypatch, stops_before_running):
    """On an affected jaxlib without the flag, several seeds warn, once a run, naming the flag; a lone seed does not."""
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(xla, "jaxlib_can_deadlock", lambda: True)
    monkeypatch.setattr(xla, "has_deadlock_remedy", lambda: False)
    with pytest.warns(UserWarning, match="can deadlock") as said:
        stops_before_running(num_seeds=2)
    assert [pathlib.Path(warning.filename).name for warning in said] == ["toy.py"]
    assert xla.SEQUENTIAL_SCHEDULER in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stops_before_running(num_seeds=1)
        monkeypatch.setattr(xla, "has_deadlock_remedy", lambda: True)
        stops_before_running(num_seeds=2)


def test_programs_are_compiled_at_the_level_that_is_asked_for(stops_before_running, monkeypatch):
    """``optimization_level`` reaches the compiler's options of every program."""
    given = []
    monkeypatch.setattr(loop, "Timer", given.append)
    stops_before_running(optimization_level=3)
    assert given == [xla.compiler_options(jax.default_backend(), 3)]


def test_words_of_evaluated_episodes_are_printed(capsys):
    """Of the first trial, at every evaluation, with the step in front; without a progress bar nothing is."""
    algorithm = toy()

    def evaluate(*arguments):
        episodes = algorithm.spec.evaluate(*arguments)
        return episodes.replace(shown=episodes.returns[:2])

    spec = algorithm.spec._replace(evaluate=evaluate, words=lambda shown: [f"played {len(shown)}"])
    told = algorithm._replace(spec=spec)
    options = {"num_env_steps": 20, "num_seeds": 2, "eval_every": 10}
    assert_same_results(train(told, **options), train(algorithm, **options))
    assert capsys.readouterr().err == ""
    quietly(train, told, **options, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(("step ", "  played"))] == [
        line for step in (0, 10, 20) for line in (f"step {step}:", "  played 2")
    ]
