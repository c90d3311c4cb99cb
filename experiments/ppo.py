"""PPO on any registered environment, with settings that work for those that have a preset.

python -m experiments.ppo --env CartPole-v1 --num-seeds 32 --learning-rate 1e-3
"""

from purerl import envs
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.train import command_line
from purerl.train.command_line import Preset

_MINATAR = Preset(
    config=PPOConfig(
        num_envs=64,
        num_steps=64,
        num_epochs=4,
        num_minibatches=8,
        torso="cnn",
        hidden_sizes=(64,),
        activation="relu",
    ),
    hypers=PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0, gamma=0.99, gae_lambda=0.95, entropy_coef=0.01),
    num_env_steps=10_000_000,
)

PRESETS = {
    "CartPole-v1": Preset(
        config=PPOConfig(num_envs=8, num_steps=128, num_minibatches=4),
        hypers=PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0),
        num_env_steps=500_000,
    ),
    "Acrobot-v1": Preset(
        config=PPOConfig(num_envs=16, num_steps=128, num_minibatches=4, normalize_obs=True),
        hypers=PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0),
        num_env_steps=1_000_000,
    ),
    "Pendulum-v1": Preset(
        config=PPOConfig(
            num_envs=16, num_steps=128, num_epochs=10, num_minibatches=16, normalize_obs=True, normalize_reward=True
        ),
        hypers=PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0, gamma=0.95, entropy_coef=0.0),
        num_env_steps=750_000,
    ),
    "MountainCarContinuous-v0": Preset(
        config=PPOConfig(
            num_envs=32, num_steps=256, num_epochs=10, num_minibatches=8, normalize_obs=True, normalize_reward=True
        ),
        hypers=PPOHypers(learning_rate=1e-3, learning_rate_decay=1.0, gamma=0.999, gae_lambda=0.98, entropy_coef=0.01),
        num_env_steps=1_000_000,
    ),
    **{f"{game}-MinAtar": _MINATAR for game in ("Breakout", "Asterix", "Freeway", "SpaceInvaders")},
}

FALLBACK = Preset(config=PPOConfig(), hypers=PPOHypers(), num_env_steps=1_000_000)


def complete(hypers: PPOHypers, config: PPOConfig, num_env_steps: int) -> PPOHypers:
    """Let the decays span the run unless ``--decay-steps`` says otherwise."""
    return command_line.decay_over_run(config.num_optimizer_steps(num_env_steps), hypers)


def main(arguments: list[str] | None = None) -> command_line.TrainResult:
    """Run the command line."""
    return command_line.main(
        name="ppo",
        description="Train proximal policy optimisation.",
        make_env=envs.make,
        make_algorithm=ppo,
        presets=PRESETS,
        default_env="CartPole-v1",
        fallback=FALLBACK,
        complete=complete,
        arguments=arguments,
    )


if __name__ == "__main__":
    main()
