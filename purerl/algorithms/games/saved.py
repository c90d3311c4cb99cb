"""The network of an AlphaZero run, in a file small enough to give away: a run's checkpoint holds its replay as well."""

import dataclasses
import json
import os
import pathlib
import zipfile
from typing import Any

import jax
import numpy as np

from purerl import files
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero
from purerl.envs.games import Game
from purerl.types import PyTree

_ABOUT = "about"  # name of the entry that is no parameter


def save(path: str | os.PathLike, game: Game, config: AlphaZeroConfig, params: PyTree) -> None:
    """Write a network, whole or not at all.

    Args:
        path: a ``.npz`` file.
        game: that it plays.
        config: that it was made with.
        params: of one agent.
    """
    about = json.dumps({"format": 1, "game": game.name, "config": dataclasses.asdict(config)})
    entries: dict[str, Any] = {_ABOUT: np.array(about)}
    entries |= {jax.tree_util.keystr(at): np.asarray(leaf) for at, leaf in jax.tree.leaves_with_path(params)}
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **entries)


def load(path: str | os.PathLike, game: Game) -> tuple[AlphaZeroConfig, PyTree]:
    """The config and the parameters. Nothing in the file is executed or unpickled.

    Args:
        path: written by :func:`save`.
        game: that is to be played.

    Raises:
        ValueError: if it is no such file, it is damaged, or it plays another game.
        FileNotFoundError: if there is none.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as entries:
            arrays = {name: entries[name] for name in entries.files}
        about = json.loads(str(arrays.pop(_ABOUT)))
        config, plays = AlphaZeroConfig(**about["config"]), about["game"]
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no network saved by purerl, or is damaged: {error}") from error
    if plays != game.name:
        raise ValueError(f"{path} plays {plays}, not {game.name}.")
    like = jax.eval_shape(alphazero(game, config).init, AlphaZeroHypers(), jax.random.key(0)).params

    def leaf(at: tuple, wanted: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(at)
        if name not in arrays or (arrays[name].shape, arrays[name].dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"{path}: {name} is missing or is not {wanted.dtype}{list(wanted.shape)}.")
        return arrays[name]

    return config, jax.tree.map_with_path(leaf, like)
