"""The first seconds of a command: a line before anything heavy is imported, and Ctrl-C heeded from then on."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from purerl import starting

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def package(tmp_path) -> pathlib.Path:
    """A folder with a package like ``experiments``, one module of which takes for ever to be imported."""
    folder = tmp_path / "commands"
    folder.mkdir()
    (folder / "__init__.py").write_text("from purerl import starting\nstarting.begin_module()\n")
    (folder / "slow.py").write_text(
        "import time\n"
        "try:\n    time.sleep(60)\nexcept BaseException:\n    pass  # as parts of libraries do\n"
        "time.sleep(60)\n"
    )
    (folder / "quick.py").write_text("import sys\nassert not {'jax', 'numpy'} & {*sys.modules}\n")
    return tmp_path


def start(package: pathlib.Path, *words: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    return subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)


def test_a_line_comes_before_anything_is_imported(package):
    """Of a module that is run with ``-m``, by its name; nothing when it is imported, or is to show no progress, or its
    help where nobody looks on."""
    lines = {
        ("-m", "commands.quick"): "quick: starting JAX ...\n",
        ("-m", "commands.quick", "--no-progress"): "",
        ("-m", "commands.quick", "--help"): "",
        ("-c", "import commands.quick"): "",
    }
    running = {words: start(package, *words) for words in lines}
    for words, process in running.items():
        _, said = process.communicate()
        assert (process.returncode, said) == (0, lines[words]), words


def test_ctrl_c_while_modules_are_imported_ends_with_a_line(package):
    """Status 130 and no traceback, also where what is being imported would swallow an exception."""
    process = start(package, "-m", "commands.slow")
    assert process.stderr.readline() == "slow: starting JAX ...\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "\nslow: interrupted.\n")


def test_within_a_command_ctrl_c_is_an_exception(capsys):
    """``interruptible`` gives the signal back to Python, and afterwards to what had it; what others set it leaves."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with starting.interruptible():
            assert signal.getsignal(signal.SIGINT) is before
        starting.begin("toy")
        early = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), starting.interruptible():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is early
    finally:
        signal.signal(signal.SIGINT, before)
