"""Compiled programs kept in the user's cache folder, so that the next run of the same shapes starts sooner.

A setting of JAX, which only command lines change, and only where the user has not: ``JAX_COMPILATION_CACHE_DIR`` names
another folder. Runs side by side share the folder; JAX has a lock in it, and what was used longest ago makes room.
"""

import os
import pathlib

import filelock
import jax

MAX_BYTES = 2**30
_LOCK_SECONDS = 10.0


def folder() -> pathlib.Path:
    """``$XDG_CACHE_HOME/purerl``, or ``~/.cache/purerl``.

    Raises:
        OSError: if the user has no home.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return pathlib.Path(home) / "purerl"


def keep_compiled_programs() -> str | None:
    """Have JAX keep what it compiles from now on.

    Returns:
        What to tell the user if it cannot: the run goes on without.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return None
    try:
        path = folder()
        path.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path / ".lockfile", timeout=_LOCK_SECONDS):  # JAX's own
            _remove_unfinished(path)
    except (OSError, NotImplementedError) as error:  # the second from a file system without locks
        return f"Compiled programs are not kept ({error}): JAX_COMPILATION_CACHE_DIR names another folder for them."
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return None


def _remove_unfinished(path: pathlib.Path) -> None:
    """Delete programs of which a process that was killed, or a full disk, left a part: JAX would never replace them.

    A program's time of access is written after it.
    """
    for program in path.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink()
