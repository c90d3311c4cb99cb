"""Names of environments with arguments and wrappers, as one text that can be read back:

    CartPole-v1(max_steps_in_episode=200) + frame_stack(k=4) + flatten_observation

It is what titles and ``config.json`` say of an environment, and what a command line makes of its flags.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from purerl.names import assignments


class Named(NamedTuple):
    """Something to be called: a name, or ``module:function``, and arguments by name or position."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        texts = [*map(repr, self.arguments), *(f"{name}={_shown(value)}" for name, value in self.keywords)]
        return f"{self.name}({', '.join(texts)})" if texts else self.name

    @classmethod
    def parse(cls, text: str) -> "Named":
        """What ``str`` wrote: ``frame_stack(k=4)``, ``frame_stack(4)`` or ``flatten_observation``.

        Raises:
            ValueError: if it is no such text. Arguments are plain numbers, texts, truth values and tuples of them.
        """
        name, opened, inside = text.strip().partition("(")
        name = name.strip()
        if not name or (opened and not inside.endswith(")")):
            raise ValueError(f"{text!r} is not of the form NAME or NAME(argument=value, ...).")
        try:
            call = ast.parse(f"f({inside if opened else ')'}", mode="eval").body
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                raise ValueError
            positional = tuple(map(ast.literal_eval, call.args))
            keywords = tuple((keyword.arg or "**", ast.literal_eval(keyword.value)) for keyword in call.keywords)
        except (SyntaxError, ValueError):
            raise ValueError(
                f"{text!r}: its arguments cannot be read. Write numbers, True, False, 'texts' or tuples, such as "
                f"{name}(size=4, slippery=False)."
            ) from None
        return cls(name, positional, keywords)


class EnvName(NamedTuple):
    """An environment by its name, its arguments, and the wrappers around it from the inside out."""

    base: Named
    wrappers: tuple[Named, ...] = ()

    def __str__(self) -> str:
        return " + ".join(map(str, (self.base, *self.wrappers)))

    @classmethod
    def parse(cls, text: str) -> "EnvName":
        """What ``str`` wrote.

        Raises:
            ValueError: as :meth:`Named.parse`, or if an argument of the environment itself has no name.
        """
        base, *wrappers = map(Named.parse, _split(text))
        if base.arguments:
            raise ValueError(f"{text!r}: give the arguments of {base.name} by name.")
        return cls(base, tuple(wrappers))

    @property
    def is_code(self) -> bool:
        """Whether it is ``module:function``: code of the user's own, which making it runs."""
        return ":" in self.base.name

    def wrapped(self, arguments: Mapping[str, Any], wrappers: Sequence[str]) -> "EnvName":
        """With further arguments, and further wrappers around it.

        Raises:
            ValueError: if a wrapper's text cannot be read.
        """
        keywords = dict(self.base.keywords) | dict(arguments)
        named = self.base._replace(keywords=tuple(keywords.items()))
        return EnvName(named, (*self.wrappers, *map(Named.parse, wrappers)))

    def make(self, make_env: Callable, function: Callable | None = None) -> Any:
        """``make_env(name, wrappers=..., **arguments)``, with the function in place of its name where there is one."""
        wrappers = {"wrappers": tuple(map(str, self.wrappers))} if self.wrappers else {}
        return make_env(function or self.base.name, **wrappers, **dict(self.base.keywords))


def base_name(text: str) -> str:
    """The name alone, of a text that :class:`EnvName` reads or of any other."""
    return text.partition("(")[0].partition(" + ")[0]


def parse_arguments(items: Sequence[str]) -> dict[str, Any]:
    """Arguments from ``NAME=VALUE`` items of a command line: numbers, true and false, tuples, or else texts.

    Raises:
        ValueError: if an item has another form, or a name comes twice.
    """
    texts = assignments(items, "Argument", "NAME=VALUE, such as max_steps_in_episode=200")
    return {name: _value(text) for name, text in texts.items()}


def reward_wrappers(text: str) -> tuple[str, ...]:
    """The wrappers in an environment's name that change rewards, where returns are told as they were without them."""
    try:
        wrappers = EnvName.parse(text).wrappers
    except ValueError:  # a name that its author made up
        return ()
    counted_anew = [i for i, wrapper in enumerate(wrappers) if wrapper.name == "episode_statistics"]
    after = wrappers[counted_anew[-1] + 1 :] if counted_anew else wrappers
    return tuple(str(wrapper) for wrapper in after if wrapper.name in ("clip_reward", "scale_reward"))


def _value(text: str) -> Any:
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (SyntaxError, ValueError):
        return text


def _shown(value: Any) -> str:
    """As it is written; what has no such text in angle brackets, which cannot be read back."""
    try:
        plain = ast.literal_eval(repr(value)) == value
    except (SyntaxError, ValueError, TypeError):
        plain = False
    return repr(value) if plain else f"<{type(value).__name__}>"


def _split(text: str) -> list[str]:
    """At every " + " outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for word in re.split(r"( \+ |[()'\"])", text):
        if quote or word in ("'", '"'):
            quote = "" if word == quote else quote or word
        else:
            depth += {"(": 1, ")": -1}.get(word, 0)
        if word == " + " and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += word
    return parts
