"""Requests to stop, as a scheduler or a user at the keyboard sends them."""

import shlex
import signal
import time

import pytest

from tests.support.folders import assert_same_files, last_step

TINY = shlex.split(
    "--num-envs 2 --num-steps 4 --num-epochs 1 --num-minibatches 1 --hidden-sizes 4 --num-env-steps 1600 "
    "--num-seeds 2 --log-every 8 --eval-every 400 --num-eval-episodes 2 --no-progress"
)


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory):
    """The folder of a tiny run of PPO that nobody interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    life = start("experiments.ppo", *TINY, "--out-dir", folder)
    _, errors = life.communicate()
    assert life.returncode == 0, errors
    return folder


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.deep)]
)
def test_the_command_that_is_printed_goes_on(uninterrupted, start, tmp_path, number, code):
    """A signal in the middle: the exit code says which, and the command printed ends the run as if nothing had been."""
    folder = tmp_path / "a run"  # its name must be quoted
    # Many checkpoints make the run last, not its result another.
    life = start("experiments.ppo", *TINY, "--out-dir", folder, "--checkpoint-every", 16)
    while last_step(folder) == 0 and life.poll() is None:
        time.sleep(0.001)
    life.send_signal(number)
    _, errors = life.communicate()
    assert life.returncode == code, errors
    assert "interrupted at step" in errors and "Traceback" not in errors
    assert 0 < last_step(folder) < 1600 and not (folder / "summary.json").exists()
    command = shlex.split(errors.splitlines()[-1])
    assert command == ["python", "-m", "experiments.ppo", "--resume", str(folder)]
    life = start(*command[2:])
    said, errors = life.communicate()
    assert life.returncode == 0, errors
    assert "resumed at step" in said
    assert_same_files(folder, uninterrupted)


def test_a_second_ctrl_c_leaves_at_once(start, tmp_path):
    """While the first one's checkpoint hangs, for the disk does: the process waits, and the next one ends it."""
    life = start("tests.support.victim", tmp_path, "--stall")
    assert life.stdout.readline() == "saving\n"
    life.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert life.poll() is None
    life.send_signal(signal.SIGINT)
    _, errors = life.communicate()  # the checkpoint would take an hour
    assert life.returncode == -signal.SIGINT and errors.splitlines()[-1] == "KeyboardInterrupt"
