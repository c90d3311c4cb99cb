"""The folder of compiled programs: whose it is, how large it grows, what runs side by side and what is broken."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from purerl.driver.command_line import compile_cache
from purerl.driver.command_line.compile_cache import keep_compiled_programs

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's folder of caches, where JAX has been told nothing yet; what it is told is forgotten again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield tmp_path
    compilation_cache.reset_cache()
    for name, value in before.items():
        jax.config.update(name, value)


def compile_one(number: float) -> None:
    """A small program, another for every number."""
    jax.jit(lambda x: number * x + 1)(np.float32(1.0))


def kept(folder: pathlib.Path) -> list[pathlib.Path]:
    """The programs in a folder."""
    return sorted(folder.glob("*-cache"))


def test_programs_are_kept_in_the_users_folder(home):
    """What is compiled from then on, and no word about it."""
    assert keep_compiled_programs() is None
    compile_one(1.5)
    assert kept(home / "purerl")


def test_the_folder_is_in_the_home_where_nothing_else_is_said(monkeypatch):
    """The name that a user looks for; without a home, an error that is an OSError like the others."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", lambda: pathlib.Path("/somebody"))
    assert compile_cache.folder() == pathlib.Path("/somebody/.cache/purerl")

    def no_home() -> pathlib.Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(pathlib.Path, "home", no_home)
    with pytest.raises(OSError, match="no home"):
        compile_cache.folder()


def test_a_folder_that_the_user_chose_stays(home):
    """Where JAX has a folder already, nothing of its settings is touched."""
    jax.config.update("jax_compilation_cache_dir", str(home / "chosen"))
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    assert keep_compiled_programs() is None
    assert {name: getattr(jax.config, name) for name in SETTINGS} == before
    assert not (home / "purerl").exists()


def test_a_folder_that_cannot_be_written_is_said_and_done_without(home, monkeypatch):
    """A file is where the folder should be: the reason, a remedy, and JAX is told nothing."""
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    notice = keep_compiled_programs()
    assert notice is not None and "not kept" in notice and "JAX_COMPILATION_CACHE_DIR" in notice
    assert jax.config.jax_compilation_cache_dir is None


def test_the_folder_is_bounded(home, monkeypatch):
    """Room for two programs: of four, those that were used last are there."""
    keep_compiled_programs()
    compile_one(1.5)
    (first,) = kept(home / "purerl")
    monkeypatch.setattr(compile_cache, "MAX_BYTES", int(2.5 * first.stat().st_size))
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    keep_compiled_programs()
    for number in (2.5, 3.5, 4.5):
        compile_one(number)
    left = kept(home / "purerl")
    assert len(left) == 2 and first not in left
    assert sum(path.stat().st_size for path in left) <= compile_cache.MAX_BYTES


def test_unfinished_programs_are_removed(home):
    """A part of one, as a full disk leaves it: JAX would read it, complain, and never replace it. Whole ones stay."""
    folder = home / "purerl"
    folder.mkdir()
    for name in ("part-cache", "whole-cache", "whole-atime"):
        (folder / name).write_bytes(b"12345678")
    keep_compiled_programs()
    assert {path.name for path in folder.iterdir()} - {".lockfile"} == {"whole-cache", "whole-atime"}


PROCESS = """
import sys, warnings
import jax
from purerl.driver.command_line.compile_cache import keep_compiled_programs

warnings.simplefilter("error")
assert jax.config.jax_compilation_cache_dir is None, "importing purerl told JAX of a folder"
assert keep_compiled_programs() is None
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    assert jax.jit(lambda x: number * x + 1)(2.0) == 2 * number + 1
"""


def test_processes_side_by_side_share_the_folder(tmp_path):
    """Two that compile the same programs at the same time: no warning from either, and every program is there once."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    two = [subprocess.Popen([sys.executable, "-c", PROCESS], env=environment, text=True, **pipes) for _ in range(2)]
    for process in two:
        assert process.stdout is not None and process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in two:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in two:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    found = kept(tmp_path / "purerl")
    assert len([path for path in found if "lambda" in path.name]) == 8
    assert all(path.with_name(path.name.removesuffix("-cache") + "-atime").exists() for path in found)
