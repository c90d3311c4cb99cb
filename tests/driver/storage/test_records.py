"""What is recorded about settings, sources and the machine."""

import hashlib
import json
import pathlib
import subprocess

import jax
import numpy as np
import pytest

import purerl
from purerl.driver.storage import records
from tests.support.toy import ToyHypers


def test_hypers_become_plain_numbers():
    """By the names of the fields, whatever the record: a dataclass of numbers, arrays, or nested dicts."""
    assert records.plain(ToyHypers(rate=0.5, limit=np.float32(2.0))) == {"rate": 0.5, "limit": 2.0, "calm": 0}
    assert records.plain({"a": {"b": np.arange(2)}}) == {"['a']['b']": [0, 1]}


@pytest.mark.parametrize("number", [0.1, 3e-4, 1 / 3, 1e-38, 16777217.0, float("inf"), -0.0])
def test_decimals_are_short_and_exact(number):
    """A float32 is written as the shortest decimals that give it back: 0.1, not 0.10000000149."""
    single = np.float32(number)
    (written,) = records.plain({"a": single}).values()
    assert type(written) is float and np.float32(written) == single
    assert len(repr(written)) <= len(repr(float(single)))
    assert records.plain({"a": np.float32(0.1), "b": np.array([0.1, 0.2], np.float32)}) == {
        **{"['a']": 0.1, "['b']": [0.1, 0.2]}
    }


def test_sources_have_a_digest_each():
    """Every Python file of the package by its path, with the beginning of its SHA-256."""
    found = records.sources()
    root = pathlib.Path(purerl.__file__).parent
    assert (
        set(found) == {path.relative_to(root).as_posix() for path in root.rglob("*.py")} >= {"driver/running/loop.py"}
    )
    assert hashlib.sha256((root / "types.py").read_bytes()).hexdigest().startswith(found["types.py"])
    assert all(len(digest) == 16 for digest in found.values())
    assert json.loads(json.dumps(records.versions()))["sources"] == found


def test_versions_and_device():
    """The installed JAX, the device, and a package that is not installed as None."""
    found = records.versions()
    assert found["versions"]["jax"] == jax.__version__
    assert jax.devices()[0].device_kind in found["device"]
    assert found["git_commit"] is None or len(found["git_commit"]) >= 7


@pytest.mark.parametrize("error", [OSError("no git"), subprocess.TimeoutExpired("git", 10)])
def test_without_git_there_is_no_commit(monkeypatch, error):
    """git missing or stuck: no commit, no error."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert records.versions()["git_commit"] is None


def test_peak_memory_is_in_bytes():
    """A process with JAX and NumPy loaded holds more than 10 MB and less than a terabyte."""
    memory = records.peak_memory()
    assert 1e7 < memory["peak_bytes"] < 1e12
    assert memory["peak_bytes_of"] in ("device", "process")
