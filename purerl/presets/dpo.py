"""DPO: a policy that learns from pairs of answers of which one is preferred.

purerl train dpo --env overrated
"""

from purerl import envs
from purerl.algorithms.language.dpo import DPOConfig, DPOHypers, dpo
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

SMALL = DecoderConfig(size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_size=8, feed_forward_size=32)
PRESETS = {
    "overrated": Preset(
        DPOConfig(decoder=SMALL, batch_size=128),
        DPOHypers(learning_rate=3e-3, beta=0.5, noise=0.5),
        num_env_steps=512_000,
        schedule=("learning_rate=linear:0",),
    ),
}

EXPERIMENT = command_line.Experiment(
    name="dpo",
    description="Learn from pairs of answers of which one is preferred.",
    make_env=envs.make,
    make_algorithm=dpo,
    presets=PRESETS,
    default_env="overrated",
    fallback=Preset(DPOConfig(), DPOHypers(), num_env_steps=128_000),
)
