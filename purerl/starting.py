"""The first seconds of a command: a line on the screen, and a Ctrl-C that is heeded, before JAX is imported.

Imports no JAX, which takes seconds to import.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType


class _Early:
    """What ends the command of a name at once, with a line, at Ctrl-C: there is nothing yet, or no longer, to save."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.write(2, f"\n{self.name}: interrupted.\n".encode())
        os._exit(128 + number)  # an exception could be swallowed by whatever is being imported


def begin(name: str, words: Sequence[str] = ()) -> None:
    """Say on stderr that a command starts, and from now on end it at Ctrl-C with a line and status 130.

    Args:
        name: of the command.
        words: its command line. ``--no-progress`` keeps it silent, ``--help`` where nobody looks on.
    """
    signal.signal(signal.SIGINT, _Early(name))
    asks_for_help = {"-h", "--help"} & {*words}
    if "--no-progress" not in words and (sys.stderr.isatty() or not asks_for_help):
        print(f"{name}: starting JAX ...", file=sys.stderr, flush=True)


def begin_module() -> None:
    """:func:`begin`, if a module of the package that is being imported is being run by ``python -m``; else nothing.

    While Python looks for a module to run, ``sys.argv[0]`` is ``-m``; in every other import it is something else.
    """
    if sys.argv[:1] == ["-m"] and "-m" in sys.orig_argv:
        module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
        begin(module.rpartition(".")[2], sys.argv[1:])


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, Ctrl-C raises ``KeyboardInterrupt`` as it does in every program, not what :func:`begin` set."""
    before = signal.getsignal(signal.SIGINT)
    if not isinstance(before, _Early):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
