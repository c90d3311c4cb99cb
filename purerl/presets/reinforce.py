"""REINFORCE with a value baseline, on any registered environment.

purerl train reinforce --env CartPole-v1 --num-seeds 8
"""

import functools

from purerl import envs
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.driver import command_line
from purerl.driver.command_line import Preset

_FALLING = ("learning_rate=linear:0",)
# Rollouts long enough that most returns in them end with their episode.
_CONFIG = PolicyGradientConfig(num_envs=8, num_steps=128, psi="reward_to_go", normalize_advantage=True)

PRESETS = {
    "CartPole-v1": Preset(_CONFIG, PolicyGradientHypers(learning_rate=5e-3), num_env_steps=500_000, schedule=_FALLING),
}

EXPERIMENT = command_line.Experiment(
    name="reinforce",
    description="Train REINFORCE with a value baseline.",
    make_env=envs.make,
    make_algorithm=functools.partial(policy_gradient, name="reinforce"),
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(_CONFIG, PolicyGradientHypers(), num_env_steps=1_000_000, schedule=_FALLING),
)
