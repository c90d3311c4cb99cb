"""PPO on any registered environment.

purerl train ppo --env CartPole-v1 --num-seeds 32 --learning-rate 1e-3
"""

from purerl import envs
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.driver import command_line
from purerl.driver.command_line import Preset

# Settings after those of CleanRL, PureJaxRL and RL-Baselines3-Zoo for the same environments; what differs was found by
# a few runs at full length. Learning rates fall to zero over the run.
_MINATAR = PPOConfig(num_envs=64, num_steps=128, num_minibatches=8, activation="relu")
_MINATAR_HYPERS = PPOHypers(learning_rate=5e-3, learning_rate_decay=1.0)
# The cheapest of the memories, which --memory replaces by another.
_RECALL = PPOConfig(num_steps=64, hidden_sizes=(32, 32), memory="lru", memory_size=32, memory_window=8)

PRESETS = {
    "CartPole-v1": Preset(
        PPOConfig(num_envs=8),
        PPOHypers(learning_rate=3e-3, learning_rate_decay=1.0),
        num_env_steps=500_000,
    ),
    "Acrobot-v1": Preset(
        PPOConfig(num_envs=16, normalize_obs=True),
        PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0),
        num_env_steps=1_000_000,
    ),
    "Pendulum-v1": Preset(
        PPOConfig(num_envs=16, num_epochs=10, num_minibatches=16, normalize_obs=True, normalize_reward=True),
        PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0, gamma=0.95, entropy_coef=0.0),
        num_env_steps=750_000,
    ),
    "MountainCarContinuous-v0": Preset(
        PPOConfig(
            num_envs=32,
            num_steps=256,
            num_epochs=10,
            num_minibatches=8,
            normalize_obs=True,
            normalize_reward=True,
        ),
        PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0, gamma=0.999, gae_lambda=0.98),
        num_env_steps=500_000,
    ),
    "Breakout-MinAtar": Preset(_MINATAR, _MINATAR_HYPERS, num_env_steps=10_000_000),
    # Everything moves in Asterix: a network that knows the same thing in all places learns it far sooner.
    "Asterix-MinAtar": Preset(
        PPOConfig(num_envs=64, num_steps=32, torso="cnn", hidden_sizes=(64, 64), activation="relu", shared_torso=True),
        PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0),
        num_env_steps=1_500_000,
    ),
    "Freeway-MinAtar": Preset(
        _MINATAR, _MINATAR_HYPERS.replace(learning_rate=2e-3, gamma=0.995), num_env_steps=10_000_000
    ),
    "SpaceInvaders-MinAtar": Preset(_MINATAR, _MINATAR_HYPERS, num_env_steps=10_000_000),
    "RepeatPreviousEasy": Preset(
        _RECALL, PPOHypers(learning_rate=2e-3, learning_rate_decay=1.0), num_env_steps=400_000
    ),
    "CartPole-v1/positions": Preset(
        PPOConfig(num_envs=8, memory="lru", memory_size=32),
        PPOHypers(learning_rate=3e-3, learning_rate_decay=1.0),
        num_env_steps=200_000,
    ),
}

FALLBACK = Preset(PPOConfig(), PPOHypers(), num_env_steps=1_000_000)


def complete(hypers: PPOHypers, config: PPOConfig, num_env_steps: int) -> PPOHypers:
    """Let the decays span the run unless ``--decay-steps`` says otherwise."""
    return command_line.decay_over_run(config.num_optimizer_steps(num_env_steps), hypers)


EXPERIMENT = command_line.Experiment(
    name="ppo",
    description="Train proximal policy optimisation.",
    make_env=envs.make,
    make_algorithm=ppo,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=FALLBACK,
    complete=complete,
)
