"""The file of an AlphaZero network: what is written comes back, anything else is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.games import saved
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero

KEY = jax.random.key(0)
SMALL = AlphaZeroConfig(num_envs=2, num_steps=2, batch_size=4, replay_capacity=16, torso="mlp", num_channels=64)


def test_network_in_a_file_comes_back(tmp_path):
    """As it was; a damaged file, another game, other sizes and pickled objects are refused."""
    game = envs.make("pgx/tic_tac_toe")
    params = alphazero(game, SMALL).init(AlphaZeroHypers(), KEY).params
    path = tmp_path / "network.npz"
    saved.save(path, game, SMALL, params)
    config, loaded = saved.load(path, game)
    assert config == SMALL
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    with pytest.raises(ValueError, match="plays pgx/tic_tac_toe, not pgx/connect_four"):
        saved.load(path, envs.make("pgx/connect_four"))
    saved.save(path, game, dataclasses.replace(SMALL, num_channels=32), params)
    with pytest.raises(ValueError, match="is missing or is not float32"):
        saved.load(path, game)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="no network saved by purerl, or is damaged"):
        saved.load(path, game)
    np.savez(path, about=np.array([object()]))
    with pytest.raises(ValueError, match="no network saved by purerl, or is damaged"):
        saved.load(path, game)
    with pytest.raises(FileNotFoundError):
        saved.load(tmp_path / "nothing.npz", game)
