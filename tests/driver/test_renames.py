"""Names of settings in older records: read as what they are called today."""

import dataclasses
import json
import pathlib

import pytest

from purerl.driver import RunOptions
from purerl.driver.command_line import experiment
from purerl.driver.renames import RENAMED, with_new_names
from purerl.driver.storage import folder, restore

RESULTS = pathlib.Path(__file__).parents[2] / "experiments" / "results"
KEPT = sorted(RESULTS.glob("*/*/config.json"))


def test_an_old_name_is_read_as_the_new_one():
    """Its value too, where that was renamed with it; values of other fields stay, whatever they are."""
    known = ["distribution", "v_min", "tau", "target_update", "other"]
    old = {"law": "implicit", "lowest": -1.0, "polyak": 0.5, "target_update": "polyak", "other": "implicit"}
    new = {"distribution": "iqn", "v_min": -1.0, "tau": 0.5, "target_update": "polyak", "other": "implicit"}
    assert with_new_names(old, known) == new
    assert with_new_names({"law": "c51", "polyak": [0.1, 0.2]}, known) == {"distribution": "c51", "tau": [0.1, 0.2]}


def test_options_of_a_run_are_read_by_their_old_names():
    """``members_at_once`` of an older config.json is ``trials_at_once``."""
    assert RunOptions.of_record({"num_env_steps": 7, "members_at_once": 4}).trials_at_once == 4
    assert folder.differences({"members_at_once": 4}, {"trials_at_once": 4}) == []
    assert folder.differences({"members_at_once": 4}, {"trials_at_once": 2}) == ["trials_at_once: 4 then, 2 now"]


def test_what_older_versions_did_without_saying_so():
    """A run without a word on the optimisation level was compiled at level 3, and is resumed with that alone."""
    assert folder.differences({"seed": 0}, {"seed": 0, "optimization_level": 3}) == []
    assert folder.differences({}, {"optimization_level": None}) == ["optimization_level: 3 then, null now"]
    assert folder.differences({"optimization_level": None}, {"optimization_level": None}) == []
    assert with_new_names({"tau": 1.0}, ["tau"]) == {"tau": 1.0}


@pytest.mark.parametrize("name", RENAMED)
def test_a_name_stays_where_it_is_known_or_the_new_one_is_not(name):
    """A record that still has the old name, that has neither, or that was given both."""
    now = RENAMED[name].now
    assert with_new_names({name: 1.0}, [name]) == with_new_names({name: 1.0}, [name, now]) == {name: 1.0}
    assert with_new_names({name: 1.0}, ["another"]) == {name: 1.0}
    assert with_new_names({name: 1.0, now: 2.0}, [now]) == {name: 1.0, now: 2.0}
    assert with_new_names({name: 1.0}, [now]) == {now: 1.0}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.relative_to(RESULTS).as_posix())
def test_every_kept_config_can_be_read_by_its_experiment(path):
    """Every setting and hyperparameter has a place in the records of today, and so do the options of the run."""
    record = json.loads(path.read_text())
    made_by = experiment.find(record)
    env, config, hypers = made_by.settings_of(record)
    assert made_by.name == path.parent.parent.name and env == record["settings"]["env"]
    today = {**vars(config), **vars(hypers)}
    for name, value in with_new_names(record["settings"], today).items():
        if isinstance(value, dict):  # a record inside the config, such as a transformer's sizes
            assert dataclasses.asdict(today[name]) == value
            continue
        expected = tuple(value) if isinstance(value, list) else value
        assert name in ("env", *RENAMED) or today[name] == expected or value in RENAMED["law"].values
    run = restore.from_record(record)
    assert (run.options.num_env_steps, run.options.num_seeds) == (record["num_env_steps"], record["num_seeds"])


def test_there_are_kept_configs():
    """The folder is where it was."""
    assert len(KEPT) > 20
