"""Datasets for offline reinforcement learning: transitions on disk.

    dataset.save("cartpole.npz", dataset.complete_episodes(state.replay.ring), "CartPole-v1")
    transitions = dataset.load("cartpole.npz", env)  # [N, ...]

A file has a column for each field of :class:`~purerl.types.Transition` but ``info``, the environment's name and a
version. Rows are in the order in which they were recorded, episode after episode: only the last row of an episode is
terminated or truncated, and the next row begins another. ``.npz`` is an archive of NumPy arrays; ``.parquet`` is for
other tools, a table with arrays as lists of fixed size, and needs pyarrow.
"""

import hashlib
import importlib.util
import json
import math
import os
import pathlib
import zipfile
import zlib
from typing import Any

import jax
import numpy as np

from purerl.data.ring import Ring
from purerl.envs.base import Environment
from purerl.files import atomic_path
from purerl.types import Transition

VERSION = 1
COLUMNS = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
SUFFIXES = (".npz", ".parquet")
_ENV, _VERSION, _ABOUT = "env", "version", "purerl"


def complete_episodes(ring: Ring) -> Transition:
    """Complete episodes of a replay, those of one environment after those of another.

    Args:
        ring: of transitions, ``[C, B, ...]``. Where it is full, what was before its oldest row is lost, and an episode
            is only known to begin where another ended.

    Returns:
        ``[N, ...]``, on the host; N may be 0.
    """
    size, num_rows = int(ring.size), ring.items.reward.shape[0]
    rows = (int(ring.head) - size + np.arange(size)) % num_rows
    steps = jax.tree.map(lambda x: np.asarray(x)[rows], ring.items)
    ended = steps.terminated | steps.truncated  # [T, B]
    number = np.cumsum(ended, axis=0) - ended  # of the episode, among those of which anything is left
    whole = (number >= int(size == num_rows)) & (number < ended.sum(axis=0))
    return jax.tree.map(lambda x: x.swapaxes(0, 1)[whole.T], steps)


def episode_returns(transitions: Transition) -> np.ndarray:
    """Undiscounted returns of the complete episodes, ``[E]`` float64, in order.

    Args:
        transitions: ``[N, ...]``, episode after episode; an unfinished one at the end does not count.
    """
    ends = np.flatnonzero(transitions.terminated | transitions.truncated)
    return np.diff(np.cumsum(transitions.reward, dtype=np.float64)[ends], prepend=0.0)


def fingerprint(transitions: Transition) -> str:
    """Fingerprint of a dataset: SHA-256 of its columns, the same for the same transitions in any file."""
    digest = hashlib.sha256()
    for name, column in _columns(transitions).items():
        digest.update(f"{name} {column.dtype.str} {column.shape} ".encode())
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def save(path: str | os.PathLike, transitions: Transition, env_name: str) -> None:
    """Save a dataset, whole or not at all.

    Args:
        path: ``.npz`` or ``.parquet``.
        transitions: ``[N, ...]``, episode after episode; observations and actions are arrays.
        env_name: of the environment that they come from.

    Raises:
        ValueError: for another kind of file, without pyarrow for ``.parquet``, or if there are no transitions.
    """
    path = check_path(path)
    columns = _columns(transitions)
    if not len(columns["reward"]):
        raise ValueError(f"{path}: there are no transitions to save. Record at least one complete episode.")
    write = _write_npz if path.suffix == ".npz" else _write_parquet
    with atomic_path(path) as temporary:
        write(temporary, columns, env_name)


def load(path: str | os.PathLike, env: Environment) -> Transition:
    """Load a dataset, and check that its columns fit an environment's spaces.

    Args:
        path: ``.npz`` or ``.parquet``, as :func:`save` writes them. Nothing in it is ever executed.
        env: where they come from.

    Returns:
        ``[N, ...]``, on the host.

    Raises:
        ValueError: if the file is damaged or of another kind, comes from another environment, lacks a column, or has
            one whose dtype, shape or values the environment's spaces rule out.
        FileNotFoundError: if there is no such file.
    """
    path = check_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file. Write one with purerl.data.dataset.save.")
    found = (_read_npz if path.suffix == ".npz" else _read_parquet)(path)
    missing = [name for name in (*COLUMNS, _ENV, _VERSION) if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: purerl.data.dataset.save writes all that is needed.")
    if str(found[_VERSION]) != str(VERSION):
        raise ValueError(f"{path} is of version {found[_VERSION]}, but this program reads {VERSION}: save it anew.")
    if str(found[_ENV]) != env.name:
        raise ValueError(f"{path} holds transitions of {found[_ENV]}, not of {env.name}: choose its environment.")
    columns: dict[str, Any] = {name: np.asarray(found[name]) for name in COLUMNS}
    transitions = Transition(**columns, info={})
    check(str(path), transitions, env)
    return transitions


def check(where: str, transitions: Transition, env: Environment) -> None:
    """Nothing, if transitions fit an environment's spaces.

    Args:
        where: they come from, for the message.
        transitions: ``[N, ...]``, on the host.
        env: that they are of.

    Raises:
        ValueError: for a column whose dtype, shape, length or values the environment's spaces rule out; all are finite.
    """
    obs, action = env.observation_space, env.action_space
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "obs": (obs.dtype, obs.shape),
        "action": (action.dtype, action.shape),
        "reward": (np.float32, ()),
        "terminated": (np.bool_, ()),
        "truncated": (np.bool_, ()),
        "next_obs": (obs.dtype, obs.shape),
    }
    columns: dict[str, Any] = {**_columns(transitions)}
    for name, column in columns.items():
        _check_column(where, name, column, *expected[name])
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise ValueError(f"{where}: columns differ in length ({lengths}): each has one row a step.")
    if not len(columns["reward"]):
        raise ValueError(f"{where} has no rows: a dataset needs at least one transition.")
    with jax.ensure_compile_time_eval():  # also where a dataset is checked while something else is traced
        contained = np.asarray(action.contains(columns["action"]))
    if not contained.all():
        raise ValueError(f"{where}: column action has values that are not in {action}: save the actions as they are.")


def check_path(path: str | os.PathLike) -> pathlib.Path:
    """The path, if files of its kind can be written and read.

    Raises:
        ValueError: for another kind, or without pyarrow for ``.parquet``.
    """
    path = pathlib.Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a dataset's name ends in {' or '.join(SUFFIXES)}.")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f'{path} needs pyarrow: pip install "purerl[data]", or use .npz.')
    return path


# --- columns ----------------------------------------------------------------------------------------------


def _columns(transitions: Transition) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(getattr(transitions, name)) for name in COLUMNS}
    for name, column in columns.items():
        if column.dtype.kind == "O":
            raise ValueError(f"{name} is no array of numbers: a dataset holds arrays alone, not records of them.")
    return columns


def _check_column(where: str, name: str, column: np.ndarray, dtype: Any, shape: tuple[int, ...]) -> None:
    """A column is ``[N, *shape]``, all of it finite.

    Raises:
        ValueError: if it is something else.
    """
    dtype = np.dtype(dtype)
    if column.dtype != dtype or not column.ndim or column.shape[1:] != tuple(shape):
        sizes = ", ".join(map(str, ("N", *shape)))
        raise ValueError(
            f"{where}: column {name} is {column.dtype}{list(column.shape)}, but the environment has {dtype}[{sizes}]: "
            "convert it."
        )
    finite = np.isfinite(column).reshape(len(column), math.prod(shape)).all(axis=1)
    if not finite.all():
        raise ValueError(f"{where}: column {name} is not finite in row {np.argmin(finite)}: leave that episode out.")


# --- the two kinds of files -------------------------------------------------------------------------------


def _write_npz(path: pathlib.Path, columns: dict[str, Any], env_name: str) -> None:
    about: dict[str, Any] = {_ENV: np.array(env_name), _VERSION: np.array(VERSION)}
    np.savez_compressed(path, **columns, **about)


def _read_npz(path: pathlib.Path) -> dict[str, Any]:
    # NumPy takes whatever is no archive for pickled objects, and advises to load those.
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz archive, or only the beginning of one: save it anew.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            reason = "it holds objects, which are not loaded, since that may execute code"
        else:
            reason = f"it is damaged: {error}"
        raise ValueError(f"{path} cannot be read ({reason}): save it anew, as plain arrays.") from error


def _write_parquet(path: pathlib.Path, columns: dict[str, np.ndarray], env_name: str) -> None:
    import pyarrow
    from pyarrow import parquet

    def packed(column: np.ndarray) -> pyarrow.Array:
        flat = pyarrow.array(column.reshape(-1))
        return flat if column.ndim == 1 else pyarrow.FixedSizeListArray.from_arrays(flat, math.prod(column.shape[1:]))

    shapes = {name: column.shape[1:] for name, column in columns.items()}
    about = json.dumps({_ENV: env_name, _VERSION: VERSION, "shapes": shapes})
    table = pyarrow.table({name: packed(column) for name, column in columns.items()})
    parquet.write_table(table.replace_schema_metadata({_ABOUT: about}), path, write_page_checksum=True)


def _read_parquet(path: pathlib.Path) -> dict[str, Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {}).get(_ABOUT.encode(), b"{}"))
        shapes = about.pop("shapes", {})

        def unpacked(name: str) -> np.ndarray:
            column = table[name].combine_chunks()
            flat = column.flatten() if pyarrow.types.is_fixed_size_list(column.type) else column
            return flat.to_numpy(zero_copy_only=False).reshape(-1, *shapes.get(name, ()))

        return about | {name: unpacked(name) for name in table.column_names}
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} cannot be read (it is no Parquet table, or damaged): save it anew.") from error
