"""AlphaZero on board games, by self-play with search.

purerl train alphazero --env pgx/tic_tac_toe
"""

from purerl import envs
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {
    "pgx/tic_tac_toe": Preset(
        AlphaZeroConfig(num_envs=64, num_steps=8, num_simulations=16, replay_capacity=16_384),
        AlphaZeroHypers(),
        num_env_steps=50_000,
    ),
    "pgx/connect_four": Preset(
        AlphaZeroConfig(num_envs=64, num_steps=32, num_gradient_steps=32), AlphaZeroHypers(), num_env_steps=500_000
    ),
}

EXPERIMENT = command_line.Experiment(
    name="alphazero",
    description="Train AlphaZero: self-play with search, from the rules of a game alone.",
    make_env=envs.make,
    make_algorithm=alphazero,
    presets=PRESETS,
    default_env="pgx/tic_tac_toe",
    fallback=Preset(AlphaZeroConfig(), AlphaZeroHypers(), num_env_steps=1_000_000),
)
