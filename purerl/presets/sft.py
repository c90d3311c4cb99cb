"""Supervised fine-tuning on the right answers of a task.

purerl train sft --env addition
"""

from purerl import envs
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, sft
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {
    "addition": Preset(SFTConfig(), SFTHypers(), num_env_steps=64_000),
}

EXPERIMENT = command_line.Experiment(
    name="sft",
    description="Imitate the right answers of a task, token by token.",
    make_env=envs.make,
    make_algorithm=sft,
    presets=PRESETS,
    default_env="addition",
    fallback=Preset(SFTConfig(), SFTHypers(), num_env_steps=64_000),
)
