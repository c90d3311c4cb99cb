"""Short answers from a policy that gives long ones (long2short): mirror descent with a reward for length, after
convergence.

The warm-up imitates right answers of all lengths until they are right; then reward is what the task gives, and what the
group says about the length. It is as right as it was, in fewer tokens.

purerl train long2short
"""

import dataclasses
import functools

from purerl import envs
from purerl.algorithms.language.mirror_descent import MirrorDescentConfig, MirrorDescentHypers, mirror_descent
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

_SMALL = DecoderConfig(size=32, num_heads=2, num_kv_heads=2, feed_forward_size=128)
_CONFIG = MirrorDescentConfig(decoder=_SMALL, length_reward="relative", warm_up_steps=800)
_HYPERS = MirrorDescentHypers(learning_rate=2e-4, length_weight=0.3, warm_up_learning_rate=2e-3)

PRESETS = {"long_addition": Preset(_CONFIG, _HYPERS, num_env_steps=800 * 64 + 60 * 256)}

EXPERIMENT = command_line.Experiment(
    name="long2short",
    description="Shorten a language policy's answers without making them wrong: mirror descent with a length reward.",
    make_env=envs.make,
    make_algorithm=functools.partial(mirror_descent, name="long2short"),
    presets=PRESETS,
    default_env="long_addition",
    fallback=Preset(dataclasses.replace(_CONFIG, decoder=DecoderConfig()), _HYPERS, num_env_steps=66_560),
)
