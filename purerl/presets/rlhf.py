"""RLHF: PPO with a KL penalty, of the task's reward, of judges that may be wrong, or of a reward model.

purerl train rlhf --env overrated
"""

from purerl import envs
from purerl.algorithms.language.rlhf import RLHFConfig, RLHFHypers, rlhf
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.nets.decoder import DecoderConfig

SMALL = DecoderConfig(size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_size=8, feed_forward_size=32)
PRESETS = {
    "overrated": Preset(
        RLHFConfig(decoder=SMALL, reward="proxy", combine="min", normalize_advantage=False),
        RLHFHypers(learning_rate=3e-3, value_learning_rate=1e-2),
        num_env_steps=64_000,
    ),
    "addition": Preset(
        RLHFConfig(batch_size=256, num_minibatches=4, warm_up_steps=200),
        RLHFHypers(beta=0.01),
        num_env_steps=128_000,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="rlhf",
    description="Improve answers by a reward, near the policy that they began with.",
    make_env=envs.make,
    make_algorithm=rlhf,
    presets=PRESETS,
    default_env="overrated",
    fallback=Preset(RLHFConfig(), RLHFHypers(), num_env_steps=128_000),
)
