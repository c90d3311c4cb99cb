"""What tests of the driver share: compiled programs, and no pictures but where they are looked at."""

import pytest

from purerl.driver import TrainResult
from tests.support import programs


@pytest.fixture(autouse=True, scope="module")
def compile_once(tmp_path_factory):
    """Programs that were compiled by a test before, of this module or another, are not compiled again."""
    with programs.compiled_in(tmp_path_factory.getbasetemp() / "compiled"):
        yield


@pytest.fixture
def pictures() -> None:
    """Pictures are drawn."""


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Drawing takes longer than training a toy: only tests that ask for ``pictures`` do it."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(TrainResult, "plot", lambda *arguments: None)
        monkeypatch.setattr(TrainResult, "plot_sweep", lambda *arguments: None)
