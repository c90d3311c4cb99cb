"""Outcome and process reward models, and the best of several answers by them.

purerl train prm --env running_sums
"""

from purerl import envs
from purerl.algorithms.language.process_reward import ProcessRewardConfig, ProcessRewardHypers, process_reward
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

SMALL = DecoderConfig(size=32, num_layers=2, num_heads=4, num_kv_heads=4, head_size=8, feed_forward_size=64)
PRESETS = {
    "running_sums": Preset(
        ProcessRewardConfig(decoder=SMALL, labels="steps", answer_score="product", warm_up_steps=500),
        ProcessRewardHypers(learning_rate=3e-3, warm_up_learning_rate=3e-3),
        num_env_steps=128_000,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="prm",
    description="Learn whether an answer is on the way to be right, and give the best of several.",
    make_env=envs.make,
    make_algorithm=process_reward,
    presets=PRESETS,
    default_env="running_sums",
    fallback=Preset(ProcessRewardConfig(warm_up_steps=100), ProcessRewardHypers(), num_env_steps=1_000_000),
)
