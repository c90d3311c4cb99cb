"""Rainbow: DQN with all of its six additions at once (Hessel et al. 2018).

purerl train rainbow --env CartPole-v1 --num-seeds 8
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.envs.base import Environment
from purerl.presets import dqn as plain
from purerl.recipes import recorded

PARTS: dict[str, Any] = {
    "target": "double",
    "dueling": "mean",
    "prioritized": True,
    "n_step": 3,
    "distribution": "c51",
    "noisy": True,
}
"""What each part sets of the config, in the order of the paper."""

# Discounted returns of rewards up to 1 lie within 100 of 0 at gamma 0.99. A distribution's mean begins in the middle of
# its support, which is therefore 0, where values begin in plain DQN too.
_CLASSIC = {"v_min": -100.0, "v_max": 100.0}
# On MinAtar a distribution has few gradient steps to become narrow; until then its mean is coarse. So the support is no
# wider than returns need, and targets follow sooner than where values are means.
_MINATAR = {"target_update_every": 2_000.0}
_HYPERS = {
    "CartPole-v1": _CLASSIC,
    "Acrobot-v1": _CLASSIC | {"learning_rate": 1e-3},
    "MountainCar-v0": _CLASSIC,
    "Breakout-MinAtar": _MINATAR | {"v_min": -10.0, "v_max": 10.0, "learning_rate": 3e-3},
    "Asterix-MinAtar": _MINATAR | {"v_min": -5.0, "v_max": 5.0, "learning_rate": 3e-3},
    "Freeway-MinAtar": _MINATAR | {"v_min": -5.0, "v_max": 5.0},
    "SpaceInvaders-MinAtar": _MINATAR | {"v_min": -20.0, "v_max": 20.0},
}
# Where noise as loud as the paper's did worse in a few runs: it misses the moment to swing, and does not live to see
# later waves.
_NOISE_SCALE = {"Acrobot-v1": 0.1, "SpaceInvaders-MinAtar": 0.03}


def rainbow(config: DQNConfig, without: Collection[str] = ()) -> DQNConfig:
    """All six parts on top of a config, but for some: there it is as in plain DQN, whatever the config says."""
    return dataclasses.replace(config, **PARTS | {name: getattr(DQNConfig, name) for name in without})


@recorded
def make_algorithm(env: Environment, config: DQNConfig, name: str = "rainbow") -> Algorithm:
    """DQN under another name, which its titles and records have."""
    algorithm = dqn(env, config)
    return algorithm._replace(spec=algorithm.spec._replace(name=name))


def _with_all_parts(env: str, preset: Preset) -> Preset:
    noise_scale = _NOISE_SCALE.get(env, preset.config.noise_scale)
    config = dataclasses.replace(rainbow(preset.config), noise_scale=noise_scale)
    return preset._replace(config=config, hypers=preset.hypers.replace(**_HYPERS[env]))


PRESETS = {env: _with_all_parts(env, preset) for env, preset in plain.PRESETS.items()}

EXPERIMENT = command_line.Experiment(
    name="rainbow",
    description="Train Rainbow.",
    make_env=envs.make,
    make_algorithm=make_algorithm,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(rainbow(DQNConfig()), DQNHypers(), num_env_steps=500_000),
)
