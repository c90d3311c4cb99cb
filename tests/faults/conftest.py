"""What the tests of faults share: processes to disturb, and a run that nothing disturbed."""

import os
import pathlib
import subprocess
import sys

import pytest

from purerl.driver import TrainResult
from tests.support import programs, victim

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def compile_once(tmp_path_factory):
    """Programs that were compiled by a test before are not compiled again."""
    with programs.compiled_in(tmp_path_factory.getbasetemp() / "compiled"):
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> tuple[TrainResult, pathlib.Path]:
    """The victim's run in one piece, with all its files; only to be read."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return victim.run(folder, checkpoint_every=790), folder


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """``start(module, *arguments) -> Popen``; all share their compiled programs, and none outlives the tests."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    started: list[subprocess.Popen] = []

    def start(module: str, *arguments) -> subprocess.Popen:
        started.append(_start(environment, module, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()  # nothing, where it has ended and was waited for


def _start(environment: dict[str, str], module: str, *arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
