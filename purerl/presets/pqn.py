"""PQN on any registered environment, and on teams: QMIX, or VDN.

purerl train pqn --env Breakout-MinAtar --num-seeds 2
purerl train pqn --env team/two_step --mixer sum
"""

from purerl import envs
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.driver import command_line
from purerl.driver.command_line import Preset

_FALLING = ("learning_rate=linear:0",)
# A perceptron: much less work than the usual network for MinAtar, one convolution and one dense layer.
_MINATAR = Preset(
    PQNConfig(num_envs=128, num_steps=32, num_epochs=2, num_minibatches=32, hidden_sizes=(128, 64)),
    PQNHypers(learning_rate=5e-4, exploration_steps=1_000_000.0),
    num_env_steps=10_000_000,
    schedule=_FALLING,
)
# Uniform play, by which the values of all joint actions are learnt.
_TEAM = Preset(
    PQNConfig(
        num_envs=16,
        num_steps=4,
        num_epochs=2,
        num_minibatches=2,
        hidden_sizes=(16,),
        layer_norm=False,
        mixer="monotone",
        mixing_size=8,
    ),
    PQNHypers(learning_rate=5e-3, gamma=1.0, lambda_=0.0, epsilon_end=1.0),
    num_env_steps=40_000,
    schedule=_FALLING,
)

PRESETS = {
    "CartPole-v1": Preset(PQNConfig(), PQNHypers(), num_env_steps=500_000, schedule=_FALLING),
    **{f"{name}-MinAtar": _MINATAR for name in ("Breakout", "Asterix", "Freeway", "SpaceInvaders")},
    **{f"team/{name}": _TEAM for name in ("two_step", "climbing")},
}

EXPERIMENT = command_line.Experiment(
    name="pqn",
    description="Train a parallelised Q-network: Q-learning without a replay or a target network.",
    make_env=envs.make,
    make_algorithm=pqn,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(PQNConfig(), PQNHypers(), num_env_steps=1_000_000, schedule=_FALLING),
)
