"""Errors and messages of a command line: one line and an exit code for what a user can put right."""

import contextlib
import shlex
import sys
import urllib.error
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TextIO

from purerl import starting
from purerl.driver.command_line.messages import in_flags
from purerl.driver.running.interruption import Interrupted

# What is asked for by name and may not be installed: package -> the extra of purerl that brings it.
_EXTRAS = {"wandb": "wandb", "pyarrow": "data", "bitbully": "solver"}


@contextlib.contextmanager
def one_line_errors(name: str, resume: str = "", flags: Sequence[Any] = ()) -> Iterator[None]:
    """What the user can put right: one line, exit code 2. What interrupted: with the command that resumes.

    Warnings for users are one line, too, without the file that they come from.

    Args:
        name: of the command.
        resume: the command that goes on with a run, to be followed by its folder.
        flags: records, or their classes, whose fields are flags of the command; messages call them so.
    """
    try:
        with starting.interruptible(), _plain_warnings(name, flags):
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
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _leave(f"{name}: this needs the package {error.name}: pip install 'purerl[{extra}]'.", 2)
    except BrokenPipeError:
        starting.leave_unread()
    except urllib.error.URLError as error:
        _leave(f"{name}: data could not be downloaded ({error.reason}): this needs a network the first time.", 1)
    except (ValueError, OSError) as error:
        _leave(f"{name}: {in_flags(str(error), flags)}", 2)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        asked = str(error).partition("\n")[0].rpartition("RESOURCE_EXHAUSTED: ")[2].rstrip(".")
        remedy = "ask for fewer environments, smaller batches, networks or replays, or --trials-at-once 1"
        _leave(f"{name}: not enough memory{f' ({asked})' if asked else ''}: {remedy}.", 1)


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


@contextlib.contextmanager
def _plain_warnings(name: str, flags: Sequence[Any]) -> Iterator[None]:
    """Let warnings that are for users be a line of the command; those of libraries for programmers stay as they are."""
    before = warnings.formatwarning

    def plain(message, category, filename, lineno, line=None) -> str:
        if category is UserWarning:
            return f"{name}: {in_flags(str(message), flags)}\n"
        return before(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or a device had no room: XLA says so in the text of its one kind of error."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error))
