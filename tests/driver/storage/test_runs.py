"""Reading runs: what was written comes back as arrays, what is not a run is refused."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

import purerl
from purerl import files
from purerl.driver.hypers.sweep import grid
from purerl.driver.storage.runs import Metric, read_run
from tests.support.toy import ToyHypers, toy

HEADER = "seed,step,name,value\r\n"


def folder_with(path: pathlib.Path, metrics: str, config: str = "{}") -> pathlib.Path:
    """A run's folder with these files."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(config)
    (path / "metrics.csv").write_bytes(metrics.encode())
    return path


def test_a_run_comes_back_as_it_was_written(tmp_path):
    """Metrics of different steps with gaps, for four seeds, as tidy rows: each table comes back, float for float."""
    random = np.random.default_rng(0)
    tables = {"episode_return": ([10, 20, 30], random.normal(size=(3, 4))), "loss": ([30], random.normal(size=(1, 4)))}
    tables["episode_return"][1][[0, 2], [1, 3]] = np.nan
    rows = [
        (seed, step, name, value)
        for name, (steps, values) in tables.items()
        for step, row in zip(steps, values, strict=True)
        for seed, value in enumerate(row)
        if not np.isnan(value)
    ]
    files.write_csv(tmp_path / "metrics.csv", ["seed", "step", "name", "value"], rows)
    files.write_json(tmp_path / "config.json", {"num_seeds": 4})
    files.write_json(tmp_path / "summary.json", {"title": "ppo on a test", "num_seeds": 4})
    run = read_run(tmp_path)
    assert run.metrics.keys() == tables.keys()
    for name, (steps, values) in tables.items():
        np.testing.assert_array_equal(run.metric(name).steps, steps)
        np.testing.assert_array_equal(run.metric(name).values[:, 0], values)
    assert (run.config, run.summary, run.sweep) == ({"num_seeds": 4}, {"title": "ppo on a test", "num_seeds": 4}, {})
    assert run.title == "ppo on a test"


def test_what_training_writes_can_be_read(tmp_path):
    """Train a sweep of two points and two seeds: its metrics, its fields and its title are those of the result."""
    result = purerl.train(
        toy(),
        grid(ToyHypers(), rate=[0.5, 2.0]),
        jax.random.key(0),
        num_env_steps=40,
        num_seeds=2,
        eval_every=0,
        log_every=20,
        progress=False,
        out_dir=tmp_path / "run",
    )
    run = read_run(tmp_path / "run")
    np.testing.assert_array_equal(run.sweep["rate"], [0.5, 2.0])
    np.testing.assert_array_equal(run.metric("x").steps, result.steps)
    np.testing.assert_allclose(run.metric("x").values, result.metrics["x"], rtol=1e-6)
    np.testing.assert_allclose(run.metric("episode_return").last(), result.final_returns, rtol=1e-6)
    assert run.summary is not None and run.title == result.summary["title"]


@pytest.fixture
def sweep(tmp_path):
    """Three points of a number and a text with a comma, two seeds; seed 1 has no value at the first step."""
    rows = [
        (point, rate, sizes, seed, step, name, value)
        for step in (0, 50)
        for point, (rate, sizes) in enumerate([(1e-4, "(8,)"), (1e-3, "(8,)"), (1e-3, "(8, 8)")])
        for seed in (0, 1)
        for name, value in (("episode_return", 100 * point + 10 * seed + step), ("loss", -0.5))
        if (seed, step) != (1, 0)
    ]
    folder = folder_with(tmp_path, "")
    files.write_csv(
        folder / "metrics.csv", ["point", "learning_rate", "sizes", "seed", "step", "name", "value"], reversed(rows)
    )
    return folder


def test_a_sweep_has_points(sweep):
    """Fields by point, numbers as numbers and text as text; values by step, point and seed, whatever the order of rows;
    a value that is not there is NaN."""
    run = read_run(sweep)
    np.testing.assert_array_equal(run.sweep["learning_rate"], [1e-4, 1e-3, 1e-3])
    assert run.sweep["sizes"].tolist() == ["(8,)", "(8,)", "(8, 8)"]
    steps, values = run.metric("episode_return")
    np.testing.assert_array_equal(steps, [0, 50])
    nan = np.nan
    np.testing.assert_array_equal(values[0], [[0, nan], [100, nan], [200, nan]])
    np.testing.assert_array_equal(values[1], [[50, 60], [150, 160], [250, 260]])
    assert set(run.metrics) == {"episode_return", "loss"}


def test_the_last_value_of_every_trial():
    """The latest one that is there; none for a trial without any."""
    nan = np.nan
    values = np.array([[[1.0, 2.0, nan]], [[3.0, nan, nan]], [[nan, nan, nan]]])
    np.testing.assert_array_equal(Metric(np.arange(3), values).last(), [[3.0, 2.0, nan]])


@pytest.mark.parametrize("cut", range(1, len("1,20,return,-1.25\r\n")))
def test_a_line_that_is_cut_off_is_left_out(tmp_path, cut):
    """The process is killed while it writes the last line: wherever the cut is, no number is half a number."""
    whole = HEADER + "0,10,return,1.5\r\n0,20,return,2.5\r\n1,20,return,-1.25\r\n"
    last = read_run(folder_with(tmp_path, whole[:-cut])).metric("return").values[-1, 0]
    only_the_end_of_line_is_cut = cut == 1  # a carriage return also ends a line
    assert last.tolist() == ([2.5, -1.25] if only_the_end_of_line_is_cut else [2.5])


def test_an_unfinished_run_is_read(tmp_path):
    """No summary: None, and a title from the settings; a value written twice at one step is the later one."""
    config = {"algorithm": "ppo", "settings": {"env": "CartPole-v1"}}
    run = read_run(folder_with(tmp_path, HEADER + "0,10,x,1\n0,10,x,2\n", json.dumps(config)))
    assert run.summary is None and run.title == "ppo on CartPole-v1"
    assert run.metric("x").values.tolist() == [[[2.0]]]


@pytest.mark.filterwarnings("error")
def test_a_run_that_has_just_begun_has_no_metrics(tmp_path):
    """A header alone is read without a warning; asking for a metric says that there is none yet."""
    run = read_run(folder_with(tmp_path, HEADER))
    assert run.metrics == {}
    with pytest.raises(ValueError, match=r"no metric 'eval_return'\. It has none yet"):
        run.metric("eval_return")


def test_who_diverged_is_known_with_a_summary_and_without(tmp_path):
    """As the summary says; else who has nothing in the last two entries: one is what a kill may cut short."""
    rows = [(0, 10), (1, 10), (2, 10), (0, 20), (1, 20), (0, 30), (1, 30), (0, 40)]  # trial 1 is cut short, 2 is gone
    path = folder_with(tmp_path, HEADER + "".join(f"{seed},{step},x,1.0\n" for seed, step in rows))
    np.testing.assert_array_equal(read_run(path).diverged(), [[False, False, True]])
    (path / "summary.json").write_text('{"diverged": [true, false, false]}')
    np.testing.assert_array_equal(read_run(path).diverged(), [[True, False, False]])
    np.testing.assert_array_equal(read_run(folder_with(tmp_path / "new", HEADER)).diverged(), np.zeros((1, 0), bool))


def test_an_unknown_metric_is_met_with_those_there_are(sweep):
    """Folder, name, and the names to choose from."""
    with pytest.raises(ValueError, match=f"{sweep} has no metric 'return'. It has episode_return, loss."):
        read_run(sweep).metric("return")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("", "begins with '', but a run writes"),
        ("time,loss\n1,2\n", "begins with 'time,loss', but a run writes 'seed,step,name,value'"),
        ("point,seed,step,value,name\n", "begins with 'point,seed,step,value,name'"),
        (HEADER + "0,10,x,1.0\n0,twenty,x,1.0\n", "is damaged .*twenty.*: restore it"),
        (HEADER + "0,10,x\n", "is damaged .*3 columns"),
        (HEADER + "0,10,x,1.0\n0,10,x\n", "is damaged .*number of columns"),
    ],
)
def test_a_file_that_is_no_table_of_metrics_is_refused(tmp_path, metrics, message):
    """Another header, a word for a number, missing columns: one line with the file, what is wrong and what to do."""
    with pytest.raises(ValueError, match=message) as refused:
        read_run(folder_with(tmp_path, metrics))
    assert "metrics.csv" in str(refused.value) and "\n" not in str(refused.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    """Nothing there, a file, a missing file, settings that are no JSON: each is named."""
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'nothing'} is not a folder")):
        read_run(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"has no config\.json: give the folder of a run"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"has no metrics\.csv"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        read_run(folder_with(tmp_path, HEADER, "{"))
    with pytest.raises(ValueError, match=r"config\.json holds no settings by name"):
        read_run(folder_with(tmp_path, HEADER, "[]"))
