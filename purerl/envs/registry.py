"""Environments by name."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from purerl.env_names import EnvName, Named
from purerl.envs import bandits
from purerl.envs import wrappers as all_wrappers
from purerl.envs.base import Environment
from purerl.envs.gymnax import from_gymnax, gymnax_names
from purerl.envs.language import token_by_token
from purerl.envs.legal import expose_legal, one_player
from purerl.envs.lqr import lqr
from purerl.envs.matrix_games import MATRIX_GAMES, repeated
from purerl.envs.mdp import environment
from purerl.envs.memory import repeat_first, repeat_previous, t_maze
from purerl.envs.pgx import from_pgx, pgx_names
from purerl.envs.probes import PROBES, masked, multi_discrete
from purerl.envs.teams import climbing, joint, two_step
from purerl.envs.textbook import TEXTBOOK
from purerl.language.tasks import TASKS
from purerl.names import near
from purerl.recipes import attach, name_of, recorded

_POSITIONS = {"Acrobot-v1": (0, 1, 2, 3), "CartPole-v1": (0, 2), "MountainCar-v0": (0,), "Pendulum-v1": (0, 1)}


def _positions(name: str, **kwargs: Any) -> Environment:
    """Without the velocities, which only a memory can make up for."""
    return all_wrappers.select_observation(from_gymnax(name, **kwargs), _POSITIONS[name])


def _textbook(name: str, max_steps: int | None = None, **kwargs: Any) -> Environment:
    return environment(TEXTBOOK[name](**kwargs), name, max_steps)


def _matrix_game(name: str, **kwargs: Any) -> Environment:
    return repeated(MATRIX_GAMES[name](), name=f"matrix/{name}", **kwargs)


_factories: dict[str, Callable[..., Any]] = {  # what they make has an Environment's attributes, whatever its type
    **{f"probe/{name}": probe.env for name, probe in PROBES.items()},
    "probe/masked": masked,
    "probe/multi-discrete": multi_discrete,
    "bandit/gaussian": bandits.gaussian,
    "bandit/bernoulli": bandits.bernoulli,
    "bandit/random-walk": bandits.random_walk,
    "bandit/linear": bandits.linear,
    **{f"{name}/positions": functools.partial(_positions, name) for name in _POSITIONS},
    "RepeatPrevious": repeat_previous,
    "RepeatPreviousEasy": functools.partial(repeat_previous, 1, 4),
    "RepeatPreviousMedium": functools.partial(repeat_previous, 2, 32),
    "RepeatPreviousHard": functools.partial(repeat_previous, 3, 64),
    "RepeatFirst": repeat_first,
    "RepeatFirstEasy": functools.partial(repeat_first, 1),
    "RepeatFirstMedium": functools.partial(repeat_first, 8),
    "RepeatFirstHard": functools.partial(repeat_first, 16),
    "TMaze": t_maze,
    "lqr": lqr,
    **{name: functools.partial(_textbook, name) for name in TEXTBOOK},
    **{f"matrix/{name}": functools.partial(_matrix_game, name) for name in MATRIX_GAMES},
    "team/two_step": lambda: joint(two_step()),
    "team/climbing": lambda: joint(climbing()),
    **{f"pgx/{name}": functools.partial(from_pgx, name) for name in pgx_names()},
    **TASKS,
}


def register(name: str, factory: Callable[..., Environment]) -> None:
    """Let :func:`make` find ``factory`` under ``name``.

    Args:
        name: any string that is not taken. One of gymnax's ids hides gymnax's environment.
        factory: ``(**kwargs) -> Environment``.

    Raises:
        ValueError: if the name was registered before.
    """
    if name in _factories:
        raise ValueError(f"An environment named {name!r} is registered already; choose another name.")
    _factories[name] = factory


def registered() -> list[str]:
    """Every name that :func:`make` knows, sorted."""
    return sorted({*_factories, *gymnax_names()})


@recorded
def make(name: str | Callable[..., Environment], wrappers: Sequence[str] = (), **kwargs: Any) -> Environment:
    """The environment of that name.

    Args:
        name: one of :func:`registered`, or the whole text that an environment with arguments and wrappers has for a
            name; or a function of one's own that returns an environment.
        wrappers: texts such as ``"one_hot_observation"`` or ``"frame_stack(k=4)"``, from the inside out, of the
            functions in :mod:`purerl.envs.wrappers` and :mod:`purerl.envs.legal`; ``"token_by_token"`` of a task for
            language models.
        **kwargs: passed to its factory; for the textbook's problems, arguments of their function in
            :mod:`purerl.envs.textbook` and ``max_steps``, after which episodes are truncated; for gymnax environments,
            fields of its parameters (``max_steps_in_episode=200``) or arguments of its constructor.

    Returns:
        The environment. Its name tells the arguments and the wrappers.

    Raises:
        ValueError: if nothing has that name, or it has no such arguments, or a wrapper does not fit.
    """
    if callable(name):
        known = EnvName(Named(name_of(name) or getattr(name, "__name__", type(name).__name__)))
    else:
        known = EnvName(Named(name)) if name in registered() else EnvName.parse(name)
    known = known.wrapped(kwargs, wrappers)
    env, bound = _made(known.base, name if callable(name) else _factory(known.base.name)), []
    for wrapper in known.wrappers:
        env, arguments = _wrapped(env, wrapper)
        bound.append(Named(wrapper.name, (), arguments))
    known = known._replace(wrappers=tuple(bound))
    texts = {"wrappers": tuple(map(str, bound))} if bound else {}
    named = {"name": name if callable(name) else known.base.name, **texts, **dict(known.base.keywords)}
    return attach(_renamed(env, str(known)), make, named)  # one recipe, however it was spelt


def _factory(name: str) -> Callable[..., Any]:
    """Of that name.

    Raises:
        ValueError: as :func:`make`.
    """
    if name in _factories:
        return _factories[name]
    if name in gymnax_names():
        return functools.partial(from_gymnax, name)
    hint = near(name, registered())
    raise ValueError(f"No environment is named {name!r}. {hint}purerl.envs.registered() lists all names.")


def _made(name: Named, factory: Callable[..., Any]) -> Any:
    """The environment without its wrappers.

    Raises:
        ValueError: as :func:`make`.
    """
    try:
        env = factory(**dict(name.keywords))
    except TypeError as error:
        raise ValueError(f"{name} cannot be made: {_unknown_argument(name, factory) or error}.") from error
    missing = [attribute for attribute in Environment._fields[:-1] if not hasattr(env, attribute)]
    if missing:
        raise ValueError(f"{name} is {type(env).__name__}, which is no environment: it has no {missing[0]}.")
    return env


def _unknown_argument(name: Named, factory: Callable[..., Any]) -> str:
    """Which argument a factory does not have, what may have been meant, and what there is; empty if it has them all."""
    known = dict(inspect.signature(factory).parameters)
    if name.name in TEXTBOOK:
        known = {**inspect.signature(TEXTBOOK[name.name]).parameters, "max_steps": known["max_steps"]}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return ""
    for argument, _ in name.keywords:
        if argument not in known:
            return f"it takes no {argument}. {near(argument, known)}It takes: {', '.join(known) or 'nothing'}"
    return ""


def _wrapped(env: Environment, wrapper: Named) -> tuple[Environment, tuple[tuple[str, Any], ...]]:
    """The environment in a wrapper, and the arguments of that by name.

    Raises:
        ValueError: if there is no such wrapper, or it does not take these arguments or this environment.
    """
    known = {name: function for name, function in vars(all_wrappers).items() if hasattr(function, "is_recorded")}
    known |= {"token_by_token": token_by_token, "expose_legal": expose_legal, "one_player": one_player}
    del known["map_reward"]  # its argument is a function, which no text gives
    if wrapper.name not in known:
        found = near(wrapper.name, known)
        raise ValueError(f"No wrapper is named {wrapper.name!r}. {found}Wrappers: {', '.join(sorted(known))}.")
    try:
        bound = inspect.signature(known[wrapper.name]).bind(env, *wrapper.arguments, **dict(wrapper.keywords))
        return known[wrapper.name](*bound.args, **bound.kwargs), tuple(bound.arguments.items())[1:]
    except TypeError as error:
        raise ValueError(f"{wrapper} around {env.name}: {error}.") from error


def _renamed(env: Any, name: str) -> Any:
    """The same environment under another name."""
    if hasattr(env, "_replace"):
        return env._replace(name=name)
    return Environment(**{field: getattr(env, field) for field in Environment._fields[:-1]} | {"name": name})
