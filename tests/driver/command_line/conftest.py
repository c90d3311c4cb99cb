"""What tests of command lines share: parsing up to the call of the driver, and what is printed where there is none."""

import re
from typing import Any, NamedTuple

import jax
import pytest

from purerl import xla
from purerl.algorithm import Algorithm
from purerl.driver import command_line
from purerl.driver.command_line import launch
from tests.support.toy import EXPERIMENT

QUIET = ["--num-seeds", "2", "--eval-every", "0", "--no-progress"]


class Call(NamedTuple):
    """What the driver was asked to do."""

    algorithm: Algorithm
    hypers: Any
    key: jax.Array
    options: dict[str, Any]
    flags: dict[str, Any]


@pytest.fixture
def flags(monkeypatch) -> dict[str, Any]:
    """What would be asked of XLA, which has started already."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(xla, "set_cpu_flags", lambda **flags: given.update(flags))
    return given


@pytest.fixture
def call(monkeypatch, flags):
    """Parse a command line up to the call of the driver; of the toy, unless an experiment is given."""

    class CalledError(Exception):
        pass

    def driver(*arguments):
        raise CalledError(*arguments)

    def run(*arguments, of=EXPERIMENT) -> Call:
        with monkeypatch.context() as patch, pytest.raises(CalledError) as called:
            patch.setattr(launch, "train", driver)
            command_line.main(of, list(map(str, arguments)))
        algorithm, hypers, key, options = called.value.args
        return Call(algorithm, hypers, key, dict(vars(options)), dict(flags))

    return run


@pytest.fixture
def refused(monkeypatch, flags, capsys):
    """Exit status and output of a command line that ends without a run: the driver must not be reached."""

    def driver(*arguments, **options):
        raise AssertionError("The driver was called.")

    def run(*arguments, of=EXPERIMENT) -> tuple[Any, str]:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
            patch.setattr(launch, "train", driver)
            command_line.main(of, list(map(str, arguments)))
        printed = capsys.readouterr()
        return exit_.value.code, re.sub(r"[\s│]+", " ", printed.out + printed.err).strip()

    return run


@pytest.fixture
def main(flags):
    """Run a command line of the toy."""
    return lambda *arguments: command_line.main(EXPERIMENT, [*QUIET, *map(str, arguments)])
