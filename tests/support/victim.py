"""The program that the tests of this folder kill, starve and disturb: a small run that goes on where it stopped.

``python -m tests.support.victim FOLDER`` trains; its options make the trouble that must come at a certain step.
"""

import argparse
import pathlib
import resource
import time
from unittest import mock

import jax

import purerl
from purerl.driver import TrainResult
from purerl.driver.running import loop
from purerl.driver.storage.checkpoint import Checkpoints
from tests.support.toy import STEPS_PER_UPDATE, ToyHypers, toy

NUM_UPDATES = 160
NUM_ENV_STEPS = NUM_UPDATES * STEPS_PER_UPDATE
FULL_DISK_BYTES = 1000  # no file may grow beyond, where the disk is full; less than any checkpoint's


def run(folder: pathlib.Path, hypers: ToyHypers | None = None, **options) -> TrainResult:
    """160 updates of two seeds, each of them logged, every eighth evaluated; resumed where there is something."""
    options = {"checkpoint_every": 2 * STEPS_PER_UPDATE, "resume": True} | options
    return purerl.train(
        toy(),
        hypers or ToyHypers(),
        jax.random.key(0),
        num_env_steps=NUM_ENV_STEPS,
        num_seeds=2,
        log_every=STEPS_PER_UPDATE,
        eval_every=8 * STEPS_PER_UPDATE,
        num_eval_episodes=4,
        out_dir=folder,
        progress=False,
        **options,
    )


def fill_disk(first_step: int, last_step: int) -> None:
    """Let no file grow between these steps."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def update(bar, step: int, *shown) -> None:
        full = first_step <= step <= last_step
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, unlimited[1]) if full else unlimited)

    mock.patch.object(loop.Progress, "update", update).start()


def stall() -> None:
    """Let the first checkpoint take forever, and say when it begins."""

    def save(*arguments) -> None:
        print("saving", flush=True)
        time.sleep(3600)

    mock.patch.object(Checkpoints, "save", save).start()


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--full", type=int, nargs=2, metavar=("FIRST_STEP", "LAST_STEP"))
    parser.add_argument("--stall", action="store_true")
    options = parser.parse_args()
    if options.full:
        fill_disk(*options.full)
    if options.stall:
        stall()
    run(options.folder)


if __name__ == "__main__":
    main()
