"""MuZero on any registered environment or board game: search in a model learnt for it.

purerl train muzero --env CartPole-v1
purerl train muzero --env Catch-bsuite --num-seeds 4
purerl train muzero --env pgx/tic_tac_toe

In a game it plays itself, knowing no rules but which moves are allowed now. What it has learnt of tic-tac-toe within a
few minutes, `python -m experiments.studies.every_line` puts to the proof.
"""

from purerl import envs
from purerl.algorithms.planning.muzero import MuZeroConfig, MuZeroHypers, muzero
from purerl.driver import command_line
from purerl.driver.command_line import Preset

_FALLING = ("learning_rate=linear:0",)

PRESETS = {
    # Visits learnt more steadily here than Gumbel's search. The values that are remembered are those of a weaker agent,
    # so the replay is small: one that keeps four times as much learnt half as fast.
    "CartPole-v1": Preset(
        MuZeroConfig(num_steps=8, search="puct", num_gradient_steps=32, hidden_sizes=(128,), replay_capacity=16_384),
        MuZeroHypers(gamma=0.99, value_weight=1.0),
        num_env_steps=153_600,
        schedule=_FALLING,
    ),
    "Catch-bsuite": Preset(
        MuZeroConfig(num_steps=8, num_gradient_steps=64, hidden_sizes=(128,), replay_capacity=16_384, support_size=2),
        MuZeroHypers(value_weight=1.0, l2=1e-5),
        num_env_steps=51_200,
        schedule=_FALLING,
    ),
    # A game is over within 9 moves, so that value targets are how it ended. Much noise brings about the positions that
    # another opponent would. With this epsilon h(1) = 1: lost, drawn and won are the three atoms.
    "pgx/tic_tac_toe": Preset(
        MuZeroConfig(
            num_envs=64,
            num_steps=8,
            num_gradient_steps=32,
            n_step=9,
            replay_capacity=16_384,
            support_size=1,
            hidden_sizes=(128,),
            latent_size=64,
        ),
        MuZeroHypers(gamma=1.0, value_weight=1.0, gumbel_scale=4.0, rescale_epsilon=2 - 2**0.5),
        num_env_steps=512_000,
        schedule=_FALLING,
    ),
}

EXPERIMENT = command_line.Experiment(
    name="muzero",
    description="Train MuZero: a search in a model that is learnt for the search.",
    make_env=envs.make,
    make_algorithm=muzero,
    presets=PRESETS,
    default_env="CartPole-v1",
    fallback=Preset(MuZeroConfig(), MuZeroHypers(), num_env_steps=500_000, schedule=_FALLING),
)
