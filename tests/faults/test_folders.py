"""Folders that a run may not use, and folders that hold damage, or what no run put there."""

import json
import pathlib
import pickle
import random
import shutil

import jax.numpy as jnp
import pytest

from purerl.driver import command_line
from purerl.driver.running.engine import Engine
from purerl.driver.storage import checkpoint
from purerl.driver.storage.checkpoint import Checkpoints
from tests.support import victim
from tests.support.folders import assert_same_files, checkpoints
from tests.support.toy import EXPERIMENT, assert_same_results, quietly


@pytest.fixture
def folder(undisturbed, tmp_path) -> pathlib.Path:
    """A finished run with checkpoints of the updates 79, 158 and 160."""
    return shutil.copytree(undisturbed[1], tmp_path / "run")


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    """Everything below a folder, with what is in it; without locks, which are made when they are asked for."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in found}


def goes_on_to_the_same_end(folder: pathlib.Path, undisturbed, message: str) -> None:
    """Resume a run, which warns of its last checkpoint by name, and ends like the undisturbed one."""
    with pytest.warns(UserWarning, match=rf"{folder}/checkpoints/\d+ is damaged .*{message}"):
        result = victim.run(folder)
    assert_same_results(result, undisturbed[0])
    assert_same_files(folder, undisturbed[1])


# --- damage -----------------------------------------------------------------------------------------------


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


def flip(data: bytes) -> bytes:
    return bytes(byte ^ 0x10 for byte in data)


@pytest.mark.parametrize("damage", [cut, empty, flip])
def test_a_damaged_checkpoint_is_passed_over(undisturbed, folder, damage):
    """Every file of the last one cut, emptied or changed: a warning names it, the one before is used, and the run ends
    as it did, with a whole checkpoint in place of the damaged one."""
    newest = checkpoints(folder)[-1]
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(damage(path.read_bytes()))
    goes_on_to_the_same_end(folder, undisturbed, "is passed over")
    assert checkpoints(folder)[-1] == newest


def test_a_lost_file_is_a_damage(undisturbed, folder):
    """The files of the arrays are gone, the description is there."""
    shutil.rmtree(checkpoints(folder)[-1] / "state")
    goes_on_to_the_same_end(folder, undisturbed, "is passed over")


def test_a_deletion_half_done_is_no_checkpoint(undisturbed, folder):
    """The oldest checkpoint has lost its description: the run goes on from the newest, in silence about the other."""
    shutil.rmtree(checkpoints(folder)[0] / "meta")
    assert_same_results(quietly(victim.run, folder), undisturbed[0])


def test_if_all_are_damaged_the_command_line_says_so(tmp_path, capsys):
    """Every file of every checkpoint empty: one line, exit code 2, and nothing in the folder is touched."""
    command_line.main(
        EXPERIMENT, ["--num-seeds", "1", "--eval-every", "0", "--no-progress", "--out-dir", str(tmp_path)]
    )
    for path in checkpoints(tmp_path):
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    before = files_of(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_, pytest.warns(UserWarning, match="is damaged"):
        command_line.main(EXPERIMENT, ["--no-progress", "--resume", str(tmp_path)])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("toy: None of the checkpoints") and "Nothing was deleted" in line
    assert files_of(tmp_path) == before


# --- what no run put there --------------------------------------------------------------------------------


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return pathlib.Path.touch, (self.marker,)


def test_a_pickle_is_not_unpickled(undisturbed, folder, tmp_path):
    """A pickle in place of every file of a checkpoint is a damage like others; what it would do is not done."""
    marker = tmp_path / "executed"
    trap = pickle.dumps(Trap(marker))
    pickle.loads(trap)
    marker.unlink()  # it is a trap
    for path in checkpoints(folder)[-1].rglob("*"):
        if path.is_file():
            path.write_bytes(trap)
    goes_on_to_the_same_end(folder, undisturbed, "is passed over")
    assert not marker.exists()


def test_noise_in_the_folder(undisturbed, folder):
    """Random bytes in place of a later checkpoint and beside it: passed over, and still there at the end."""
    noise = random.Random(0).randbytes
    inside = folder / "checkpoints"
    foreign = [folder / "notes", inside / "notes", inside / "-1", inside / "998", inside / "999" / "meta" / "metadata"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(300))
    before = {path: path.read_bytes() for path in foreign}
    with pytest.warns(UserWarning, match=rf"{inside}/999 is damaged .* is passed over"):
        assert_same_results(victim.run(folder), undisturbed[0])
    assert {path: path.read_bytes() for path in foreign} == before


def test_a_link_out_of_the_folder_is_not_followed(undisturbed, folder, tmp_path):
    """Old checkpoints that are links to somewhere else: what is there is not deleted when old checkpoints are."""
    precious = shutil.copytree(checkpoints(folder)[0], tmp_path / "precious")
    before = files_of(precious)
    for step in (1, 2, 3):
        (folder / "checkpoints" / str(step)).symlink_to(precious)
    shutil.rmtree(checkpoints(folder)[-1])
    assert_same_results(quietly(victim.run, folder), undisturbed[0])
    assert files_of(precious) == before


def test_a_checkpoint_of_another_algorithm_does_not_fit(folder):
    """A later checkpoint with other arrays: the first leaf that does not fit is named, nothing is deleted."""
    with Checkpoints(folder / "checkpoints", keep=9) as other:
        other.save(170, {"theirs": jnp.zeros(3)}, {})
    before = files_of(folder)
    with pytest.raises(ValueError, match=r"checkpoints/170 does not fit: only the run that loads has \w+"):
        quietly(victim.run, folder)
    assert files_of(folder) == before


def test_absurd_shapes_do_not_fit(folder):
    """A description with a valid checksum that speaks of 10^18 numbers: none of them is asked for."""
    path = checkpoints(folder)[-1] / "meta" / "metadata"
    document = json.loads(path.read_text())
    del document["sha256"]
    document["leaves"][0][2] = [10**9, 10**9]
    path.write_text(json.dumps(document | {"sha256": checkpoint._sha256(document)}))
    with pytest.raises(ValueError, match=r"160 does not fit: .* is \w+\[1000000000, 1000000000\] there"):
        quietly(victim.run, folder)


# --- folders that may not be used -------------------------------------------------------------------------


@pytest.fixture
def refused(monkeypatch, capsys):
    """What a command line says that is refused before anything is compiled: one line."""

    def compile_(*arguments):
        raise AssertionError("it began to compile")

    def run(*arguments) -> str:
        monkeypatch.setattr(Engine, "compile", compile_)
        with pytest.raises(SystemExit) as exit_:
            command_line.main(EXPERIMENT, [*map(str, arguments), "--no-progress"])
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_folders_that_are_refused(refused, folder, tmp_path):
    """Below a file, a run already, no run: each is said before a second is spent on compiling, and nothing changes."""
    (tmp_path / "file").write_text("mine")
    before = files_of(tmp_path)
    below = tmp_path / "file" / "run"
    assert refused("--out-dir", below) == f"toy: Cannot write to {below} (Not a directory): choose another folder."
    assert f"toy: {folder} holds a run already: " in refused("--out-dir", folder)
    assert refused("--resume", tmp_path) == f"toy: No run in {tmp_path}: it has no config.json."
    assert files_of(tmp_path) == before


def test_two_runs_do_not_share_a_folder(start, folder):
    """While one process writes to a folder, another is refused with one line; when the first is killed, it is not."""
    shutil.rmtree(folder / "checkpoints")
    first = start("tests.support.victim", folder, "--stall")
    assert first.stdout.readline() == "saving\n"
    before = files_of(folder)
    second = start("experiments.ppo", "--out-dir", folder, "--overwrite", "--num-env-steps", 1024, "--no-progress")
    _, errors = second.communicate()
    assert second.returncode == 2
    assert errors == f"ppo: Another run is writing to {folder}: wait for it, or choose another folder.\n"
    assert files_of(folder) == before and first.poll() is None
    first.kill()
    first.communicate()
    quietly(victim.run, folder)
    assert (folder / "summary.json").exists()
