"""R2D2, Q-learning with an LSTM, on any registered environment, and on CartPole without its velocities.

purerl train r2d2 --env CartPole-v1/positions --num-seeds 4
"""

from purerl import envs
from purerl.algorithms.value.r2d2 import R2D2Config, R2D2Hypers, r2d2
from purerl.driver import command_line
from purerl.driver.command_line import Preset

POSITIONS = "CartPole-v1/positions"

_FALLING = ("learning_rate=linear:0",)
# One-step targets: where only the last action matters, those of more steps are of what exploration did there.
_RECALL = R2D2Config(sequence_length=8, burn_in=0, overlap=4, n_step=1, replay_capacity=16_384, hidden_sizes=(32,))

PRESETS = {
    "probe/memory": Preset(
        _RECALL,
        R2D2Hypers(learning_rate=2e-3, exploration_steps=2_000.0, target_update_every=500.0),
        num_env_steps=12_800,
        schedule=_FALLING,
    ),
    "MemoryChain-bsuite": Preset(
        _RECALL,
        R2D2Hypers(learning_rate=2e-3, exploration_steps=5_000.0, target_update_every=500.0),
        num_env_steps=25_600,
        schedule=_FALLING,
    ),
    POSITIONS: Preset(
        R2D2Config(num_gradient_steps=8, replay_capacity=102_400),
        R2D2Hypers(learning_rate=1e-3, exploration_steps=20_000.0),
        num_env_steps=102_400,
        schedule=_FALLING,
    ),
}


EXPERIMENT = command_line.Experiment(
    name="r2d2",
    description="Train R2D2: Q-learning with an LSTM, from sequences.",
    make_env=envs.make,
    make_algorithm=r2d2,
    presets=PRESETS,
    default_env="MemoryChain-bsuite",
    fallback=Preset(R2D2Config(), R2D2Hypers(), num_env_steps=500_000, schedule=_FALLING),
)
