"""Trials on the devices: blocks that fit the memory, trials that diverge, the operation where it began."""

import pathlib
import warnings

import jax
import numpy as np
import pytest

from purerl.driver import grid
from purerl.driver.running import devices, loop, program
from purerl.driver.running.engine import Engine, Job
from purerl.driver.running.plan import Plan
from purerl.driver.running.timer import Timer
from purerl.driver.running.trials import Blocks, Trials
from tests.support import toy as toy_module
from tests.support.toy import (
    KEY,
    ToyHypers,
    assert_same,
    assert_same_results,
    levels,
    limit_for_one,
    quietly,
    toy,
    train,
)

NUM = 6  # trials, everywhere the same: one program serves most of the tests
SWEEP = grid(ToyHypers(), rate=[0.5, 1.0, 2.0])
OPTIONS = {"hypers": SWEEP, "num_seeds": 2, "log_every": 20, "eval_every": 40, "num_eval_episodes": 3}
SEEDS = {"log_every": 20, "eval_every": 40, "num_eval_episodes": 3}


@pytest.fixture(scope="module")
def at_once():
    """Six trials side by side."""
    return train(**OPTIONS)


@pytest.fixture(scope="module")
def diverged():
    """Seeds of which one diverges in update 3, and that seed; with the warning that it caused."""
    worst, limit = limit_for_one(NUM)
    with pytest.warns(UserWarning) as said:
        result = train(hypers=ToyHypers(limit=limit, calm=3), num_seeds=NUM, **SEEDS)
    return result, worst, said


# --- blocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials_at_once", [1, 4])
def test_blocks_give_the_same_runs(at_once, trials_at_once):
    """Trials that wait their turn, in blocks that fit or do not: the same states, metrics and evaluations."""
    blocks = train(**OPTIONS, trials_at_once=trials_at_once)
    assert_same_results(blocks, at_once)
    assert (blocks.summary["num_blocks"], blocks.summary["trials_on_device"]) == {1: (6, 1), 4: (2, 3)}[trials_at_once]


@pytest.mark.parametrize(("fitting", "size", "num_blocks"), [(5.5, 3, 2), (1.0, 1, 6)])
def test_what_does_not_fit_runs_in_blocks(at_once, monkeypatch, fitting, size, num_blocks):
    """Memory for a few of six trials: how many fit is said, and the result is that of as many at once."""
    bytes_per_trial = at_once.summary["bytes_per_trial"]
    monkeypatch.setattr(devices, "free_bytes", lambda mesh: int(fitting * (bytes_per_trial + 1)))
    message = (
        f"6 trials do not fit in memory .* {int(fitting)} do on each device: running {num_blocks} blocks of {size}"
    )
    with pytest.warns(UserWarning, match=message):
        result = train(**OPTIONS)
    assert (result.summary["num_blocks"], result.summary["trials_on_device"]) == (num_blocks, size)
    assert_same_results(result, at_once)


def test_not_even_one_fits(monkeypatch):
    """An error with both sizes and what to make smaller, before anything is run."""
    monkeypatch.setattr(devices, "free_bytes", lambda mesh: 10)
    with pytest.raises(
        ValueError, match=r"One trial needs .* GB, and 1e-08 GB are free: make its batches, networks or"
    ):
        train(**OPTIONS)


# --- divergence -------------------------------------------------------------------------------------------


def test_a_frozen_trial_changes_nothing_for_the_others(diverged):
    """States, metrics and evaluations of the other seeds are those of a run in which nobody diverges."""
    result, worst, _ = diverged
    calm = train(num_seeds=NUM, **SEEDS)
    others = np.arange(NUM) != worst
    assert_same(*(jax.tree.map(lambda x: x[others], r.states) for r in (result, calm)))
    assert_same(*({name: x[:, others] for name, x in r.metrics.items()} for r in (result, calm)))
    assert_same(result.eval_returns[:, others], calm.eval_returns[:, others])
    assert calm.summary["num_diverged"] == 0 and not calm.summary["divergences"]


def test_a_frozen_trial_is_reported_once_and_left_as_it_was(diverged):
    """One warning with seed, step, update, key and leaf; from then on no metrics and no return; the state is that in
    which it was found, at the log entry after update 3."""
    result, worst, said = diverged
    key = jax.random.key_data(program.seed_keys(KEY, NUM)[worst]).tolist()
    (warning,) = said
    assert f"Diverged: Seed {worst} at step 40 (update 3, key {key}, first leaf not finite: x)." in str(warning.message)
    assert pathlib.Path(warning.filename).name == "toy.py"  # where train was called
    report = {"trial": f"Seed {worst}", "update": 3, "env_step": 40, "key": key, "leaf": "x"}
    assert result.summary["divergences"] == [report]
    assert result.summary["diverged"] == [seed == worst for seed in range(NUM)]
    assert (result.states.num_updates[worst], np.isnan(result.states.x[worst])) == (4, True)
    assert np.isnan(result.metrics["number"][:, worst]).tolist() == [False, True, True, True]
    assert np.isnan(result.eval_returns[:, worst]).tolist() == [False, True, True]
    assert np.isnan(result.final_returns).tolist() == [seed == worst for seed in range(NUM)]


@pytest.mark.parametrize("trials_at_once", [None, 3])
def test_trials_of_a_sweep_freeze_at_their_point(trials_at_once):
    """The limit is swept: at one point one seed of three diverges, at the other nobody; also in blocks."""
    worst, limit = limit_for_one(3)
    sweep = grid(ToyHypers(), limit=[limit, 1.0])
    with pytest.warns(UserWarning, match=rf"Seed {worst} of point 0 \(limit=.*\) at step 10"):
        result = train(hypers=sweep, num_seeds=3, trials_at_once=trials_at_once)
    assert result.summary["diverged"] == [[seed == worst for seed in range(3)], [False] * 3]
    assert [point.number for point in result.table()] == [1, 0]


def test_many_that_diverge_are_not_all_listed(monkeypatch):
    """Of five at once, as many are described as a warning may hold, and the rest is counted."""
    monkeypatch.setattr(loop, "_MAX_REPORTS", 2)
    limit = np.sort(levels(NUM))[0]
    with pytest.warns(UserWarning, match="; and 3 more. What diverged is frozen") as said:
        train(hypers=ToyHypers(limit=float(limit)), num_seeds=NUM)
    assert len(said) == 1 and str(said[0].message).count("at step 10") == 2


def test_when_all_have_diverged_the_run_ends():
    """Two warnings: who diverged, and that the run ends; it has as many steps as were run."""
    with pytest.warns(UserWarning) as said:
        result = train(hypers=ToyHypers(limit=-1.0, calm=3), num_seeds=NUM, **SEEDS | {"eval_every": 20})
    assert ["Diverged: Seed 0" in str(said[0].message), str(said[1].message)] == [
        True,
        f"All {NUM} trials diverged: the run ends here.",
    ]
    assert (len(said), result.summary["num_env_steps"], result.summary["num_diverged"]) == (2, 40, NUM)
    assert np.isnan(result.final_returns).all() and np.isnan(result.final_return.estimate)


def test_a_state_with_nan_freezes_although_metrics_are_finite():
    """Metrics are constants: the NaN in the state is found, at the log entry at the latest."""
    algorithm = toy()

    def update(hypers, state, key):
        state, _ = algorithm.update(hypers, state, key)
        return state, {"one": 1.0}

    worst, limit = limit_for_one(3)
    with pytest.warns(UserWarning, match=rf"Seed {worst} at step 20 \(update 1, .* first leaf not finite: x\)"):
        result = train(algorithm._replace(update=update), ToyHypers(limit=limit), num_seeds=3, log_every=20)
    np.testing.assert_array_equal(np.isnan(result.metrics["one"][-1]), np.arange(3) == worst)


def test_a_metric_that_is_infinite_freezes_although_the_state_is_not():
    """The report says that it was only a metric."""
    algorithm = toy()

    def update(hypers, state, key):
        state, metrics = algorithm.update(hypers, state, key)
        return state, metrics | {"bad": 1.0 / (state.num_updates < 5)}

    with pytest.warns(UserWarning, match=r"Seed 0 at step 50 \(update 4, .*: none, only a metric\)"):
        quietly_ends(algorithm._replace(update=update))


def quietly_ends(algorithm) -> None:
    """A lone run that diverges, up to its end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All 1 trials diverged")
        train(algorithm)


# --- where it began ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_seeds", "trials_at_once"), [(1, None), (NUM, 3)])
def test_debug_nans_names_the_operation_and_its_line(num_seeds, trials_at_once):
    """An error with seed, update, operation, and the file and line that made the NaN."""
    worst, limit = limit_for_one(num_seeds) if num_seeds > 1 else (0, -1.0)
    options = {"num_seeds": num_seeds, "trials_at_once": trials_at_once, "log_every": 40}
    with pytest.raises(FloatingPointError) as raised:
        train(hypers=ToyHypers(limit=limit, calm=5), **options, debug_nans=True)
    source = pathlib.Path(toy_module.__file__)
    (line,) = (i for i, text in enumerate(source.read_text().splitlines(), 1) if "jnp.log(" in text)
    assert f"Seed {worst} diverged in update 5: nan generated by primitive: log" in str(raised.value)
    assert f"{source}:{line}:" in str(raised.value)


def test_debug_nans_says_when_no_operation_made_one():
    """An infinity from a division that is none: the error says that infinite values came first."""
    algorithm = toy()

    def update(hypers, state, key):
        state, metrics = algorithm.update(hypers, state, key)
        return state, metrics | {"bad": 10.0 ** (39.0 * (state.num_updates > 2))}

    with pytest.raises(
        FloatingPointError, match="Seed 0 diverged in update 2: no operation made a NaN; infinite values"
    ):
        train(algorithm._replace(update=update), debug_nans=True)


def test_debug_nans_changes_nothing_where_nothing_diverges(at_once):
    """The same results, with the copies that it keeps."""
    assert_same_results(train(**OPTIONS, debug_nans=True), at_once)


# --- the engine by itself ---------------------------------------------------------------------------------


def engine(**options) -> Engine:
    """Three seeds of the toy, compiled and started."""
    plan = Plan.of(toy(), 80, eval_every=0)
    job = Job(toy(), Trials.of(ToyHypers(**options), KEY, 3), plan, program.unchanged)
    made = Engine.compile(job, Timer(), 2, say=lambda message: None)
    made.start()
    return made


def test_an_engine_that_is_restored_goes_on():
    """All trials taken from one engine after 3 updates and given to another: both reach the same state."""
    one, other = engine(), engine()
    one.advance(3)
    other.restore(3, one.whole(), {})
    for each in (one, other):
        each.advance(8)
    assert_same(one.whole(), other.whole())
    assert one.update == 8


def test_metrics_are_those_since_the_last_reading():
    """Readings after 2 and 5 updates: means over updates 0 to 1 and 2 to 4."""
    one = engine()
    numbers = []
    for stop in (2, 5):
        one.advance(stop)
        metrics, fresh = one.read()
        numbers.append(metrics["number"].tolist())
        assert fresh == []
    assert numbers == [[0.5] * 3, [3.0] * 3]


def test_an_engine_tells_what_it_needs():
    """Bytes per trial: at least those of a trial's state, twice, and not those of a hundred."""
    one = engine()
    state = sum(x.nbytes for x in jax.tree.leaves(one.whole())) / 3
    assert 2 * state <= one.bytes_per_trial <= 100 * state + 4096
    assert isinstance(one.blocks, Blocks) and one.blocks.num_blocks == 2


def test_frozen_rows_are_nan():
    """Values of trials that are frozen are not numbers; the array that was given is not changed."""
    worst, limit = limit_for_one(3)
    one = engine(limit=limit)
    one.advance(1)
    assert quietly(one.read)[1] == [worst]
    given = np.arange(3)
    np.testing.assert_array_equal(one.without_frozen(given), np.where(given == worst, np.nan, given))
    np.testing.assert_array_equal(given, [0, 1, 2])
