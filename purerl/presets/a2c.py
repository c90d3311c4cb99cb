"""A2C, advantage actor-critic, on any registered environment.

purerl train a2c --env CartPole-v1 --num-seeds 8
"""

import functools

from purerl import envs
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.driver import command_line
from purerl.driver.command_line import Preset

_FALLING = ("learning_rate=linear:0",)

PRESETS = {
    "CartPole-v1": Preset(
        PolicyGradientConfig(num_envs=8),
        PolicyGradientHypers(learning_rate=3e-3),
        num_env_steps=500_000,
        schedule=_FALLING,
    ),
    "Acrobot-v1": Preset(
        PolicyGradientConfig(normalize_obs=True),
        PolicyGradientHypers(learning_rate=2e-3),
        num_env_steps=500_000,
        schedule=_FALLING,
    ),
    "Pendulum-v1": Preset(
        PolicyGradientConfig(num_envs=8, normalize_obs=True, normalize_reward=True),
        PolicyGradientHypers(learning_rate=2e-3, gamma=0.9, gae_lambda=0.9, entropy_coef=0.0),
        num_env_steps=1_000_000,
        schedule=_FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="a2c",
    description="Train advantage actor-critic.",
    make_env=envs.make,
    make_algorithm=functools.partial(policy_gradient, name="a2c"),
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(PolicyGradientConfig(), PolicyGradientHypers(), num_env_steps=1_000_000, schedule=_FALLING),
)
