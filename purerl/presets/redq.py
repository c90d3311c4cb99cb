"""REDQ: SAC with many critics, subsets of which make targets, and many steps of them for each of the environment's
(Chen et al. 2021b).

purerl train redq --env Pendulum-v1 --num-seeds 10
"""

import dataclasses

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.envs.base import Environment
from purerl.presets import sac as plain
from purerl.presets.tqc import make_algorithm as named
from purerl.recipes import recorded


@recorded
def make_algorithm(env: Environment, config: SACConfig) -> Algorithm:
    """SAC under another name."""
    return named(env, config, name="redq")


def redq(config: SACConfig, num_critics: int = 10, steps: int = 20) -> SACConfig:
    """So many critics, so many steps of them for each step of the environments, and one of the actor after them."""
    gradient_steps = steps * config.num_envs * config.num_steps
    return dataclasses.replace(
        config,
        num_critics=num_critics,
        reduce="expected_min",
        actor_reduce="mean",
        num_gradient_steps=gradient_steps,
        policy_delay=steps,
    )


# Five small critics and two steps: a tenth of the paper's work, to be
# affordable; ten seeds of it have not been run yet.
_SMALL = dataclasses.replace(redq(plain.SMALL, num_critics=5, steps=2), batch_size=64, num_warmup_steps=500)

PRESETS = {
    "Pendulum-v1": Preset(
        dataclasses.replace(_SMALL, policy_delay=1, replay_capacity=5_000),
        plain.SMALL_HYPERS,
        num_env_steps=5_000,
        schedule=plain.FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="redq",
    description="Train REDQ.",
    make_env=envs.make,
    make_algorithm=make_algorithm,
    presets=PRESETS,
    default_env="Pendulum-v1",
    fallback=Preset(redq(SACConfig()), SACHypers(), num_env_steps=100_000),
)
