"""Options of a run: declared once, checked at construction, the same after a way through JSON."""

import dataclasses
import json
import pathlib

import pytest

from purerl import files
from purerl.config_checks import check_options
from purerl.driver import PBT, RunOptions, linear, piecewise
from purerl.driver.options import names_of, option
from tests.support.toy import assert_same, toy, train


@pytest.mark.parametrize(
    ("name", "value", "smallest"),
    [(name, 0, 1) for name in ("num_env_steps", "num_seeds", "num_eval_episodes", "checkpoint_every", "log_every")]
    + [("keep_checkpoints", 0, 1), ("trials_at_once", 0, 1), ("log_every", -5, 1), ("eval_every", -1, 0)],
)
def test_numbers_out_of_range_are_refused(name, value, smallest):
    """The message has the option, its value and the smallest that it may have."""
    with pytest.raises(ValueError, match=f"^{name} = {value}: it must be at least {smallest}.$"):
        RunOptions(**{"num_env_steps": 10, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_env_steps", 1e6, "num_env_steps = 1000000.0: it must be a whole number, an int."),
        ("num_env_steps", True, "num_env_steps = True: it must be a whole number, an int."),
        ("num_seeds", "8", "num_seeds = '8': it must be a whole number, an int."),
        ("num_seeds", None, "num_seeds = None: it must be a whole number, an int."),
        ("log_every", 0.5, "log_every = 0.5: it must be a whole number, an int."),
        ("from_step", -1, "from_step = -1: it must be at least 0."),
        ("progress", "no", "progress = 'no': it must be True or False."),
        ("wandb", 3, "wandb = 3: it must be a text."),
    ],
)
def test_values_of_another_type_are_refused(name, value, message):
    """The message has the option, its value and what it must be."""
    with pytest.raises(ValueError) as error:
        RunOptions(**{"num_env_steps": 10, name: value})
    assert str(error.value) == message


def test_every_option_that_is_fixed_is_recorded():
    """What must be the same when a run is resumed is in config.json; how long it is may change."""
    assert set(names_of(RunOptions, "fixed")) == set(names_of(RunOptions, "recorded")) - {"num_env_steps"}


def test_recorded_options_survive_json():
    """Schedules as text, a population as its fields; None stays None, what is not recorded is as by default."""
    options = RunOptions(
        num_env_steps=100,
        num_seeds=3,
        eval_every=0,
        schedules={"rate": linear(0.0), "limit": piecewise({0.5: 2.0})},
        population=PBT(every=20, names=("rate",), bounds={"rate": (0.1, 1.0)}),
        out_dir="somewhere",
        extra_settings={"seed": 5},
    )
    record = json.loads(json.dumps(files.plain(options.record())))
    assert record["seed"] == 5 and record["schedules"] == {"rate": "linear:0", "limit": "piecewise:0.5:2"}
    assert RunOptions.of_record(record) == dataclasses.replace(options, out_dir=None, extra_settings=None)


def test_options_of_an_older_record_are_as_by_default():
    """Those that it did not have yet; but programs were compiled at level 3, so that they go on with the same bits."""
    then = RunOptions(num_env_steps=7, schedules={}, optimization_level=3)
    assert RunOptions.of_record({"num_env_steps": 7}) == then
    now = json.loads(json.dumps(files.plain(RunOptions(num_env_steps=7).record())))
    assert RunOptions.of_record(now).optimization_level is None


def test_paths_may_be_text():
    """A folder is a path, whatever was given."""
    options = RunOptions(num_env_steps=1, out_dir="a/b", fork="c")
    assert (options.out_dir, options.fork) == (pathlib.Path("a/b"), pathlib.Path("c"))


def test_a_record_of_options_and_keyword_arguments_are_the_same():
    """``train`` takes a record, keyword arguments, or a record with changes; a name that is no option is an error."""
    given = {"num_env_steps": 20, "eval_every": 0, "progress": False}
    by_name = train(**given)
    assert_same(
        train(toy(), options=RunOptions(**given | {"num_env_steps": 30}), num_env_steps=20).states, by_name.states
    )
    with pytest.raises(TypeError, match=r"There is no option 'num_step'. Near: 'num_env_steps', 'num_seeds'"):
        train(num_step=20)
    with pytest.raises(ValueError, match=r"options must be RunOptions, but they are dict. .* give \*\*options instead"):
        train(toy(), options=given)


def test_ranges_of_any_record_are_checked():
    """A field without a range, or without a value, may be anything."""

    @dataclasses.dataclass
    class Record:
        size: int | None = option(None, low=2)
        free: int = -1

    check_options(Record())
    check_options(Record(size=2))
    with pytest.raises(ValueError, match="size = 1: it must be at least 2"):
        check_options(Record(size=1))
