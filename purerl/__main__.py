"""The ``purerl`` command: its first word says what to do, and only what that needs is imported, JAX included."""

import ast
import functools
import importlib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from purerl import starting
from purerl.names import near

_TOOLS = ("evaluate", "plot", "play", "export", "reproduce")
_COMMANDS = {
    "train": ("ALGORITHM [FLAGS]", "train, go on or branch off; purerl train ALGORITHM --help has the flags"),
    "sweep": ("ALGORITHM FIELD=VALUES ...", "train with every value: purerl sweep ppo learning_rate=1e-4,1e-3"),
    "evaluate": ("RUN", "play with the agents of a run; --render draws an episode"),
    "plot": ("RUN ... --out IMAGE", "curves of several runs in one figure"),
    "play": ("GAME", "play a board game against a search, in the terminal"),
    "export": ("RUN FILE", "write an agent to a file: .safetensors to load again, .program or .onnx to deploy"),
    "reproduce": ("RESULT", "run a kept result again, and compare"),
    "list": ("", "the algorithms and the environments that there are"),
}


def main(words: Sequence[str] | None = None) -> Any:
    """Run the command line; returns what the command does, for ``sys.exit`` to make an exit status of.

    Raises:
        SystemExit: for words that are no command, after saying so; after ``--help``.
    """
    command, *rest = [*(sys.argv[1:] if words is None else words)] or ["--help"]
    try:
        return _run(command, rest)
    except KeyboardInterrupt:  # while modules are imported: later, commands see to it themselves
        _leave("purerl: interrupted.", 130)
    except BrokenPipeError:
        starting.leave_unread()


def algorithms() -> dict[str, str]:
    """The algorithms that have presets, each with the first sentence about it; nothing is imported to find out."""
    paths = sorted(pathlib.Path(__file__).with_name("presets").glob("[!_]*.py"))
    return {path.stem: _headline(path) for path in paths}


def _run(command: str, words: list[str]) -> Any:
    if command in ("--help", "-h", "help"):
        print(_help())
        return None
    if command == "--version":
        print(importlib.import_module("purerl").__version__)
        return None
    if command in _TOOLS:
        starting.begin(command, words)
        return importlib.import_module(f"purerl.tools.{command}").main(words)
    if command == "list":
        return _list(words)
    if command not in _COMMANDS:
        hint = f"Did you mean: purerl train {command}? " if command in algorithms() else near(command, _COMMANDS)
        _leave(f"purerl: no command {command!r}. {hint}purerl --help lists them all.")
    return _train(command, words)


def _train(command: str, words: list[str]) -> None:
    """``train`` and ``sweep``: the algorithm, for ``sweep`` what to sweep, and then flags."""
    known = algorithms()
    if words[:1] in (["--help"], ["-h"]):
        print(f"usage: purerl {command} {_COMMANDS[command][0]}\n\nAlgorithms:\n\n{_table(known)}")
        return
    if not words or words[0] not in known:
        wrong = f"no algorithm {words[0]!r}. {near(words[0], known)}" if words else "which algorithm? "
        _leave(f"purerl {command}: {wrong}Those with presets:\n\n{_table(known)}")
    name, rest = words[0], words[1:]
    prog = f"purerl train {name}"
    if command == "sweep" and not {"--help", "-h"} & {*rest}:
        if not rest or rest[0].startswith("-"):
            _leave(f"purerl sweep {name}: say what to sweep first, such as learning_rate=1e-4,1e-3.")
        rest = ["--sweep", *rest]
    starting.begin(name, rest)
    module = importlib.import_module(f"purerl.presets.{name}")
    run: Callable = getattr(module, "main", None) or functools.partial(_launch, module)
    run(rest, prog)


def _launch(module: Any, words: list[str], prog: str) -> None:
    importlib.import_module("purerl.driver.command_line").main(module.EXPERIMENT, words, prog)


def _list(words: list[str]) -> None:
    """Print the algorithms, and when JAX has been imported the environments, with the algorithms that have presets."""
    if words in (["--help"], ["-h"]):
        print(f"usage: purerl list\n\nPrint {_COMMANDS['list'][1]}.")
        return
    if words:
        _leave(f"purerl list: it prints everything and takes no {words[0]!r}.")
    known = algorithms()
    print(f"Algorithms, for purerl train:\n\n{_table(known)}", flush=True)
    starting.begin("list")
    presets = {name: importlib.import_module(f"purerl.presets.{name}").PRESETS for name in known}
    names = {*importlib.import_module("purerl.envs").registered()}.union(*presets.values())
    tuned = {env: ", ".join(name for name in presets if env in presets[name]) for env in sorted(names)}
    tasks = {name: tuned.pop(name) for name in sorted(importlib.import_module("purerl.language.tasks").TASKS)}
    print(f"\nEnvironments, for --env, and the algorithms with presets for them:\n\n{_table(tuned)}")
    print(f"\nTasks for language models, likewise:\n\n{_table(tasks)}")


def _help() -> str:
    rows = {f"{name} {arguments}": about for name, (arguments, about) in _COMMANDS.items()}
    return f"usage: purerl COMMAND ...\n\nReinforcement learning in pure JAX. Commands:\n\n{_table(rows)}"


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:{width}}  {about}".rstrip() for name, about in rows.items())


def _headline(path: pathlib.Path) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _leave(line: str, code: int = 2) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
