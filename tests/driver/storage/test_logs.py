"""Logs: rows, gaps and arrays against what went in; disks that are full; what TensorBoard and W&B are told."""

import errno
import itertools
import struct
import sys
import types
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from purerl.driver.storage import logs
from purerl.driver.storage.logs import Columns, CsvFile, Log, TensorBoard, WeightsAndBiases

NAN = np.nan
SEEDS = Columns(2, {})
SWEEP = Columns(2, {"rate": np.array([0.5, 2.0, 8.0]), "calm": np.array([1, 2, 3])})


def records(folder) -> Iterator:
    """What the event files in a folder hold; a record is a length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def events(folder) -> list[tuple[int, dict[str, float]]]:
    """Steps and values of the event files in a folder."""
    summaries = [event for event in records(folder) if event.HasField("summary")]
    return [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in summaries]


def purged_from(folder) -> list[int]:
    """Steps from which an event file takes back what earlier ones said."""
    from tensorboardX.proto.event_pb2 import SessionLog

    return [event.step for event in records(folder) if event.session_log.status == SessionLog.START]


# --- columns and memory -----------------------------------------------------------------------------------


def test_columns():
    """A lone run has seeds; a sweep has its points and their values before them, point-major."""
    assert (SEEDS.num_points, SEEDS.num_trials, SWEEP.num_points, SWEEP.num_trials) == (1, 2, 3, 6)
    assert SEEDS.header() == ["seed", "step", "name", "value"]
    assert SWEEP.header() == ["point", "rate", "calm", "seed", "step", "name", "value"]
    assert [SEEDS.prefix(m) for m in range(2)] == [(0,), (1,)]
    values = [(0, 0.5, 1), (1, 2.0, 2), (2, 8.0, 3)]
    assert [SWEEP.prefix(m) for m in range(6)] == [(*value, seed) for value in values for seed in range(2)]
    assert (SEEDS.describe(1), SWEEP.describe(3)) == ("Seed 1", "Seed 1 of point 1 (rate=2.0 calm=2)")


def test_arrays_have_gaps_where_there_was_nothing():
    """Two metrics of different steps share their union of steps; what was not logged is NaN; order is that of steps."""
    log = Log(SEEDS)
    log.add(10, {"a": np.array([1.0, NAN])})
    log.add(20, {"b": np.array([3.0, 4.0]), "a": np.array([NAN, NAN])})
    log.add(30, {"a": np.array([5.0, 6.0])})
    steps, values = log.arrays(["a", "b"])
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(values["a"], [[1, NAN], [NAN, NAN], [5, 6]])
    np.testing.assert_array_equal(values["b"], [[NAN, NAN], [3, 4], [NAN, NAN]])
    np.testing.assert_array_equal(log.arrays(["b"])[0], [20])
    assert log.arrays([])[0].size == 0


def test_last_is_the_last_that_each_trial_has():
    """NaN does not count; a trial or a metric without any value has NaN."""
    log = Log(Columns(3, {}))
    for step, row in ((10, [1.0, 2.0, NAN]), (20, [3.0, NAN, NAN])):
        log.add(step, {"a": np.array(row)})
    np.testing.assert_array_equal(log.last("a"), [3, 2, NAN])
    np.testing.assert_array_equal(log.last("b"), [NAN] * 3)


# --- metrics.csv ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [SEEDS, SWEEP], ids=["seeds", "sweep"])
def test_csv_rows(tmp_path, columns):
    """A header, then a row for each metric and trial in order, none for NaN; numbers come back exactly."""
    log, path = Log(columns), tmp_path / "metrics.csv"
    sink = CsvFile(path, columns)
    log.attach(sink)
    row = np.random.default_rng(0).normal(size=columns.num_trials)
    row[1] = NAN
    log.add(10, {"a": row, "b": row.astype(np.float32)})
    log.write()
    assert sink.size() == path.stat().st_size  # all that was written is there at once
    log.close()
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    assert header == columns.header()
    expected = [
        (*map(str, columns.prefix(m)), "10", name, str(float(value)))
        for name, values in (("a", row), ("b", row.astype(np.float32)))
        for m, value in enumerate(values)
        if m != 1
    ]
    assert [tuple(line) for line in lines] == expected


def test_csv_goes_on_where_it_was(tmp_path):
    """Opened again: no second header, new rows after the old ones."""
    for step in (10, 20):
        sink = CsvFile(tmp_path / "metrics.csv", SEEDS)
        sink.add(step, {"a": np.array([1.0, 2.0])})
        sink.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        *("seed,step,name,value", "0,10,a,1.0", "1,10,a,2.0", "0,20,a,1.0", "1,20,a,2.0")
    ]


class FullDisk:
    """A file that takes ``room`` bytes and then refuses, until it is given more."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 7])
def test_rows_that_a_full_disk_refuses_are_written_later(tmp_path, room):
    """Room for a part of a row: one warning however often it fails, no checkpoint may rely on it, and with room again
    the file is as if nothing had been."""
    row = {"a": np.array([1.0, 2.0])}
    for name in ("calm", "full"):
        sink = CsvFile(tmp_path / name, SEEDS)
        sink.add(10, row)
        if name == "full":
            disk = sink._file = FullDisk(sink._file, room)
            with pytest.warns(UserWarning, match=r"full cannot be written \(No space left on device\)") as said:
                sink.add(20, row)
                sink.add(30, row)
            assert len(said) == 1
            with pytest.raises(OSError, match="full could not be written"):
                sink.size()
            disk.room = 10_000
        else:
            sink.add(20, row)
            sink.add(30, row)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sink.add(40, row)
        assert sink.size() == (tmp_path / name).stat().st_size
        sink.close()
    assert (tmp_path / "full").read_bytes() == (tmp_path / "calm").read_bytes()


def test_a_sink_that_fails_is_left_and_the_others_go_on(tmp_path):
    """One that raises OSError is named in one warning and not asked again; the next one gets every entry."""

    class Broken:
        name, calls = "The broken log", 0

        def add(self, *_entry):
            self.calls += 1
            raise OSError("gone")

        def close(self):
            raise AssertionError("closed a sink that was left")

    log, broken = Log(SEEDS), Broken()
    log.attach(broken)
    log.attach(CsvFile(tmp_path / "metrics.csv", SEEDS))
    with pytest.warns(UserWarning, match=r"The broken log cannot be written \(gone\); the run goes on") as said:
        for step in (10, 20):
            log.add(step, {"a": np.array([1.0, NAN])})
        log.write()
    log.close()
    assert len(said) == broken.calls == 1
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["0,10,a,1.0", "0,20,a,1.0"]


# --- TensorBoard ------------------------------------------------------------------------------------------


def test_tensorboard_has_a_run_for_each_trial(tmp_path):
    """Folders by point and seed; their events have the trial's values, none for NaN."""
    sink = TensorBoard(tmp_path, SWEEP, purge_step=None)
    row = np.arange(6.0) / 4
    row[3] = NAN
    for step in (10, 20):
        sink.add(step, {"a": row + step, "b": -row})
    sink.close()
    for m, (point, seed) in enumerate(itertools.product(range(3), range(2))):
        expected = [(step, {} if m == 3 else {"a": row[m] + step, "b": -row[m]}) for step in (10, 20)]
        assert events(tmp_path / f"point_{point}" / f"seed_{seed}") == expected


def test_tensorboard_of_many_trials_has_means(tmp_path):
    """More trials than it can show: a run for each point, with the mean of the seeds that have a value."""
    columns = Columns(logs.MAX_TENSORBOARD_RUNS, {"rate": np.array([0.5, 2.0])})
    sink = TensorBoard(tmp_path, columns, purge_step=None)
    row = np.arange(float(columns.num_trials))
    row[columns.num_seeds + 1] = NAN
    sink.add(10, {"a": row})
    sink.close()
    assert {path.name for path in tmp_path.iterdir()} == {"point_0", "point_1"}
    for point in range(2):
        (entry,) = events(tmp_path / f"point_{point}")
        mean = np.nanmean(row.reshape(2, -1)[point])
        assert entry == (10, {"a": np.float32(mean)})


def test_tensorboard_of_too_many_points_is_left_out(tmp_path):
    """More points than it can show: nothing is written, and it is said where the metrics are."""
    columns = Columns(1, {"rate": np.arange(logs.MAX_TENSORBOARD_RUNS + 1.0)})
    with pytest.warns(UserWarning, match="65 points are too many for TensorBoard: metrics.csv has them all"):
        sink = TensorBoard(tmp_path, columns, purge_step=None)
    sink.add(10, {"a": np.zeros(columns.num_trials)})
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_many_lone_seeds_have_one_mean(tmp_path):
    """More seeds than it can show, without a sweep: one run, their mean."""
    columns = Columns(logs.MAX_TENSORBOARD_RUNS + 1, {})
    sink = TensorBoard(tmp_path, columns, purge_step=None)
    sink.add(10, {"a": np.arange(65.0), logs.NUM_DIVERGED: np.arange(65) < 3.0})
    sink.close()
    assert events(tmp_path / "mean") == [(10, {"a": 32.0, "num_diverged": 3.0})]


def test_resumed_tensorboard_takes_back_what_came_after(tmp_path):
    """With a step to purge from, the new event file begins with it; without, it does not."""
    for purge_step in (None, 31):
        TensorBoard(tmp_path, SEEDS, purge_step).close()
    assert purged_from(tmp_path / "seed_0") == purged_from(tmp_path / "seed_1") == [31]


# --- Weights & Biases -------------------------------------------------------------------------------------


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package that keeps what it is told."""
    told = types.SimpleNamespace(started=[], logged=[], finished=0)

    class Run:
        def log(self, entry, step):
            told.logged.append((step, entry))

        def finish(self):
            told.finished += 1

    module = types.ModuleType("wandb")
    module.init = lambda **options: told.started.append(options) or Run()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return told


def test_wandb_gets_means_and_trials(tmp_path, wandb):
    """One run, named after the folder so that it can be resumed; per entry the mean of those that have a value, and
    each trial's own."""
    sink = WeightsAndBiases("project", SEEDS, {"a": 1}, tmp_path / "run")
    sink.add(10, {"x": np.array([1.0, 3.0]), "y": np.array([NAN, 2.0])})
    sink.close()
    (started,) = wandb.started
    assert started == {
        **{"project": "project", "name": "run", "id": "run", "resume": "allow"},
        **{"config": {"a": 1}, "dir": str(tmp_path / "run")},
    }
    entry = {"env_steps": 10, "x": 2.0, "seed_0/x": 1.0, "seed_1/x": 3.0, "y": 2.0, "seed_1/y": 2.0}
    assert wandb.logged == [(10, entry)] and wandb.finished == 1


def test_wandb_of_many_trials_gets_means_alone(tmp_path, wandb):
    """More trials than can be told apart in a chart: only the mean, and how many diverged."""
    columns = Columns(logs.MAX_TENSORBOARD_RUNS + 1, {})
    diverged = np.arange(65) < 3.0
    WeightsAndBiases("project", columns, {}, tmp_path).add(10, {"x": np.arange(65.0), logs.NUM_DIVERGED: diverged})
    assert wandb.logged == [(10, {"env_steps": 10, "x": 32.0, "num_diverged": 3.0})]
