"""Saving and loading the whole state of a run, with Orbax.

A checkpoint holds arrays and nothing that is executed on loading. It is written to a temporary folder that is
renamed when complete, so a folder with the final name is whole.
"""

import os
import pathlib

import jax
import numpy as np

from purerl.types import PyTree


def save(path: str | os.PathLike, state: PyTree, replace: bool = False) -> None:
    """Write ``state`` to a folder ``path``.

    Raises:
        ValueError: if the folder is there already and ``replace`` is not set.
    """
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(pathlib.Path(path).absolute(), _keys_to_data(state), force=replace)


def load(path: str | os.PathLike, like: PyTree) -> PyTree:
    """Read a state from the folder ``path``.

    Args:
        path: a folder that :func:`save` wrote.
        like: a state, or its ``jax.eval_shape``, with the structure, shapes and dtypes to expect.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if what is saved does not fit ``like``; the message names the first leaf that does not.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(path).absolute()
    if not path.is_dir():
        raise FileNotFoundError(f"No checkpoint at {path}.")
    target = jax.eval_shape(_keys_to_data, like)
    with ocp.StandardCheckpointer() as checkpointer:
        _check_fit(path, checkpointer.metadata(path), target)
        data = checkpointer.restore(path, target)
    return jax.tree.map(
        lambda leaf, saved: jax.random.wrap_key_data(saved, impl=_impl(leaf)) if _is_key(leaf) else saved,
        like,
        data,
    )


def _check_fit(path: pathlib.Path, metadata, target: PyTree) -> None:
    saved = {_name(p): leaf for p, leaf in jax.tree.leaves_with_path(metadata.item_metadata.tree)}
    expected = {_name(p): leaf for p, leaf in jax.tree.leaves_with_path(target)}
    for name in sorted(saved.keys() | expected.keys()):
        if name not in saved or name not in expected:
            where = "the run that was saved" if name in saved else "the run that loads"
            raise ValueError(f"Checkpoint {path} does not fit: only {where} has {name}.")
        have, want = saved[name], expected[name]
        if tuple(have.shape) != want.shape or np.dtype(have.dtype) != want.dtype:
            raise ValueError(
                f"Checkpoint {path} does not fit: {name} is {have.dtype}{list(have.shape)} there, but the run that "
                f"loads has {want.dtype}{list(want.shape)}. Load it with the settings that it was saved with."
            )


def _name(path: tuple) -> str:
    return ".".join(str(getattr(entry, "name", getattr(entry, "key", getattr(entry, "idx", entry)))) for entry in path)


def _is_key(leaf) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _impl(leaf) -> str:
    return str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else str(leaf.dtype._impl.name)


def _keys_to_data(state: PyTree) -> PyTree:
    """Typed keys as plain integers, which is what a file can hold."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)
