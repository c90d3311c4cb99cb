"""A reward model from comparisons of answers, on a task whose rewards are known.

purerl train reward_model --env overrated
"""

from purerl import envs
from purerl.algorithms.language.reward_model import RewardModelConfig, RewardModelHypers, reward_model
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

SMALL = DecoderConfig(size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_size=8, feed_forward_size=32)
PRESETS = {
    "overrated": Preset(
        RewardModelConfig(decoder=SMALL, num_answers=4, loss="plackett-luce"),
        RewardModelHypers(learning_rate=3e-3, noise=0.25),
        num_env_steps=64_000,
        schedule=("learning_rate=linear:0",),
    ),
}

EXPERIMENT = command_line.Experiment(
    name="reward_model",
    description="Learn what answers are worth from which of them are preferred.",
    make_env=envs.make,
    make_algorithm=reward_model,
    presets=PRESETS,
    default_env="overrated",
    fallback=Preset(RewardModelConfig(warm_up_steps=100), RewardModelHypers(), num_env_steps=128_000),
)
