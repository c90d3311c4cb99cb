"""DDPG: one critic, no noise on the target's action and no delay (Lillicrap et al. 2016).

purerl train ddpg --env Pendulum-v1 --num-seeds 10
"""

import dataclasses

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.continuous.td3 import td3
from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.envs.base import Environment
from purerl.presets import td3 as twin
from purerl.recipes import recorded


@recorded
def make_algorithm(env: Environment, config: TD3Config, name: str = "ddpg") -> Algorithm:
    """TD3 under another name, which its titles and records have."""
    algorithm = td3(env, config)
    return algorithm._replace(spec=algorithm.spec._replace(name=name))


def ddpg(preset: Preset) -> Preset:
    """What TD3 added is taken away again."""
    config = dataclasses.replace(preset.config, num_critics=1, policy_delay=1)
    return preset._replace(config=config, hypers=preset.hypers.replace(smoothing_std=0.0))


PRESETS = {"Pendulum-v1": ddpg(twin.PRESETS["Pendulum-v1"])}

EXPERIMENT = command_line.Experiment(
    name="ddpg",
    description="Train DDPG.",
    make_env=envs.make,
    make_algorithm=make_algorithm,
    presets=PRESETS,
    default_env="Pendulum-v1",
    fallback=ddpg(Preset(TD3Config(), TD3Hypers(), num_env_steps=100_000)),
)
