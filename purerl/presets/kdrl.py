"""Reinforcement learning and distillation in one (KDRL): a reward, and a teacher where an answer is not right.

The teacher's weight falls to 0 over the run: in the end it is the reward alone that counts, and a student may become
better than its teacher.

purerl train kdrl --env addition
"""

import dataclasses
import functools

from purerl import envs
from purerl.algorithms.language.distillation import distill
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.presets.distill import EXPERIMENT as DISTILL

_PLAIN = DISTILL.fallback
_CONFIG = dataclasses.replace(
    _PLAIN.config, num_prompts=16, num_samples=8, divergence="token", reward="leave_one_out", distil="wrong"
)
_ADDITION = Preset(_CONFIG, _PLAIN.hypers, num_env_steps=900 * 64 + 200 * 128, schedule=("beta=linear:0",))

PRESETS = {"addition": _ADDITION}

EXPERIMENT = command_line.Experiment(
    name="kdrl",
    description="Train a language policy by a reward, and by a teacher in the answers that are not right.",
    make_env=envs.make,
    make_algorithm=functools.partial(distill, name="kdrl"),
    presets=PRESETS,
    default_env="addition",
    fallback=_ADDITION,
)
