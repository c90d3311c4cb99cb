"""The natural policy gradient on any registered environment: TRPO without its line search.

purerl train npg --env CartPole-v1 --num-seeds 8
"""

import dataclasses

from purerl import envs
from purerl.algorithms.policy.trust_region import trust_region
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.presets import trpo


def _without_search(preset: Preset) -> Preset:
    return preset._replace(config=dataclasses.replace(preset.config, line_search=False))


PRESETS = {"CartPole-v1": _without_search(trpo.PRESETS["CartPole-v1"])._replace(num_env_steps=200_000)}

EXPERIMENT = command_line.Experiment(
    name="npg",
    description="Train the natural policy gradient.",
    make_env=envs.make,
    make_algorithm=trust_region,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=_without_search(trpo.FALLBACK),
)
