"""IMPALA: actors that are eight updates old, corrected by V-trace, on any registered environment.

purerl train impala --env CartPole-v1 --num-seeds 8
"""

import functools

from purerl import envs
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.driver import command_line
from purerl.driver.command_line import Preset

_FALLING = ("learning_rate=linear:0",)
_CONFIG = PolicyGradientConfig(psi="vtrace", delay=8)

PRESETS = {
    "CartPole-v1": Preset(
        _CONFIG,
        PolicyGradientHypers(learning_rate=1e-3, gae_lambda=1.0),
        num_env_steps=500_000,
        schedule=_FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="impala",
    description="Train IMPALA, with a delay in the place of distributed actors.",
    make_env=envs.make,
    make_algorithm=functools.partial(policy_gradient, name="impala"),
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(_CONFIG, PolicyGradientHypers(gae_lambda=1.0), num_env_steps=1_000_000, schedule=_FALLING),
)
