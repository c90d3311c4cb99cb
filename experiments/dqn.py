"""DQN and its variants on any registered environment, with settings that work for those that have a preset.

python -m experiments.dqn --env CartPole-v1 --num-seeds 8 --target double --n-step 3
"""

from purerl import envs
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.train import command_line
from purerl.train.command_line import Preset

# One gradient step for every two to eight steps of the environments, whose number only changes how many are stepped at
# once. Settings after those of RL-Baselines3-Zoo and CleanRL; what differs was found by a few runs at full length.
_MINATAR = DQNConfig(
    num_envs=16,
    num_steps=4,
    num_gradient_steps=16,
    batch_size=32,
    replay_capacity=102_400,
    num_warmup_steps=5_120,
    target="double",
    torso="cnn",
    hidden_sizes=(128,),
)
_MINATAR_HYPERS = DQNHypers(
    learning_rate=2.5e-4, exploration_steps=100_000.0, epsilon_end=0.01, target_update_every=4_000.0
)

PRESETS = {
    "CartPole-v1": Preset(
        DQNConfig(
            num_steps=8,
            num_gradient_steps=32,
            replay_capacity=100_000,
            hidden_sizes=(256, 256),
            target="double",
        ),
        DQNHypers(learning_rate=1e-3, target_update_every=640.0, exploration_steps=16_000.0),
        num_env_steps=100_000,
        schedule=("learning_rate=linear:0",),
    ),
    "Acrobot-v1": Preset(
        DQNConfig(num_steps=4, num_gradient_steps=8, replay_capacity=51_200, hidden_sizes=(256, 256), target="double"),
        DQNHypers(learning_rate=6e-4, target_update_every=1_000.0, exploration_steps=12_000.0),
        num_env_steps=200_000,
        schedule=("learning_rate=linear:0",),
    ),
    "MountainCar-v0": Preset(
        DQNConfig(
            num_steps=16,
            num_gradient_steps=32,
            batch_size=128,
            replay_capacity=51_200,
            hidden_sizes=(256, 256),
            target="double",
            n_step=3,
        ),
        DQNHypers(learning_rate=2e-3, target_update_every=1_000.0, exploration_steps=60_000.0, epsilon_end=0.07),
        num_env_steps=300_000,
        schedule=("learning_rate=linear:0",),
    ),
    **{
        f"{name}-MinAtar": Preset(_MINATAR, _MINATAR_HYPERS, num_env_steps=10_000_000)
        for name in ("Breakout", "Asterix", "Freeway", "SpaceInvaders")
    },
}

EXPERIMENT = command_line.Experiment(
    name="dqn",
    description="Train deep Q-learning. Its variants: --target, --law, --dueling, --noisy, --prioritized, --n-step.",
    make_env=envs.make,
    make_algorithm=dqn,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(DQNConfig(), DQNHypers(), num_env_steps=500_000),
)

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
