"""The program that the tests of this folder kill, starve and disturb: a small run that goes on where it stopped.

``python -m tests.faults.victim FOLDER`` trains; it leaves with 3 where ``purerl.train`` was interrupted.
"""

import argparse
import pathlib
import resource
import sys
import time

import jax

import purerl
from purerl.train import Interrupted, TrainResult, checkpoint, loop
from tests.train.toy import ToyHypers, toy

NUM_UPDATES = 160
STEP = 10  # of the environment in an update
NUM_ENV_STEPS = NUM_UPDATES * STEP


def run(folder: pathlib.Path, **options) -> TrainResult:
    """160 updates of two seeds, each of them logged, every eighth evaluated; resumed where there is something."""
    options = {"checkpoint_every": 2 * STEP, "resume": True} | options
    return purerl.train(
        toy(),
        ToyHypers(),
        jax.random.key(0),
        num_env_steps=NUM_ENV_STEPS,
        num_seeds=2,
        log_every=STEP,
        eval_every=8 * STEP,
        num_eval_episodes=4,
        out_dir=folder,
        progress=False,
        **options,
    )
