"""TRPO on any registered environment.

purerl train trpo --env CartPole-v1 --num-seeds 8
"""

from purerl import envs
from purerl.algorithms.policy.trust_region import TrustRegionConfig, TrustRegionHypers, trust_region
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {
    "CartPole-v1": Preset(TrustRegionConfig(num_envs=8), TrustRegionHypers(), num_env_steps=100_000),
    "Acrobot-v1": Preset(
        TrustRegionConfig(num_envs=8, num_steps=64, num_minibatches=4, normalize_obs=True),
        TrustRegionHypers(),
        num_env_steps=100_000,
    ),
    "Pendulum-v1": Preset(
        TrustRegionConfig(normalize_obs=True, normalize_reward=True),
        TrustRegionHypers(gamma=0.9),
        num_env_steps=300_000,
    ),
    "MountainCarContinuous-v0": Preset(
        TrustRegionConfig(normalize_obs=True, normalize_reward=True),
        TrustRegionHypers(gamma=0.999, gae_lambda=0.98),
        num_env_steps=100_000,
    ),
}

FALLBACK = Preset(TrustRegionConfig(), TrustRegionHypers(), num_env_steps=1_000_000)

EXPERIMENT = command_line.Experiment(
    name="trpo",
    description="Train trust region policy optimisation.",
    make_env=envs.make,
    make_algorithm=trust_region,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=FALLBACK,
)
