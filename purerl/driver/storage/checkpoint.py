"""Numbered checkpoints of a run, with Orbax: written in the background, whole or not at all, checked when read.

A checkpoint holds arrays and plain JSON; nothing in it is executed on loading. Every leaf has a checksum, computed
from its bits where they lie, so it does not depend on how the arrays were spread over devices when they were saved.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import notices
from purerl.types import PyTree

_SPARE_BYTES = 2**20
_PIECE = 2**22  # elements of an array that are summed up at a time


class Saved(NamedTuple):
    """What a checkpoint gives back."""

    step: int
    state: PyTree
    meta: dict[str, Any]


class CorruptError(Exception):
    """A checkpoint cannot be read, or is not what was written."""


class Checkpoints:
    """The checkpoints ``STEP/`` in one folder. A context manager; leaving it waits for what is being written."""

    def __init__(self, folder: str | os.PathLike, keep: int = 3, read_only: bool = False) -> None:
        """Open a folder, or make one.

        Args:
            folder: where the checkpoints are.
            keep: how many of the last to keep, besides the best.
            read_only: only to load; the folder must exist.

        Raises:
            FileNotFoundError: if there is no such folder to read.
        """
        import orbax.checkpoint as ocp

        self.folder = pathlib.Path(folder).absolute()
        if read_only and not self.folder.is_dir():
            raise FileNotFoundError(f"No checkpoints at {self.folder}.")
        self._ocp = ocp
        self._policy = _LastAndBest(keep)
        for logger in _ORBAX_LOGS:
            logger.addFilter(_is_not_of_orbax)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if read_only else self._policy,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        for step, score in self._scores().items():
            self._policy.saw(step, score)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        try:
            self.wait()
        except OSError as error:
            notices.warn(str(error))
        with contextlib.suppress(Exception):  # the same error once more
            self._manager.close()

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step whose evaluation was the best of those saved; None where none was evaluated."""
        scores = self._scores()
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def save(self, step: int, state: PyTree, meta: dict[str, Any], score: float | None = None) -> None:
        """Begin to write a checkpoint; returns when ``state`` may be changed. One of the same step is replaced.

        Args:
            step: its number.
            state: arrays, typed keys too.
            meta: plain values to keep beside it.
            score: what the evaluation of this very state gave; the best one is kept.

        Raises:
            OSError: if this or the last checkpoint could not be written. The others are untouched.
        """
        data = _keys_to_data(state)
        sums = checksums(data)
        leaves = [
            [_name(path), str(leaf.dtype), list(leaf.shape), checksum]
            for (path, leaf), checksum in zip(jax.tree.leaves_with_path(data), sums, strict=True)
        ]
        score = None if score is None or not math.isfinite(score) else score
        document = {"step": step, "score": score, "leaves": leaves, "meta": meta}
        args = self._ocp.args
        items = args.Composite(
            state=args.StandardSave(_by_name(data)), meta=args.JsonSave(document | {"sha256": _sha256(document)})
        )
        self.wait()
        self._check_room(data)
        with self._writing():
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._policy.saw(step, score)
            self._manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is whole.

        Raises:
            OSError: if it could not be written.
        """
        with self._writing():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.check_for_errors()  # forgets them, too: they would fail the next checkpoint

    def load(self, like: PyTree, step: int | None = None) -> Saved:
        """Read a checkpoint.

        Args:
            like: a state, or its ``jax.eval_shape``, with the structure, shapes, dtypes, and where they are
                given the shardings, to expect. What was saved from one mesh loads on another.
            step: which one; None: the newest that can be read, with a warning for each that cannot.

        Raises:
            FileNotFoundError: if there is no checkpoint, or none of that step.
            ValueError: if the checkpoint does not fit ``like``, names the first leaf that does not; or if none can be
                read. Nothing is deleted.
        """
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(f"No checkpoint in {self.folder}.")
        if step is not None and step not in steps:
            there = ", ".join(map(str, steps))
            raise FileNotFoundError(f"No checkpoint of step {step} in {self.folder}; there are those of {there}.")
        for candidate in reversed(steps) if step is None else [step]:
            try:
                return self._load(like, candidate)
            except CorruptError as error:
                notices.warn(f"Checkpoint {self.folder / str(candidate)} is damaged ({error}) and is passed over.")
        raise ValueError(
            f"None of the checkpoints asked for in {self.folder} can be read "
            f"({', '.join(map(str, reversed(steps if step is None else [step])))}). Nothing was deleted; "
            "restore the folder from a copy, or start a new run."
        )

    def _load(self, like: PyTree, step: int) -> Saved:
        document = self._meta(step)
        target = jax.tree.map(_with_sharding, _keys_to_data_of(like))
        _check_fit(self.folder / str(step), document["leaves"], target)
        try:
            args = self._ocp.args
            wanted = args.Composite(state=args.StandardRestore(_by_name(target)))
            data = _of_names(target, self._manager.restore(step, args=wanted).state)
        except Exception as error:  # whatever the parts of Orbax make of damaged files
            raise CorruptError(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}") from error
        sums = checksums(data)
        for (name, _, _, expected), found in zip(document["leaves"], sums, strict=True):
            if expected != found:
                raise CorruptError(f"the checksum of {name} is wrong")
        return Saved(step, _data_to_keys(like, data), document["meta"])

    def _check_room(self, data: PyTree) -> None:
        """Leave the last megabyte to the logs, and do not begin what a full disk would end."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(data)) + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed and jax.process_count() == 1:  # several processes would have to agree
            raise OSError(
                f"A checkpoint takes up to {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free at {self.folder}."
            )

    def _scores(self) -> dict[int, float]:
        """Score of every checkpoint that has one, in order of steps."""
        scores: dict[int, float] = {}
        for step in self.steps():
            with contextlib.suppress(CorruptError):
                score = self._meta(step)["score"]
                scores |= {} if score is None else {step: score}
        return scores

    def _meta(self, step: int) -> dict[str, Any]:
        """The JSON document of a checkpoint, if it is whole and ours."""
        try:
            args = self._ocp.args
            document = self._manager.restore(step, args=args.Composite(meta=args.JsonRestore())).meta
            sha256 = document.pop("sha256")
            intact = sha256 == _sha256(document) and document["step"] == step
        except Exception as error:
            raise CorruptError(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}") from error
        if not intact:
            raise CorruptError("its description does not have the checksum that it states")
        return document

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore have many kinds of errors for a disk that is full
            for unfinished in self.folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(unfinished, ignore_errors=True)
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            raise OSError(f"A checkpoint could not be written to {self.folder} ({reason}).") from error


# Where Orbax tells of an error, before it raises it and long after, in hundreds of lines.
_ORBAX_LOGS = (logging.getLogger("absl"), logging.getLogger("asyncio"))


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    text = record.pathname + record.getMessage()
    return not any(name in text for name in ("orbax", "OCDBT", "tensorstore"))


class _LastAndBest:
    """Orbax's policy of preservation: the last few checkpoints, and the best."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.best: int | None = None
        self._score = -math.inf

    def saw(self, step: int, score: float | None) -> None:
        if score is not None and score >= self._score:
            self.best, self._score = step, score

    def should_preserve(self, checkpoints: Sequence, **_: Any) -> Sequence[bool]:
        last = len(checkpoints) - self.keep
        return [i >= last or checkpoint.step == self.best for i, checkpoint in enumerate(checkpoints)]


def checksums(data: PyTree) -> list[int]:
    """``sum_i (2 i + 1) bits_i mod 2^32`` of every leaf: odd factors, so any one changed element changes the sum.

    NumPy reads what lies in this process's memory. A program does the rest, so that no other device's replay has to
    travel; it has a loop for every leaf, which takes seconds to compile.
    """
    leaves = jax.tree.leaves(data)
    if all(x.is_fully_addressable and all(device.platform == "cpu" for device in x.devices()) for x in leaves):
        return [_checksum_on_host(np.asarray(x)) for x in leaves]
    return jax.device_get(jax.jit(_checksums)(leaves)).tolist()


def _checksum_on_host(x: np.ndarray) -> int:
    x = np.ascontiguousarray(np.stack([x.real, x.imag]) if np.iscomplexobj(x) else x).reshape(-1)
    bits, total = x.view(f"u{min(x.itemsize, 4)}"), 0
    for start in range(0, bits.size, _PIECE):
        piece = bits[start : start + _PIECE].astype(np.uint32)
        index = np.arange(piece.size, dtype=np.uint32) + np.uint32(start % 2**32)
        total += int(np.dot(piece, 2 * index + np.uint32(1)))  # wraps around, as it should
    return total % 2**32


def _checksums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([_checksum(x) for x in leaves])


def _checksum(x: jax.Array) -> jax.Array:
    """Piece by piece along the second axis (the first is that which devices share): XLA stores what it sums up here."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = jnp.stack([x.real, x.imag])
    x = x.reshape(x.shape or 1)
    axis = min(1, x.ndim - 1)
    length = x.shape[axis]
    size = math.ceil(length / max(1, x.size // _PIECE))

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        start = jnp.minimum(i * size, length - size)  # the last piece overlaps with the one before
        bits = _bits(jax.lax.dynamic_slice_in_dim(x, start, size, axis))
        shape = x.shape + bits.shape[x.ndim :]
        place = [jax.lax.broadcasted_iota(jnp.uint32, bits.shape, dimension) for dimension in range(bits.ndim)]
        place[axis] += start.astype(jnp.uint32)
        index = sum(at * np.uint32(math.prod(shape[i + 1 :]) % 2**32) for i, at in enumerate(place))
        is_new = place[axis] >= (i * size).astype(jnp.uint32)
        return total + jnp.sum(jnp.where(is_new, bits * (2 * index + 1), 0), dtype=jnp.uint32)

    return jax.lax.fori_loop(0, math.ceil(length / size) if length else 0, add, jnp.uint32(0))


def _bits(x: jax.Array) -> jax.Array:
    """What it is stored as, as uint32."""
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def _by_name(data: PyTree) -> dict[str, Any]:
    """Leaves by name, without empty ones, which Orbax does not take."""
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(data) if leaf.size}


def _of_names(like: PyTree, leaves: dict[str, jax.Array]) -> PyTree:
    """The inverse of :func:`_by_name`."""
    return jax.tree.map_with_path(
        lambda path, leaf: leaves[_name(path)] if leaf.size else jnp.zeros(leaf.shape, leaf.dtype), like
    )


def _sha256(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _check_fit(path: pathlib.Path, leaves: list, target: PyTree) -> None:
    saved = {name: (dtype, tuple(shape)) for name, dtype, shape, _ in leaves}
    expected = {_name(p): (str(leaf.dtype), leaf.shape) for p, leaf in jax.tree.leaves_with_path(target)}
    for name in sorted(saved.keys() | expected.keys()):
        if name not in saved or name not in expected:
            where = "the run that was saved" if name in saved else "the run that loads"
            raise ValueError(f"Checkpoint {path} does not fit: only {where} has {name}.")
        (dtype, shape), (want_dtype, want_shape) = saved[name], expected[name]
        if (dtype, shape) != (want_dtype, want_shape):
            widths = {dtype, want_dtype} in ({"float32", "float64"}, {"int32", "int64"})
            remedy = "where JAX_ENABLE_X64 is as it was" if widths else "with the settings that it was saved with"
            raise ValueError(
                f"Checkpoint {path} does not fit: {name} is {dtype}{list(shape)} there, but the run that "
                f"loads has {want_dtype}{list(want_shape)}. Load it {remedy}."
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


def _keys_to_data_of(like: PyTree) -> PyTree:
    """Shapes, dtypes and shardings of :func:`_keys_to_data`."""

    def shape(leaf):
        data = jax.eval_shape(_keys_to_data, leaf)
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=getattr(leaf, "sharding", None))

    return jax.tree.map(shape, like)


def _data_to_keys(like: PyTree, data: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf, saved: jax.random.wrap_key_data(saved, impl=_impl(leaf)) if _is_key(leaf) else saved, like, data
    )


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if leaf.sharding is not None:
        return leaf
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
