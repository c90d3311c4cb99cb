"""How a command ends: a line and an exit code for what a user can put right; after a signal what resumes it."""

import pathlib
import signal
import sys
import tomllib
import warnings
from urllib.error import URLError

import pytest

from purerl.driver import Interrupted
from purerl.driver.command_line import console, launch
from purerl.driver.command_line.console import one_line_errors, say


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_the_command_that_resumes(main, capsys, monkeypatch, tmp_path, number):
    """Status 128 and the number of the signal; the command, fit for a shell; without a folder, no command."""
    folder = tmp_path / "a run"

    def interrupted(*arguments, **options):
        raise Interrupted("interrupted at step 40; saved.", number, folder)

    monkeypatch.setattr(launch, "train", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 128 + number
    assert f"toy: interrupted at step 40; saved.\n  python -m experiments.toy --resume '{folder}'\n" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "toy: interrupted."),
        (FloatingPointError("Seed 0 diverged"), 1, "toy: Seed 0 diverged"),
        (ValueError("too large"), 2, "toy: too large"),
        (FileNotFoundError("not there"), 2, "toy: not there"),
    ],
)
def test_errors_end_with_a_sentence(main, capsys, monkeypatch, error, code, text):
    """What a user can put right has no traceback, and an exit status of its own; anything else has both."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(launch, "train", fail)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == code and capsys.readouterr().err.strip() == text
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        main()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MemoryError(), 1, "toy: not enough memory: ask for fewer environments, smaller batches"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 96000000000 bytes.\nlong tables"),
            1,
            "toy: not enough memory (Out of memory allocating 96000000000 bytes): ask for fewer environments",
        ),
        (
            ModuleNotFoundError("No module", name="wandb"),
            2,
            "this needs the package wandb: pip install 'purerl[wandb]'",
        ),
        (ModuleNotFoundError("No module", name="pyarrow.parquet"), 2, "pip install 'purerl[data]'"),
        (
            URLError("Name or service not known"),
            1,
            "data could not be downloaded (Name or service not known)",
        ),
    ],
)
def test_what_is_missing_is_named_without_a_traceback(capsys, error, code, text):
    """Memory, with what was asked for; a package, with the extra that brings it; a network. Other modules are a bug."""
    with pytest.raises(SystemExit) as exit_, one_line_errors("toy"):
        raise error
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == code and text in line
    with pytest.raises(ModuleNotFoundError), one_line_errors("toy"):
        raise ModuleNotFoundError("No module", name="numpi")


def test_extras_that_are_named_are_there():
    """What a message tells to install is what the package offers."""
    project = tomllib.loads((pathlib.Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert {*console._EXTRAS.values()} <= {*project["optional-dependencies"]}


def test_warnings_for_users_are_plain_lines():
    """Without the file that they come from; those of libraries keep it, and after the command so do all."""
    with one_line_errors("toy"):
        assert warnings.formatwarning("a sentence", UserWarning, "loop.py", 1) == "toy: a sentence\n"
        assert "loop.py:1: DeprecationWarning: old" in warnings.formatwarning("old", DeprecationWarning, "loop.py", 1)
    assert "loop.py:1: UserWarning: a sentence" in warnings.formatwarning("a sentence", UserWarning, "loop.py", 1)


def test_a_command_without_runs_names_no_command_that_resumes(capsys):
    """An interruption without a folder: the message alone."""
    with pytest.raises(SystemExit) as exit_, one_line_errors("tool"):
        raise Interrupted("interrupted at step 20; nothing was saved.", signal.SIGINT, None)
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "\ntool: interrupted at step 20; nothing was saved.\n"


def test_words_go_to_stderr(capsys):
    """What a program says beside its output."""
    say("training")
    assert capsys.readouterr() == ("", "training\n")


def test_output_that_nobody_reads_is_no_error(main, monkeypatch):
    """As by ``| head``: the command ends, and does not speak of a broken pipe."""

    def fail(*arguments, **options):
        raise BrokenPipeError

    monkeypatch.setattr(launch, "train", fail)
    monkeypatch.setattr(console.starting, "leave_unread", lambda: sys.exit(1))
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
