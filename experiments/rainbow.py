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

# The support of the returns: discounted ones, so 100 is the most that rewards of 1 can add up to at gamma 0.99.
_SUPPORT = {
    "CartPole-v1": (0.0, 100.0),
    "Acrobot-v1": (-100.0, 0.0),
    "MountainCar-v0": (-100.0, 0.0),
}
# On MinAtar a law has few gradient steps to become narrow, and until then its mean is coarse. So the support is no
# wider than returns need, with 0 in its middle, where values begin; steps are longer and targets follow sooner than
# where values are means; and noise begins smaller than the outputs that it is added to.
_MINATAR = {"lowest": -20.0, "highest": 20.0, "learning_rate": 3e-3, "target_update_every": 2_000.0}
_MINATAR_NOISE_SCALE = 0.1


def rainbow(config: DQNConfig, without: Collection[str] = ()) -> DQNConfig:
    """All six parts on top of a config, but for some: there it is as in plain DQN, whatever the config says."""
    return dataclasses.replace(config, **PARTS | {name: getattr(DQNConfig, name) for name in without})


def _with_all_parts(env: str, preset: Preset) -> Preset:
    config = rainbow(preset.config)
    if env in _SUPPORT:
        lowest, highest = _SUPPORT[env]
        return preset._replace(config=config, hypers=preset.hypers.replace(lowest=lowest, highest=highest))
    config = dataclasses.replace(config, noise_scale=_MINATAR_NOISE_SCALE)
    return preset._replace(config=config, hypers=preset.hypers.replace(**_MINATAR))


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
