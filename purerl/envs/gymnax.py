"""gymnax environments, the only file that knows gymnax's interface.

gymnax's own ``step`` splits its key and computes a whole reset at every step. Here its ``step_env``,
``reset_env`` and ``is_truncated`` are called directly, because resetting is the rollout's business.
gymnax is imported inside the functions, so that ``import purerl.envs`` stays light.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.base import Environment, in_32_bits
from purerl.names import near
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete, Space
from purerl.types import PyTree

# Observations that leave the box which gymnax declares for them, by class, with bounds that hold.
_TRUE_BOUNDS: Mapping[str, tuple[float, float]] = {
    "GaussianBandit": (-np.inf, np.inf),  # shows the last reward, a normal draw, and time scaled to [-1, 1]
    "MemoryChain": (-1.0, 2.0),  # context bits are -1 and 1
    "MetaMaze": (-np.inf, np.inf),  # shows the last reward, which the parameters set
    "MNISTBandit": (-1.0, 1.0),  # pixels are read as signed bytes
    "UmbrellaChain": (-1e-6, 1.0),  # the time that is left, 1 - t / n, ends below 0 by rounding
}


def gymnax_names() -> list[str]:
    """Every environment id that gymnax knows, also those registered with it at run time."""
    return list(_gymnax().registered_envs)


class _Later(types.ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _gymnax() -> Any:
    """The package, without seaborn, which it imports to colour Pong and MinAtar.

    seaborn brings pandas and SciPy's statistics, and with them took two thirds of the time that gymnax takes to import.
    Where a picture is drawn it is imported after all.
    """
    if not {"gymnax", "seaborn"} & sys.modules.keys():
        sys.modules["seaborn"] = _Later("seaborn")
        try:
            importlib.import_module("gymnax")
        finally:
            del sys.modules["seaborn"]
    return importlib.import_module("gymnax")


@recorded
def from_gymnax(name_or_env: Any, params: Any = None, **kwargs: Any) -> Environment:
    """A gymnax environment as an :class:`~purerl.envs.base.Environment`.

    Actions are passed on as they are: gymnax clips what it clips.

    Args:
        name_or_env: a gymnax id such as ``"CartPole-v1"``, or a gymnax environment object.
        params: gymnax parameters; the environment's defaults where None.
        **kwargs: fields of the parameters (``max_steps_in_episode=200``), and, with an id, arguments of
            the environment's constructor (``size=16`` for DeepSea).

    Returns:
        The environment, with ``reward`` in float32, boolean flags, an empty ``info`` and a state that keeps
        its dtypes from step to step. MinAtar's observations say what is where: they are boolean, a quarter of
        the memory of gymnax's numbers.

    Raises:
        ValueError: if a keyword is neither a parameter nor a constructor's argument.
        TypeError: if a space is neither ``Discrete`` nor ``Box``.
    """
    with jax.enable_x64(False):  # as its functions, see ``in_32_bits``
        env, params = _build(name_or_env, params, kwargs)
    name = name_or_env if isinstance(name_or_env, str) else env.name

    def kept(obs: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        return _strong((obs.astype(bool) if _is_minatar(env) else obs, state))

    @in_32_bits
    def reset(key: jax.Array) -> tuple[jax.Array, PyTree]:
        return kept(*env.reset_env(key, params))

    @in_32_bits
    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        action = jnp.asarray(action, action_space.dtype)
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        terminated = jnp.asarray(terminated, bool)
        truncated = jnp.asarray(env.is_truncated(state, params), bool)
        return *kept(obs, state), jnp.asarray(reward, jnp.float32), terminated, truncated, {}

    action_space = _space(env.action_space(params))
    obs, _ = jax.eval_shape(reset, jax.random.key(0))
    observation_space = _space(env.observation_space(params), _TRUE_BOUNDS.get(type(env).__name__), obs.dtype)
    return Environment(name, reset, step, observation_space, action_space)


def _build(name_or_env: Any, params: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The gymnax environment and its parameters, each given the keywords that belong to it."""
    gymnax = _gymnax()
    if isinstance(name_or_env, str):
        env, _ = gymnax.make(name_or_env)
        arguments = inspect.signature(type(env)).parameters.keys() & kwargs.keys()
        if arguments:
            env, _ = gymnax.make(name_or_env, **{name: kwargs[name] for name in arguments})
    else:
        env, arguments = name_or_env, set()
    params = env.default_params if params is None else params
    overrides = {name: value for name, value in kwargs.items() if name not in arguments}
    for name in overrides:
        if not hasattr(params, name):
            known = sorted(vars(params).keys() | set(inspect.signature(type(env)).parameters))
            raise ValueError(f"{env.name} has no parameter {name!r}. {near(name, known)}It has: {', '.join(known)}.")
    return env, params.replace(**overrides)


def _is_minatar(env: Any) -> bool:
    return type(env).__module__.startswith("gymnax.environments.minatar.")


def _strong(tree: PyTree) -> PyTree:
    """The same numbers with fixed dtypes: a Python scalar in a state is weakly typed, which a scan's carry
    may not be on one side only."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)


def _space(space: Any, bounds: tuple[Any, Any] | None = None, dtype: Any = None) -> Space:
    """gymnax's space as ours; ``dtype`` is what the arrays really have, whatever gymnax declares."""
    from gymnax.environments import spaces

    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n), np.dtype(dtype or space.dtype))
    if isinstance(space, spaces.Box):
        low, high = bounds or (space.low, space.high)
        return Box(_bound(low), _bound(high), tuple(space.shape), np.dtype(dtype or space.dtype))
    raise TypeError(
        f"gymnax space {space!r} is neither Discrete nor Box. Flatten it into one array in the gymnax "
        "environment, and declare that array's Box."
    )


def _bound(bound: Any) -> float | np.ndarray:
    """One number where all entries agree; the largest float stands for infinity."""
    bound = np.asarray(bound, np.float32)
    bound = np.where(np.abs(bound) >= np.finfo(np.float32).max, np.copysign(np.inf, bound), bound)
    return float(bound.flat[0]) if np.all(bound == bound.flat[0]) else bound
