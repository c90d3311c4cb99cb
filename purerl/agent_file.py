"""Agents in files: what acting needs of a state, hyperparameters, and the recipe of the algorithm, as ``.safetensors``.

Tensors are called by their place, ``state.params['params']['Dense_0']['kernel']`` or ``hypers.learning_rate``; the
metadata has one entry, ``purerl``, in JSON. A file holds numbers and names alone: reading it runs no code but purerl's
own and that of modules which the caller allows.
"""

import inspect
import json
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr, Literal

from purerl import files, recipes
from purerl.types import PyTree, Seen

SUFFIX = ".safetensors"
_ENTRY, _FORMAT = "purerl", 1


class Read(NamedTuple):
    """What is in a file."""

    algorithm: Any  # an Algorithm, made again
    hypers: PyTree
    state: PyTree  # zeros where acting does not look
    about: Mapping[str, Any]  # as it was saved


def save(
    path: str | os.PathLike, algorithm: Any, hypers: PyTree, state: PyTree, about: Mapping[str, Any] | None = None
) -> None:
    """Write an agent, whole or not at all.

    Args:
        path: a ``.safetensors`` file.
        algorithm: that acts, made by a factory with :func:`purerl.recorded`.
        hypers: of the agent.
        state: of the agent, without an axis of seeds.
        about: plain values to keep beside it.

    Raises:
        ValueError: for another suffix, or an algorithm without a recipe.
    """
    import safetensors.numpy

    path = pathlib.Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: an agent is saved to a file whose name ends in {SUFFIX}.")
    numbers = {}
    tensors: dict[str, np.ndarray] = {}
    for at, leaf in jax.tree.leaves_with_path(hypers):
        name = f"hypers{jax.tree_util.keystr(at)}"
        if isinstance(leaf, bool | int | float):  # stays what it is: its type is weaker than an array's
            numbers[name] = recipes.plain(leaf)
        else:
            tensors[name] = _tensor(leaf)
    for name, leaf in _needed(algorithm, hypers, state).items():
        tensors[name] = _tensor(leaf)
    text = {
        "format": _FORMAT,
        "made_by": _recipe(algorithm),
        "hypers_class": recipes.name_of(type(hypers)),
        "hypers": numbers,
        "settings": files.plain(dict(algorithm.spec.settings)),
        "about": files.plain(dict(about or {})),
    }
    with files.atomic_path(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, {_ENTRY: json.dumps(text, allow_nan=False)})


def read(path: str | os.PathLike, allow: Collection[str] = (), given: Mapping[str, Any] | None = None) -> Read:
    """The agent in a file.

    Args:
        path: written by :func:`save`.
        allow: names of modules, or packages, besides purerl that it may name; their code runs.
        given: arguments of the factory, such as ``env``, that the file cannot name, or to be used instead.

    Raises:
        ValueError: if it is no such file, is damaged, names what is not allowed, or does not fit what it names.
        FileNotFoundError: if there is none.
    """
    text, tensors = _parse(pathlib.Path(path))
    algorithm = recipes.make(text["made_by"], allow, given or {})
    if files.plain(dict(algorithm.spec.settings)) != text["settings"]:
        raise ValueError(f"{path} was saved with other settings than what it names has today.")
    hypers_like = recipes.make({"call": text["hypers_class"], "arguments": {}}, allow)
    numbers = {name: recipes.make(number) for name, number in text["hypers"].items()}

    def number(at: tuple, default: Any) -> Any:
        name = f"hypers{jax.tree_util.keystr(at)}"
        if name not in numbers and name not in tensors:
            raise ValueError(f"{path}: {name} is missing.")
        return numbers[name] if name in numbers else jax.numpy.asarray(tensors[name])

    hypers = jax.tree.map_with_path(number, hypers_like)
    like = jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
    needed = {*_needed(algorithm, hypers, like)}

    def leaf(at: tuple, wanted: jax.ShapeDtypeStruct) -> Any:
        name = f"state{jax.tree_util.keystr(at)}"
        return _array(path, name, tensors, wanted) if name in needed else _zeros(wanted)

    return Read(algorithm, hypers, jax.tree.map_with_path(leaf, like), text["about"])


def environment(algorithm: Any) -> Any:
    """The environment that an algorithm was made for; None where its recipe does not say."""
    recipe = algorithm.spec.recipe
    values = () if recipe is None else (value for _, value in recipe.arguments)
    return next((value for value in values if hasattr(value, "observation_space")), None)


def example(algorithm: Any, env: Any, batch_size: int = 1) -> tuple[PyTree, Seen, jax.Array]:
    """Shapes and types of a carry, of what is seen and of a key, as ``act`` takes them."""

    def call(key: jax.Array) -> tuple[PyTree, Seen, jax.Array]:
        batch = jax.tree.map(lambda x: jax.numpy.stack([jax.numpy.asarray(x)] * batch_size), algorithm.start())
        obs, env_state = jax.vmap(env.reset)(jax.random.split(key, batch_size))
        return batch, Seen(obs, env_state), key

    return jax.eval_shape(call, jax.random.key(0))


def _needed(algorithm: Any, hypers: PyTree, state: PyTree) -> dict[str, Any]:
    """Leaves of a state that its actions depend on, as deployed or sampled, by name.

    Raises:
        ValueError: if nothing acts, or the environment is not known.
    """
    env = environment(algorithm)
    if algorithm.act is None or env is None:
        raise ValueError(f"{algorithm.spec.name} does not act in an environment that it names: no agent can be saved.")
    can_sample = "sample" in inspect.signature(algorithm.act).parameters

    def actions(state: PyTree, hypers: PyTree, carry: PyTree, seen: Seen, key: jax.Array) -> list:
        ways: list[dict[str, bool]] = [{}, {"sample": True}] if can_sample else [{}]
        return [algorithm.act(hypers, state, carry, seen, key, **how) for how in ways]

    jaxpr = jax.make_jaxpr(actions)(state, hypers, *example(algorithm, env)).jaxpr
    named = [(f"state{jax.tree_util.keystr(at)}", leaf) for at, leaf in jax.tree.leaves_with_path(state)]
    used = used_variables(jaxpr)
    return {name: leaf for (name, leaf), var in zip(named, jaxpr.invars[: len(named)], strict=True) if var in used}


def used_variables(jaxpr: Jaxpr) -> set[Any]:
    """Variables that the results of a program depend on; of an equation with one of them, all that go into it."""
    used = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    for equation in reversed(jaxpr.eqns):
        if used & {*equation.outvars}:
            used |= {var for var in equation.invars if not isinstance(var, Literal)}
    return used


def _recipe(algorithm: Any) -> Any:
    """The recipe of an algorithm as JSON.

    Raises:
        ValueError: if it has none.
    """
    if recipes.recipe_of(algorithm) is None:
        raise ValueError(
            f"{algorithm.spec.name} was made by a factory without a recipe, or its functions were replaced: mark its "
            "factory with purerl.recorded."
        )
    return recipes.plain(algorithm)


def _parse(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Text and tensors of a file.

    Raises:
        ValueError: if it is no such file, or is damaged.
        FileNotFoundError: if there is none.
    """
    import safetensors

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = json.loads((file.metadata() or {})[_ENTRY])
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no agent saved by purerl, or is damaged: {error}") from error
    wanted = {"made_by": dict, "hypers_class": str, "hypers": dict, "settings": dict, "about": dict}
    if not isinstance(text, dict) or text.get("format") != _FORMAT:
        raise ValueError(f"{path} is no agent of this version of purerl.")
    if not all(isinstance(text.get(name), kind) for name, kind in wanted.items()):
        raise ValueError(f"{path} is no agent saved by purerl, or is damaged: it lacks a part.")
    return text, tensors


def _tensor(leaf: Any) -> np.ndarray:
    """A leaf as the file has it: keys as their data, types that NumPy does not have as their bits."""
    if jax.dtypes.issubdtype(jax.numpy.asarray(leaf).dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    array = array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
    return np.array(array, order="C")


def _array(path: str | os.PathLike, name: str, tensors: Mapping[str, np.ndarray], wanted: jax.ShapeDtypeStruct) -> Any:
    """The leaf of a name.

    Raises:
        ValueError: if it is missing, or of another shape or type.
    """
    found: Any = tensors.get(name)
    is_key = jax.dtypes.issubdtype(wanted.dtype, jax.dtypes.prng_key)
    if found is not None and is_key and found.dtype == np.uint32:
        found = jax.random.wrap_key_data(found)
    elif found is not None and not is_key and wanted.dtype.kind == "V" and found.itemsize == wanted.dtype.itemsize:
        found = found.view(wanted.dtype)
    if found is None or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"{path}: {name} is missing or is not {wanted.dtype}{list(wanted.shape)}.")
    return jax.numpy.asarray(found)


def _zeros(like: jax.ShapeDtypeStruct) -> Any:
    """Stands for a leaf that nobody looks at: one number however large it seems."""
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), like.shape)
    return np.broadcast_to(np.zeros((), like.dtype), like.shape)
