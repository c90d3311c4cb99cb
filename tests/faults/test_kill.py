"""A run that is killed again and again ends as one that is left in peace."""

import pathlib
import random
import signal
import subprocess
import time
from collections.abc import Sequence

import pytest

from tests.support import victim
from tests.support.folders import assert_same_files, last_step, tensorboard_steps
from tests.support.toy import STEPS_PER_UPDATE, assert_same_results, quietly

TWENTY = ["start"] * 4 + ["train"] * 12 + ["checkpoint", "finish", "plot", "summary"]


def test_killed_while_starting_training_and_finishing(undisturbed, start, tmp_path):
    """``kill -9`` at a random moment of each: every bit is that of a quiet run."""
    assert_ends_as_undisturbed(["start", "train", "finish"], undisturbed, start, tmp_path)


@pytest.mark.deep
def test_killed_twenty_times(undisturbed, start, tmp_path):
    """``kill -9`` at random moments of starting, training, saving and finishing: every bit is that of a quiet run."""
    assert_ends_as_undisturbed(TWENTY, undisturbed, start, tmp_path)


def assert_ends_as_undisturbed(moments: Sequence[str], undisturbed, start, folder: pathlib.Path) -> None:
    """A run that is killed at these moments, one after the other, leaves what one leaves that nobody killed."""
    chance = random.Random(0)
    for moment in moments:
        lives = (start("tests.support.victim", folder) for _ in range(5))  # a life may be over before its moment
        assert any(is_killed(life, moment, folder, chance) for life in lives), moment
    result = quietly(victim.run, folder)
    assert_same_results(result, undisturbed[0])
    assert_same_files(folder, undisturbed[1])
    assert tensorboard_steps(folder) == tensorboard_steps(undisturbed[1])
    assert {path.name for path in folder.iterdir()} == {path.name for path in undisturbed[1].iterdir()}


def is_killed(life: subprocess.Popen, moment: str, folder: pathlib.Path, chance: random.Random) -> bool:
    """Kill a process at such a moment; whether it was still alive."""
    wait_for(moment, life, folder, chance)
    life.kill()
    _, errors = life.communicate()
    assert life.returncode in (0, -signal.SIGKILL), errors
    return life.returncode != 0


def wait_for(moment: str, life: subprocess.Popen, folder: pathlib.Path, chance: random.Random) -> None:
    """Return at such a moment, which is random in itself; or when the process is over."""
    if moment == "start":  # importing, compiling, reading what there is
        time.sleep(chance.uniform(0, 2))
        return
    goal = last_step(folder) + chance.randint(1, 8) * STEPS_PER_UPDATE
    reached = {
        "train": lambda: last_step(folder) >= goal,
        "checkpoint": lambda: last_step(folder) == victim.NUM_ENV_STEPS,
        "finish": lambda: (folder / "checkpoints" / str(victim.NUM_UPDATES)).exists(),
        "plot": lambda: any(folder.glob(".curve-*")),
        "summary": lambda: (folder / "curve.png").exists(),
    }[moment]
    while life.poll() is None and not reached():
        time.sleep(0.001)
    if moment == "train":  # with a checkpoint every other step, this falls into saving as often as not
        time.sleep(chance.uniform(0, 0.05))
