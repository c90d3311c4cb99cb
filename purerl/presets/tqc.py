"""TQC: SAC whose critics are quantiles, the highest of which no target sees (Kuznetsov et al. 2020).

purerl train tqc --env Pendulum-v1 --num-seeds 10
"""

import dataclasses

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.continuous.sac import sac
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.envs.base import Environment
from purerl.presets import sac as plain
from purerl.recipes import recorded


@recorded
def make_algorithm(env: Environment, config: SACConfig, name: str = "tqc") -> Algorithm:
    """SAC under another name, which its titles and records have."""
    algorithm = sac(env, config)
    return algorithm._replace(spec=algorithm.spec._replace(name=name))


def tqc(config: SACConfig) -> SACConfig:
    """Quantiles in the place of means, pooled, without the two highest of each critic; the actor climbs their mean."""
    return dataclasses.replace(config, law="quantile", reduce="mean", actor_reduce="mean")


PRESETS = {
    env: preset._replace(
        config=dataclasses.replace(tqc(preset.config), num_quantiles=10, num_dropped=1, num_gradient_steps=1)
    )
    for env, preset in plain.PRESETS.items()
    if env == "Pendulum-v1"
}

EXPERIMENT = command_line.Experiment(
    name="tqc",
    description="Train TQC.",
    make_env=envs.make,
    make_algorithm=make_algorithm,
    presets=PRESETS,
    default_env="Pendulum-v1",
    fallback=Preset(tqc(SACConfig()), SACHypers(), num_env_steps=100_000),
)
