"""The first seconds of a command: a line on the screen, and a Ctrl-C that is heeded, before JAX is imported.

Imports no JAX, which takes seconds to import.
"""

import contextlib
import math
import os
import pathlib
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from purerl import xla


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

    Commands that train language models, whose frozen weights are large, keep them out of their programs' text.

    Args:
        name: of the command.
        words: its command line. ``--no-progress`` keeps it silent, ``--help`` where nobody looks on.
    """
    if threading.current_thread() is threading.main_thread():  # Python lets no other handle signals
        signal.signal(signal.SIGINT, _Early(name))
    asks_for_help = {"-h", "--help"} & {*words}
    if "--no-progress" not in words and (sys.stderr.isatty() or not asks_for_help):
        print(f"{name}: starting JAX ...", file=sys.stderr, flush=True)
    preset = pathlib.Path(__file__).parent / "presets" / f"{name}.py"
    if preset.is_file() and "purerl.algorithms.language" in preset.read_text(encoding="utf-8"):
        xla.keep_constants_apart()


def begin_module() -> None:
    """:func:`begin`, if a module of the package that is being imported is being run by ``python -m``; else nothing.

    While Python looks for a module to run, ``sys.argv[0]`` is ``-m``; in every other import it is something else.
    """
    if sys.argv[:1] == ["-m"] and "-m" in sys.orig_argv:
        module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
        begin(module.rpartition(".")[2], sys.argv[1:])


def leave_unread() -> NoReturn:
    """End a command whose output nobody reads any more, as by ``purerl list | head``: status 1, not a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would fail to flush it
    sys.exit(1)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, Ctrl-C raises ``KeyboardInterrupt`` as it does in every program, not what :func:`begin` set.

    Where it has no effect for seconds, because a compiler is at work, which Python cannot interrupt, that is said, and
    another Ctrl-C ends the command at once; where the exception was lost, as in callbacks, it is raised again.
    """
    before = signal.getsignal(signal.SIGINT)
    if not isinstance(before, _Early):
        yield
        return
    if os.name != "posix":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        return
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    within = _Within(before)
    signal.signal(signal.SIGINT, within)
    fd = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)  # heard of at once, whatever Python is doing
    watcher = threading.Thread(target=within.watch, args=(theirs,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        within.left.set()
        signal.set_wakeup_fd(fd)
        signal.signal(signal.SIGINT, before)
        ours.close()  # which ends the watcher
        watcher.join(1.0)
        theirs.close()


class _Within:
    """The handler of Ctrl-C within a command, and what watches over its effect from another thread."""

    def __init__(self, early: _Early) -> None:
        self.left = threading.Event()  # the command is over, or is about to be
        self._early, self._raised_at, self._repeated = early, math.inf, 0

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._raised_at = time.monotonic()
        raise KeyboardInterrupt

    def watch(self, pipe: socket.socket) -> None:
        """Read the numbers of signals as they come, until the pipe is closed."""
        presses, told = 0, False
        while not self.left.is_set():
            ready, _, _ = select.select([pipe], [], [], _PATIENCE if presses else None)
            if ready:
                numbers = pipe.recv(64)
                if not numbers:
                    return
                presses += self._presses(numbers)
                if presses > 1:
                    self._early(signal.SIGINT, None)
            elif not self._is_in_charge():
                presses = 0  # a run heeds it by itself
            elif time.monotonic() - self._raised_at > 5 * _PATIENCE:
                self._repeated, self._raised_at = self._repeated + 1, math.inf
                main_thread = threading.main_thread().ident
                assert main_thread is not None
                signal.pthread_kill(main_thread, signal.SIGINT)  # also where it sleeps
            elif self._raised_at == math.inf and not told:
                told = True
                line = "stopping as soon as what is being compiled is done; Ctrl-C again ends it at once."
                os.write(2, f"\n{self._early.name}: {line}\n".encode())

    def _is_in_charge(self) -> bool:
        return signal.getsignal(signal.SIGINT) == self

    def _presses(self, numbers: bytes) -> int:
        """How many of the signals are a person's: those that we repeat are written down like others."""
        if not self._is_in_charge():
            return 0
        presses = numbers.count(signal.SIGINT)
        ours = min(presses, self._repeated)
        self._repeated -= ours
        return presses - ours


_PATIENCE = 2.0  # seconds without an effect
