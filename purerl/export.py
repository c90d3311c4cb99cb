"""Agents as programs, for machines without purerl: whatever acts, with its parameters, by ``jax.export`` or in ONNX.

A program takes a batch of a fixed size. All of its arrays are in flat tuples, so that it needs no class of ours:
``(carry, seen, key data) -> (carry, action)``, where what is seen has the environment's state only if actions depend on
it. Unlike a saved agent, a program is code: run only those whose origin you trust.
"""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from purerl import agent_file, files
from purerl.types import PyTree, Seen

SUFFIX, ONNX = ".program", ".onnx"
PLATFORMS = ("cpu", "cuda", "tpu")
_ENTRY, _FORMAT = "purerl", 1


class Program(NamedTuple):
    """What a file of :func:`export` does."""

    start: Callable  # () -> carry
    policy: Callable  # (carry, seen, key) -> (carry, action) over a batch
    obs_like: PyTree  # of one observation
    samples: bool  # whether it draws its actions
    batch_size: int


def export(
    path: str | os.PathLike,
    start: Callable,
    policy: Callable,
    example: tuple[PyTree, Seen, jax.Array],
    samples: bool = False,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Write a program, whole or not at all.

    Args:
        path: ``.program`` for one of ``jax.export``, ``.onnx`` for one in ONNX, which needs the extra ``onnx``.
        start: ``() -> carry`` of one environment.
        policy: ``(carry, seen, key) -> (carry, action)`` over a batch.
        example: shapes and types of carry, seen and key, whose first axis is the size of the batch; the key has none.
        samples: whether it draws its actions from its key.
        platforms: where it is to run, for ``jax.export``.

    Raises:
        ValueError: for another suffix, a policy that ONNX has no words for, or where the extra is missing.
    """
    path = pathlib.Path(path)
    if path.suffix == ONNX:
        _write_onnx(path, policy, example, samples)
        return
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: a program is exported to a file whose name ends in {SUFFIX} or {ONNX}.")
    import safetensors.numpy

    carry, seen, key = example
    if not _looks_at_state(policy, example):
        seen = Seen(seen.obs)
    trees = [jax.tree.structure(tree) for tree in (carry, seen)]

    def program(carry: tuple, seen: tuple, key_data: jax.Array) -> tuple[tuple, tuple]:
        carry, action = policy(*map(jax.tree.unflatten, trees, (carry, seen)), jax.random.wrap_key_data(key_data))
        return tuple(jax.tree.leaves(carry)), tuple(jax.tree.leaves(action))

    flat = [tuple(jax.tree.leaves(tree)) for tree in (carry, seen)]
    key_data = jax.eval_shape(jax.random.key_data, key)
    exported = jax.export.export(jax.jit(program), platforms=tuple(platforms))(*flat, key_data)
    leaves = jax.tree.leaves(seen.obs)
    about = {
        "format": _FORMAT,
        "batch_size": leaves[0].shape[0],
        "obs": [[list(leaf.shape[1:]), leaf.dtype.name] for leaf in leaves],
        "samples": samples,
        "takes_state": bool(jax.tree.leaves(seen.env_state)),
    }
    tensors = {"program": np.frombuffer(exported.serialize(), np.uint8)}
    tensors |= {f"start.{i}": np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(start()))}
    with files.atomic_path(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, {_ENTRY: json.dumps(about)})


def read(path: str | os.PathLike) -> Program:
    """A program of ``jax.export``. It is code: read only what comes from where you trust.

    Raises:
        ValueError: if it is no such file, or is damaged.
        FileNotFoundError: if there is none.
    """
    import safetensors

    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[_ENTRY])
            names = [name for name in file.keys() if name.startswith("start.")]  # noqa: SIM118
            carry = tuple(file.get_tensor(f"start.{i}") for i in range(len(names)))
            exported = _deserialized(file.get_tensor("program"))
        obs_like = [jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype)) for shape, dtype in about["obs"]]
        samples, takes_state, batch_size = bool(about["samples"]), bool(about["takes_state"]), int(about["batch_size"])
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no program exported by purerl, or is damaged: {error}") from error

    def policy(carry: PyTree, seen: Seen, key: jax.Array) -> tuple[PyTree, Any]:
        leaves = jax.tree.leaves(seen if takes_state else seen.obs)
        if len(leaves[0]) != batch_size:
            raise ValueError(f"The program acts for {batch_size} environments at once, not for {len(leaves[0])}.")
        if takes_state and not jax.tree.leaves(seen.env_state):
            raise ValueError("The program searches from the environment's state: act(..., env_state=env_state).")
        carry, action = exported.call(tuple(carry), tuple(leaves), jax.random.key_data(key))
        return carry, action[0] if len(action) == 1 else action

    # Observations of several arrays come in any container: what counts is the order of their leaves.
    return Program(lambda: carry, policy, obs_like[0] if len(obs_like) == 1 else None, samples, batch_size)


def _looks_at_state(policy: Callable, example: tuple[PyTree, Seen, jax.Array]) -> bool:
    """Whether actions depend on the environment's state."""
    jaxpr = jax.make_jaxpr(policy)(*example).jaxpr
    num_before = len(jax.tree.leaves((example[0], example[1].obs)))
    used = agent_file.used_variables(jaxpr)
    return any(var in used for var in jaxpr.invars[num_before:-1])


def _deserialized(data: np.ndarray) -> jax.export.Exported:
    """The program in these bytes.

    Raises:
        ValueError: if they are none.
    """
    try:
        return jax.export.deserialize(bytearray(data.tobytes()))
    except Exception as error:  # it takes bytes as they are: anything can go wrong
        raise ValueError(f"these bytes are no program ({type(error).__name__})") from error


def _write_onnx(path: pathlib.Path, policy: Callable, example: tuple[PyTree, Seen, jax.Array], samples: bool) -> None:
    """``(obs, carry ...) -> (action, carry ...)`` in ONNX.

    Raises:
        ValueError: if actions are drawn, ONNX has no words for the policy, or the extra is missing.
    """
    if samples:
        raise ValueError(f"{path}: ONNX has no random numbers of JAX's: export an agent that does not sample.")
    try:
        import jax2onnx
    except ImportError as error:
        raise ValueError(f"{path} needs jax2onnx: pip install 'purerl[onnx]', or use {SUFFIX}.") from error
    carry, seen, _ = example
    leaves, tree = jax.tree.flatten((seen.obs, carry))

    def program(*arrays: jax.Array) -> tuple:
        obs, carry = jax.tree.unflatten(tree, arrays)
        carry, action = policy(carry, Seen(obs), jax.random.key(0))
        return (*jax.tree.leaves(action), *jax.tree.leaves(carry))

    try:
        model = jax2onnx.to_onnx(program, inputs=leaves, model_name="agent")
    except Exception as error:  # of whatever kind the converter has
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: this agent cannot be said in ONNX ({reason}); export it as {SUFFIX}.") from error
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
