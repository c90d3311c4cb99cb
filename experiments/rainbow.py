"""Rainbow: DQN with all of its six additions at once (Hessel et al. 2018).

python -m experiments.rainbow --env CartPole-v1 --num-seeds 8
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from experiments import dqn as plain
from purerl import envs
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.train import command_line
from purerl.train.command_line import Preset

PARTS: dict[str, Any] = {
    "target": "double",
    "dueling": "mean",
    "prioritized": True,
    "n_step": 3,
    "law": "c51",
    "noisy": True,
}
"""What each part sets of the config, in the order of the paper."""

# Discounted returns of rewards up to 1 lie within 100 of 0 at gamma 0.99. A law's mean begins in the middle of its
# support, which is therefore 0, where values begin in plain DQN too.
_CLASSIC = {"lowest": -100.0, "highest": 100.0}
# On MinAtar a law has few gradient steps to become narrow, and until then its mean is coarse. So the support is no
# wider than returns need, targets follow sooner than where values are means, and noise begins smaller than the outputs
# that it is added to.
_MINATAR = {"lowest": -20.0, "highest": 20.0, "target_update_every": 2_000.0}
_MINATAR_NOISE_SCALE = 0.1
# Where it is not plain DQN's. Long steps keep noise up: Adam moves its scales by as much as weights, which are larger.
# That Breakout needs, and Asterix does not bear.
_LEARNING_RATE = {"CartPole-v1": 1e-3, "Breakout-MinAtar": 3e-3}


def rainbow(config: DQNConfig, without: Collection[str] = ()) -> DQNConfig:
    """All six parts on top of a config, but for some: there it is as in plain DQN, whatever the config says."""
    return dataclasses.replace(config, **PARTS | {name: getattr(DQNConfig, name) for name in without})


def _with_all_parts(env: str, preset: Preset) -> Preset:
    config, hypers, of_all = rainbow(preset.config), preset.hypers, _CLASSIC
    if env.endswith("-MinAtar"):
        config, of_all = dataclasses.replace(config, noise_scale=_MINATAR_NOISE_SCALE), _MINATAR
    learning_rate = _LEARNING_RATE.get(env, hypers.learning_rate)
    return preset._replace(config=config, hypers=hypers.replace(**of_all, learning_rate=learning_rate))


PRESETS = {env: _with_all_parts(env, preset) for env, preset in plain.PRESETS.items()}

EXPERIMENT = command_line.Experiment(
    name="rainbow",
    description="Train Rainbow.",
    make_env=envs.make,
    make_algorithm=dqn,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(rainbow(DQNConfig()), DQNHypers(), num_env_steps=500_000),
)

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
