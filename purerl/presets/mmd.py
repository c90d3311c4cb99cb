"""Magnetic mirror descent in Kuhn's and Leduc's poker: regularised self-play, whose last policy is what it learns.

purerl train mmd
purerl sweep mmd temperature=0,.01,.1,1 temperature_decay=0,.7
"""

from purerl import envs
from purerl.algorithms.games.mmd import MMDConfig, MMDHypers, mmd
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {"pgx/kuhn_poker": Preset(MMDConfig(), MMDHypers(), num_env_steps=10_000)}

EXPERIMENT = command_line.Experiment(
    name="mmd",
    description="Solve a small game with hidden cards by regularised self-play; a step is an iteration.",
    make_env=envs.make,
    make_algorithm=mmd,
    presets=PRESETS,
    default_env="pgx/kuhn_poker",
    fallback=Preset(MMDConfig(), MMDHypers(), num_env_steps=10_000),
)
