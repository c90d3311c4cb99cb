"""The first seconds of a command: a line before anything heavy is imported, and Ctrl-C heeded from then on."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from purerl import starting, xla

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


def test_commands_of_language_models_keep_frozen_weights_apart():
    """In a fresh process, before JAX is there; other commands leave JAX as it is."""
    environment = {name: value for name, value in os.environ.items() if name != xla.CONSTANTS_APART}
    code = f"""
import os, sys
from purerl import starting
for name in ("dqn", "evaluate", "sft"):
    starting.begin(name, ["--no-progress"])
    print(name, os.environ.get("{xla.CONSTANTS_APART}"), "jax" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["dqn None False", "evaluate None False", "sft True False"], done.stderr


def test_ctrl_c_while_modules_are_imported_ends_with_a_line(package):
    """Status 130 and no traceback, also where what is being imported would swallow an exception."""
    process = start(package, "-m", "commands.slow")
    assert process.stderr.readline() == "slow: starting JAX ...\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "\nslow: interrupted.\n")


COMMAND = """
import ctypes, signal, sys, time
from purerl import starting
starting._PATIENCE = 0.3
starting.begin("toy")
try:
    with starting.interruptible():
        print("ready", file=sys.stderr, flush=True)
        {work}
except KeyboardInterrupt:
    print("cleaned up", file=sys.stderr)
    sys.exit(130)
"""


# Sleeps through signals, which go to another thread: as a compiler, it lets Python hear of them when it is done.
UNHEEDING = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); ctypes.CDLL(None).{}"


def interrupted(package, work: str, presses: int = 1) -> tuple[int, str]:
    """Status and last words of a command that is interrupted while it works."""
    process = start(package, "-c", COMMAND.format(work=work))
    assert [process.stderr.readline() for _ in range(2)] == ["toy: starting JAX ...\n", "ready\n"]
    for _ in range(presses):
        time.sleep(0.7)  # until it is at work, and then until it has said what it has to say
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


def test_ctrl_c_that_cannot_be_heeded_yet_is_answered(package):
    """While a compiler works, which Python cannot interrupt: that it will stop is said; then it does, in order."""
    code, said = interrupted(package, UNHEEDING.format("usleep(2_500_000)"))
    assert (code, said.strip().splitlines()) == (
        130,
        ["toy: stopping as soon as what is being compiled is done; Ctrl-C again ends it at once.", "cleaned up"],
    )


def test_a_second_ctrl_c_ends_it_at_once(package):
    """Without waiting for the compiler."""
    began = time.monotonic()
    code, said = interrupted(package, UNHEEDING.format("sleep(60)"), presses=2)
    assert code == 130 and said.endswith("toy: interrupted.\n") and time.monotonic() - began < 30


def test_a_ctrl_c_that_was_lost_comes_again(package):
    """Where a callback swallows the exception."""
    lossy = "lose = lambda: [time.sleep(30)]\n        try:\n            lose()\n        except BaseException:\n"
    code, said = interrupted(package, lossy + "            pass\n        time.sleep(30)")
    assert (code, said) == (130, "cleaned up\n")


def test_within_a_command_ctrl_c_is_an_exception():
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
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGINT, before)


def test_output_that_nobody_reads_ends_a_command_without_a_word():
    """As in ``purerl list | head -1``."""
    code = (
        "from purerl import starting\n"
        "try:\n    while True: print('line', flush=True)\n"
        "except BrokenPipeError:\n    starting.leave_unread()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait(30)) == ("", 1)
