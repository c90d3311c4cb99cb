"""Environments by name."""

import functools
from collections.abc import Callable
from typing import Any

from purerl.envs import bandits
from purerl.envs.base import Environment
from purerl.envs.gymnax import from_gymnax, gymnax_names
from purerl.envs.mdp import environment
from purerl.envs.pgx import from_pgx, pgx_names
from purerl.envs.probes import PROBES
from purerl.envs.textbook import TEXTBOOK
from purerl.names import near
from purerl.recipes import recorded


def _textbook(name: str, max_steps: int | None = None, **kwargs: Any) -> Environment:
    return environment(TEXTBOOK[name](**kwargs), name, max_steps)


_factories: dict[str, Callable[..., Any]] = {  # what they make has an Environment's attributes, whatever its type
    **{f"probe/{name}": probe.env for name, probe in PROBES.items()},
    "bandit/gaussian": bandits.gaussian,
    "bandit/bernoulli": bandits.bernoulli,
    "bandit/random-walk": bandits.random_walk,
    "bandit/linear": bandits.linear,
    **{name: functools.partial(_textbook, name) for name in TEXTBOOK},
    **{f"pgx/{name}": functools.partial(from_pgx, name) for name in pgx_names()},
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
def make(name: str, **kwargs: Any) -> Environment:
    """The environment of that name.

    Args:
        name: one of :func:`registered`.
        **kwargs: passed to its factory; for the textbook's problems, arguments of their function in
            :mod:`purerl.envs.textbook` and ``max_steps``, after which episodes are truncated; for gymnax environments,
            fields of its parameters (``max_steps_in_episode=200``) or arguments of its constructor.

    Returns:
        The environment.

    Raises:
        ValueError: if nothing has that name, or gymnax has no such parameter.
    """
    if name in _factories:
        return _factories[name](**kwargs)
    if name in gymnax_names():
        return from_gymnax(name, **kwargs)
    raise ValueError(
        f"No environment is named {name!r}. {near(name, registered())}purerl.envs.registered() lists all names."
    )
