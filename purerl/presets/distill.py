"""On-policy distillation: a student that writes, and a teacher who has learned from demonstrations.

purerl train distill --env addition
purerl train distill --env addition --teacher teacher.safetensors
"""

from purerl import envs
from purerl.algorithms.language.distillation import DistillationConfig, DistillationHypers, distill
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

SMALL = DecoderConfig(size=32, num_heads=2, num_kv_heads=2, feed_forward_size=128)
_CONFIG = DistillationConfig(decoder=SMALL, teacher_steps=800, divergence="vocabulary_to_go", warm_up_steps=100)
_HYPERS = DistillationHypers(warm_up_learning_rate=2e-3, learning_rate=1e-3)

PRESETS = {"addition": Preset(_CONFIG, _HYPERS, num_env_steps=900 * 64 + 200 * 64)}

EXPERIMENT = command_line.Experiment(
    name="distill",
    description="Train a language policy on its own answers by what a teacher thinks of every token.",
    make_env=envs.make,
    make_algorithm=distill,
    presets=PRESETS,
    default_env="addition",
    fallback=Preset(_CONFIG, _HYPERS, num_env_steps=900 * 64 + 200 * 64),
)
