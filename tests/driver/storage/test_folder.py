"""Folders of runs: who may write, what is refused and removed, what counts as a change."""

import json
import pathlib
import subprocess
import sys

import pytest

from purerl.driver.storage import folder
from purerl.driver.storage.folder import FolderError, claim

CONFIG = {"algorithm": "toy", "settings": {}, "hypers": {"rate": 1.0}, "key": [0, 0]}


def write_run(path: pathlib.Path) -> pathlib.Path:
    """A folder with a run and a file of somebody else's in it."""
    (path / folder.CHECKPOINTS / "80" / "state").mkdir(parents=True)
    (path / folder.TENSORBOARD / "seed_0").mkdir(parents=True)
    (path / folder.TENSORBOARD / "seed_0" / "events.out.tfevents.1").touch()
    for name in (folder.CONFIG, folder.METRICS, folder.SUMMARY, folder.CURVE, folder.SWEEP, "notes.txt"):
        (path / name).write_text(json.dumps(CONFIG))
    return path


# --- claiming ---------------------------------------------------------------------------------------------


def test_a_folder_is_made_and_freed_again(tmp_path):
    """Folders on the way are made; after the block, even one that failed, the folder can be claimed again."""
    path = tmp_path / "a" / "b"
    with pytest.raises(KeyError), claim(path) as claimed:
        assert claimed == path and path.is_dir()
        raise KeyError
    assert not (tmp_path / "a").exists()  # nothing was put there
    with claim(path):
        assert [p.name for p in path.iterdir()] == [".lock"]
        (path / folder.CONFIG).write_text("{}")
    assert {p.name for p in path.iterdir()} == {".lock", folder.CONFIG}


def test_an_empty_folder_that_was_there_stays(tmp_path):
    """Of which nothing is left but itself."""
    with claim(tmp_path):
        pass
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def test_one_owner_at_a_time(tmp_path):
    """While a folder is claimed, nobody else gets it, to resume or to overwrite: not here, not another process."""
    code = "import sys\nfrom purerl.driver.storage.folder import claim\nwith claim(sys.argv[1], resume=True): pass"
    with claim(tmp_path):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with (
                pytest.raises(FolderError, match=f"Another run is writing to {tmp_path}: wait for it"),
                claim(tmp_path, **options),
            ):
                pass
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert other.returncode == 1 and f"Another run is writing to {tmp_path}" in other.stderr


def test_the_claim_of_a_process_that_died_does_not_stand(tmp_path):
    """A process that is killed within its claim leaves the folder free."""
    code = "import os, sys\nfrom purerl.driver.storage.folder import claim\n"
    code += "with claim(sys.argv[1]): os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert died.returncode == -9
    with claim(tmp_path) as claimed:
        assert claimed == tmp_path


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    """A path beneath a file: one line with the path and what to do."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FolderError, match=f"Cannot write to {tmp_path}/file/run .*: choose another folder"),
        claim(tmp_path / "file" / "run"),
    ):
        pass


def test_a_folder_with_a_run_is_refused(tmp_path):
    """Neither resumed nor overwritten: refused with the ways out, every file as it was."""
    write_run(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    with (
        pytest.raises(FolderError, match=f"{tmp_path} holds a run already: resume it, choose another"),
        claim(tmp_path),
    ):
        pass
    assert {path.name for path in tmp_path.iterdir()} == before


def test_resuming_keeps_and_overwriting_removes_only_what_is_ours(tmp_path):
    """To resume, all files stay; to overwrite, a run's files go, and somebody else's stay, also behind a link."""
    write_run(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("")
    with claim(tmp_path / "run", resume=True):
        assert (tmp_path / "run" / folder.METRICS).exists()
    folder.clear(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"notes.txt"}
    write_run(tmp_path / "other")
    for name in (folder.CHECKPOINTS, folder.TENSORBOARD):
        (tmp_path / "other" / name / "mine.txt").write_text("")
    (tmp_path / "other" / folder.CHECKPOINTS / "81").symlink_to(elsewhere)
    with claim(tmp_path / "other", overwrite=True):
        assert (tmp_path / "other" / folder.METRICS).exists()  # until the new run is ready to begin
    folder.clear(tmp_path / "other")
    left = {str(path.relative_to(tmp_path / "other")) for path in (tmp_path / "other").rglob("*") if path.is_file()}
    assert left == {"notes.txt", "checkpoints/mine.txt", "tensorboard/mine.txt"}
    assert (elsewhere / "kept.txt").exists()


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_that_is_not_empty_and_no_run_is_refused(tmp_path, options):
    """Somebody's own files, whatever is allowed: nothing of it is touched, not even names that a run has too."""
    (tmp_path / folder.METRICS).write_text("mine")
    with pytest.raises(FolderError, match="is not empty and holds no run"), claim(tmp_path, **options):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [folder.METRICS]


def test_a_config_of_something_else_is_not_overwritten(tmp_path):
    """A config.json that is no run's."""
    (tmp_path / folder.CONFIG).write_text('{"name": "a package"}')
    with pytest.raises(FolderError, match="is not replaced, for it may hold no run"), claim(tmp_path, overwrite=True):
        pass
    assert json.loads((tmp_path / folder.CONFIG).read_text()) == {"name": "a package"}


# --- settings ---------------------------------------------------------------------------------------------


def test_settings_come_back(tmp_path):
    """What a run wrote is what is read."""
    assert folder.read_config(write_run(tmp_path)) == CONFIG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No run in .*: it has no config.json"),
        ("{", "config.json cannot be read .*line 1"),
        ("[1]", "it lacks the settings of a run"),
        ('{"algorithm": "toy"}', "it lacks the settings of a run"),
    ],
)
def test_what_are_no_settings_is_refused(tmp_path, text, message):
    """No file, half a file, something else: one line with the file."""
    if text is not None:
        (tmp_path / folder.CONFIG).write_text(text)
    with pytest.raises(FolderError, match=message):
        folder.read_config(tmp_path)


def test_differences_name_what_has_another_value():
    """At any depth, also what only one side has; not what may change: length, versions, device, sources."""
    then = CONFIG | {"num_seeds": 3, "num_env_steps": 10, "versions": {"jax": "1"}, "sources": {"a.py": "1"}}
    now = CONFIG | {"hypers": {"rate": 0.5, "limit": None}, "num_seeds": 4, "num_env_steps": 20, "device": "other"}
    assert folder.differences(then, dict(then)) == []
    assert folder.differences(then, now) == ["hypers.rate: 1.0 then, 0.5 now", "num_seeds: 3 then, 4 now"]
    assert folder.differences({"a": {"versions": 1}}, {"b": 2}) == [
        'a: {"versions": 1} then, null now',
        "b: null then, 2 now",
    ]
    (long,) = folder.differences({"a": list(range(100))}, {"a": []})
    assert len(long) < 100 and long.endswith("... then, [] now")


def test_changed_code_is_named():
    """Other versions of packages, and source files that changed, are new, or are gone."""
    then = {"versions": {"jax": "0.10", "numpy": "2"}, "sources": {"a.py": "1", "b.py": "2", "c.py": "3"}}
    now = {"versions": {"jax": "0.11", "numpy": "2"}, "sources": {"a.py": "1", "b.py": "9", "d.py": "4"}}
    assert folder.changed_code(now, now) == []
    assert folder.changed_code(then, now) == ["jax 0.10 then, 0.11 now", "b.py changed", "d.py is new", "c.py is gone"]
    assert folder.changed_code({}, {"versions": {"jax": "1"}, "sources": {}}) == ["jax None then, 1 now"]
