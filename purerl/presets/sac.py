"""SAC on any registered environment.

purerl train sac --env Pendulum-v1 --num-seeds 10
"""

import dataclasses

from purerl import envs
from purerl.algorithms.continuous.sac import sac
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.driver import command_line
from purerl.driver.command_line import Preset

FALLING = ("learning_rate=linear:0", "actor_learning_rate=linear:0")

# Small networks, and a gradient step for every other step of the environments: as much as these tasks need. What
# differs from RL-Baselines3-Zoo was found by a few runs at full length.
SMALL = SACConfig(
    num_envs=4,
    num_gradient_steps=2,
    batch_size=128,
    replay_capacity=20_000,
    num_warmup_steps=1_000,
    hidden_sizes=(64, 64),
)
SMALL_HYPERS = SACHypers(learning_rate=2e-3, actor_learning_rate=1e-3, temperature_learning_rate=1e-3, tau=0.01)

PRESETS = {
    "Pendulum-v1": Preset(SMALL, SMALL_HYPERS, num_env_steps=20_000, schedule=FALLING),
    # The goal is found by noise that pushes one way for long; what is drawn anew at each step only shakes the car.
    "MountainCarContinuous-v0": Preset(
        dataclasses.replace(SMALL, num_steps=4, num_gradient_steps=4, replay_capacity=50_000),
        SMALL_HYPERS.replace(gamma=0.995, noise_std=0.5, noise_theta=0.05, initial_temperature=0.1),
        num_env_steps=50_000,
        schedule=FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="sac",
    description="Train soft actor-critic. Its variants: --reduce, --law, --policy-delay, --noise-std.",
    make_env=envs.make,
    make_algorithm=sac,
    presets=PRESETS,
    default_env="Pendulum-v1",
    fallback=Preset(SACConfig(), SACHypers(), num_env_steps=100_000),
)
