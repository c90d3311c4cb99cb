"""TD3 on any registered environment.

purerl train td3 --env Pendulum-v1 --num-seeds 10
"""

import dataclasses

from purerl import envs
from purerl.algorithms.continuous.td3 import td3
from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from purerl.driver import command_line
from purerl.driver.command_line import Preset

FALLING = ("learning_rate=linear:0", "actor_learning_rate=linear:0")

# Small networks, and a gradient step for every other step of the environments, as SAC's.
SMALL = TD3Config(
    num_envs=4,
    num_steps=1,
    num_gradient_steps=2,
    batch_size=128,
    replay_capacity=20_000,
    num_warmup_steps=1_000,
    hidden_sizes=(64, 64),
)
SMALL_HYPERS = TD3Hypers(learning_rate=2e-3, actor_learning_rate=1e-3, tau=0.01)

PRESETS = {
    "Pendulum-v1": Preset(SMALL, SMALL_HYPERS, num_env_steps=20_000, schedule=FALLING),
    # The goal is found by noise that pushes one way for long. After SAC's; ten seeds of it have not been run yet.
    "MountainCarContinuous-v0": Preset(
        dataclasses.replace(SMALL, num_steps=4, num_gradient_steps=2, replay_capacity=100_000),
        SMALL_HYPERS.replace(gamma=0.995, noise_std=0.5, noise_theta=0.05),
        num_env_steps=100_000,
        schedule=FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="td3",
    description="Train TD3. Its variants: --reduce, --law, --policy-delay, --smoothing-std, --noise-theta.",
    make_env=envs.make,
    make_algorithm=td3,
    presets=PRESETS,
    default_env="Pendulum-v1",
    fallback=Preset(TD3Config(), TD3Hypers(), num_env_steps=100_000),
)
