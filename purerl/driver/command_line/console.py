"""Errors and messages of a command line: one line and an exit code for what a user can put right."""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import NoReturn, TextIO

from purerl.driver.running.interruption import Interrupted


@contextlib.contextmanager
def one_line_errors(name: str, resume: str = "") -> Iterator[None]:
    """What the user can put right: one line, exit code 2. What interrupted: with the command that resumes.

    Args:
        name: of the command.
        resume: the command that goes on with a run, to be followed by its folder.
    """
    try:
        yield
    except Interrupted as interrupted:
        line = f"{name}: {interrupted}"
        if interrupted.folder is not None:
            line += f"\n  {resume} {shlex.quote(str(interrupted.folder))}"
        say(f"\n{line}")
        sys.exit(128 + interrupted.signal)
    except KeyboardInterrupt:
        _leave(f"{name}: interrupted.", 130)
    except FloatingPointError as error:
        _leave(f"{name}: {error}", 1)
    except (ValueError, OSError) as error:
        _leave(f"{name}: {error}", 2)


def speaks() -> bool:
    """Whether this is the only process, or the first of several; without starting JAX to find out."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0


def say(text: str, file: TextIO | None = None) -> None:
    """Print, on stderr unless told otherwise, in the first process alone."""
    if speaks():
        print(text, file=file or sys.stderr)


def _leave(line: str, code: int) -> NoReturn:
    print(f"\n{line}" if code > 2 else line, file=sys.stderr)
    sys.exit(code)
