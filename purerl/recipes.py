"""Recipes: how an environment or an algorithm was made, so that what a run writes down is enough to make it again.

A factory with :func:`recorded` notes in what it makes by which call that came about; :func:`plain` says it in values
that JSON has, and :func:`make` follows such a text:

    {"call": "purerl.envs.wrappers:time_limit", "arguments": {"env": {"call": ...}, "max_steps": 100}}

A text may come from anywhere, so following it runs nobody's code: called are dataclasses and recorded factories of
purerl alone, and whatever is in the modules that the caller allows by name.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

F = TypeVar("F", bound=Callable)


class Recipe(NamedTuple):
    """The call that something came from.

    Attributes:
        factory: what was called.
        arguments: with which arguments, by name, as they were.
        functions: of what it made. Where they were replaced since, it is no longer what the factory makes.
    """

    factory: Callable
    arguments: tuple[tuple[str, Any], ...]
    functions: tuple[Callable, ...]


def recorded(factory: F) -> F:
    """A factory whose environments, games or algorithms carry the recipe that they were made by."""
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = factory(*args, **kwargs)
        if getattr(recipe_of(made), "factory", None) is call:  # it has said by itself what it was made with
            return made
        bound = signature.bind(*args, **kwargs).arguments
        named = {name: value for name, value in bound.items() if name != _rest(signature)}
        return attach(made, call, {**named, **bound.get(_rest(signature), {})})

    call.is_recorded = True  # type: ignore[attr-defined]
    return cast(F, call)


def attach(made: Any, factory: Callable, arguments: Mapping[str, Any]) -> Any:
    """What a factory made, with its recipe; without, if it has no place for one."""
    recipe = Recipe(factory, tuple(arguments.items()), _functions(made))
    if hasattr(made, "spec"):
        return made._replace(spec=made.spec._replace(recipe=recipe))
    return made._replace(recipe=recipe) if "recipe" in getattr(made, "_fields", ()) else made


def recipe_of(made: Any) -> Recipe | None:
    """The recipe of an environment, a game or an algorithm; None where it has none, or functions were replaced."""
    recipe = getattr(getattr(made, "spec", made), "recipe", None)
    if not isinstance(recipe, Recipe) or _functions(made) != recipe.functions:
        return None
    return recipe


def plain(value: Any) -> Any:
    """A value as JSON has it. What cannot be said is ``{"given": its name}``: to be given where it is made again."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [plain(item) for item in value]
    recipe = recipe_of(value)
    if recipe is not None and name_of(recipe.factory):
        return _call(recipe.factory, dict(recipe.arguments))
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and name_of(type(value)):
        return _call(type(value), {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    name = name_of(value) or _name_of_constant(value)
    return {"object": name} if name else {"given": str(getattr(value, "name", type(value).__name__))}


def make(
    text: Any,
    allow: Collection[str] = (),
    given: Mapping[str, Any] = MappingProxyType({}),
    rename: Callable[[Mapping[str, Any], Collection[str]], Mapping[str, Any]] = lambda arguments, known: arguments,
) -> Any:
    """What :func:`plain` said, made again; tuples for lists.

    Args:
        text: from JSON.
        allow: names of modules, or of packages with all that is in them, whose functions may be called, besides
            those of purerl.
        given: arguments of the outermost call that are to be used in place of those of the text, by name; ``env`` is
            the first of a factory that calls it otherwise.
        rename: ``(arguments, known) -> arguments`` by the names that they have today, of which those are known.

    Raises:
        ValueError: if it is no such text, names what may not be called or is not there, or lacks what must be given.
    """
    if isinstance(text, list):
        return tuple(make(item, allow, rename=rename) for item in text)
    if not isinstance(text, dict):
        return text
    match text:
        case {"call": str(name), "arguments": dict(arguments)}:
            factory = resolve(name, allow)
            if not _may_call(factory, name, allow):
                raise ValueError(f"{name} makes no environment, algorithm or record: a run's record cannot call it.")
            known = inspect.signature(factory).parameters
            named, given = rename(arguments, known), _for_arguments(given, list(known), name)
            values = {key: make(value, allow, rename=rename) for key, value in named.items() if key not in given}
            try:
                return factory(**values, **given)
            except TypeError as error:
                raise ValueError(f"{name} cannot be called as it was recorded: {error}") from error
        case {"object": str(name)}:
            found = resolve(name, allow)
            if not (_is_allowed(name, allow) or type(found).__module__.startswith("purerl.")):
                raise ValueError(f"{name} is no constant of purerl: allow its module by name if you trust it.")
            return found
        case {"float": str(number)}:
            return float(number)
        case {"given": str(name)}:
            raise ValueError(
                f"{name} was made by code that the record cannot name: give it, as env=... or by its name."
            )
    raise ValueError(f"{str(text)[:60]!r} is no recipe.")


def resolve(name: str, allow: Collection[str] = ()) -> Any:
    """What is called ``module:name``; the module is imported only if it is purerl's, or allowed.

    One that is allowed may also be in the working directory, as where ``python -m`` runs.

    Args:
        name: of something at the top of a module.
        allow: names of other modules, or of packages with all that is in them.

    Raises:
        ValueError: if it is no such name, not allowed, or not there.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} is not of the form module:name.")
    module, _, attribute = name.partition(":")
    if not (_is_inside(module, "purerl") or _is_allowed(name, allow)):
        raise ValueError(
            f"{name} is not purerl's own, and importing {module} runs its code. If you trust it, allow {module} "
            f"(--allow {module}, or allow=[{module!r}])."
        )
    try:
        with _importable(os.getcwd()):
            return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"{name} is not there: {error}.") from error


def _for_arguments(given: Mapping[str, Any], known: Sequence[str], factory: str) -> dict[str, Any]:
    """What is given, by the names of a factory's arguments.

    Raises:
        ValueError: for a name that is none of them.
    """
    first = "env" if "env" in known else next(iter(known), "env")
    found = {first if name == "env" else name: value for name, value in given.items()}
    for name in found:
        if name not in known:
            raise ValueError(f"{factory} takes no {name}: give some of {', '.join(known)}.")
    return found


def name_of(value: Any) -> str:
    """``module:name`` of a function or class by which :func:`resolve` finds it again; empty if it would not."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        return ""
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is value else ""


def _call(factory: Callable, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"call": name_of(factory), "arguments": {name: plain(value) for name, value in arguments.items()}}


def _name_of_constant(value: Any) -> str:
    """Of a record of functions at the top of the module of one of them, such as the agent of a bandit."""
    for function in _functions(value):
        module = str(getattr(function, "__module__", None))
        for name, other in vars(sys.modules.get(module, object)).items():
            if other is value:
                return f"{module}:{name}"
    return ""


def _functions(made: Any) -> tuple[Callable, ...]:
    """Functions that a named tuple holds."""
    fields = made if hasattr(made, "_fields") else ()
    return tuple(field for field in fields if callable(field))


def _may_call(factory: Any, name: str, allow: Collection[str]) -> bool:
    if _is_allowed(name, allow):
        return callable(factory)
    own = getattr(factory, "__module__", None) == name.partition(":")[0]
    is_record = isinstance(factory, type) and dataclasses.is_dataclass(factory)
    return own and (is_record or getattr(factory, "is_recorded", False))


def _is_allowed(name: str, allow: Collection[str]) -> bool:
    return any(_is_inside(name.partition(":")[0], package) for package in allow)


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Modules in a folder can be imported, after those that could be anyway."""
    sys.path.append(folder)
    try:
        yield
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def _is_inside(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def _rest(signature: inspect.Signature) -> str:
    """Name of ``**kwargs``, if there is one."""
    kinds = ((name, parameter.kind) for name, parameter in signature.parameters.items())
    return next((name for name, kind in kinds if kind is inspect.Parameter.VAR_KEYWORD), "")
