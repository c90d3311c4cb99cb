"""The folder of a run: a lock on it, and whether what is in it belongs to the run that is about to start."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from purerl import files
from purerl.driver import options
from purerl.driver.renames import with_new_names

CONFIG, METRICS, SUMMARY = "config.json", "metrics.csv", "summary.json"
CURVE, SWEEP = "curve.png", "sweep.png"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
_LOCK = ".lock"
_OWN = (SUMMARY, METRICS, CURVE, SWEEP, CHECKPOINTS, TENSORBOARD, CONFIG)  # config last: with it goes the claim
# What config.json may have otherwise when a run is resumed: options that are not fixed, and what it is computed with.
_CHANGEABLE = {*options.names_of(options.RunOptions, "recorded")} - {*options.names_of(options.RunOptions, "fixed")}
_CHANGEABLE |= {"versions", "device", "git_commit", "sources", "mesh", "command"}
_LATER = {"made_by", "hypers_class"}  # older records have them not


class FolderError(ValueError):
    """A run may not use the folder that it was given."""


@contextlib.contextmanager
def claim(path: str | os.PathLike, resume: bool = False, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Own a folder for the length of a block; it is made if it is not there, and gone again if nothing was put there.

    Args:
        path: the folder.
        resume: whether a run in it may be gone on with.
        overwrite: whether a run in it may be replaced, which is for :func:`clear` to do when the time has come.

    Raises:
        FolderError: if it cannot be written to, another process writes to it, it holds a run already, or other files
            and no run.
    """
    import filelock

    folder = pathlib.Path(path)
    made = [one for one in (folder, *folder.parents) if not one.exists()]  # the innermost first
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise FolderError(f"Cannot write to {folder} ({error.strerror}): choose another folder.") from error
        there = {path.name for path in folder.iterdir()}
        lock = filelock.FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise FolderError(f"Another run is writing to {folder}: wait for it, or choose another folder.") from error
        stack.callback(lock.release)
        if _LOCK not in there:
            stack.callback(_remove_lock_if_alone, folder, there)
        _check_may_use(folder, resume, overwrite)
        for name in _OWN:
            files.remove_leftovers(folder / name)
        yield folder


def _check_may_use(folder: pathlib.Path, resume: bool, overwrite: bool) -> None:
    """Refuse what is not empty, unless it is a run that may be gone on with or replaced."""
    if (folder / CONFIG).exists():
        if resume:
            return
        if not overwrite:
            raise FolderError(
                f"{folder} holds a run already: resume it, choose another folder, or allow to overwrite it "
                "(--resume, --out-dir, --overwrite)."
            )
        try:
            read_config(folder)
        except FolderError as error:
            raise FolderError(f"{folder} is not replaced, for it may hold no run: {error}") from error
    elif foreign := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        more = ", ..." if len(foreign) > 1 else ""
        raise FolderError(f"{folder} is not empty and holds no run ({foreign[0]}{more}): choose another folder.")


def _remove_lock_if_alone(folder: pathlib.Path, there: set[str]) -> None:
    """Remove the lock where nothing else was put into a folder; while it is held, so that nobody else can take it."""
    if {path.name for path in folder.iterdir()} == there | {_LOCK}:
        with contextlib.suppress(OSError):
            (folder / _LOCK).unlink()


def _remove_empty(folders: list[pathlib.Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty, or was never made
            folder.rmdir()


def clear(folder: pathlib.Path) -> None:
    """Remove the files of a run from its folder, and nothing else."""
    for path in [*(folder / CHECKPOINTS).glob("*"), *(folder / TENSORBOARD).rglob("events.out.tfevents.*")]:
        if path.parent.name == CHECKPOINTS and not _is_checkpoint(path):
            continue
        _remove(path)
    for name in (TENSORBOARD, CHECKPOINTS):
        if (folder / name).is_symlink():
            (folder / name).unlink()
        elif (folder / name).is_dir():
            inner = [path for path in (folder / name).rglob("*") if path.is_dir() and not path.is_symlink()]
            _remove_empty([*sorted(inner, reverse=True), folder / name])
    for name in _OWN:
        if name not in (TENSORBOARD, CHECKPOINTS):
            (folder / name).unlink(missing_ok=True)


def _is_checkpoint(path: pathlib.Path) -> bool:
    return path.name.isdigit() or path.name.endswith(".orbax-checkpoint-tmp")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """The settings that a run left in its folder.

    Raises:
        ValueError: if there are none, or they cannot be read.
    """
    path = pathlib.Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict) or not {"algorithm", "settings", "hypers", "key"} <= config.keys():
            raise ValueError("it lacks the settings of a run")
    except FileNotFoundError as error:
        raise FolderError(f"No run in {folder}: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read ({error}).") from error
    return config


def differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings that are not as they were, each as ``"hypers.gamma: 0.99 then, 0.9 now"``; of older records too."""
    found, then = [], with_new_names(then, now)
    for name in [*then, *(name for name in now if name not in then)]:
        if not prefix and (name in _CHANGEABLE or (name in _LATER and name not in then)):
            continue
        a, b = then.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {_short(a)} then, {_short(b)} now")
    return found


def changed_code(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Source files and packages that are not as they were, each as ``"jax 0.10.2 then, 0.11.2 now"``."""
    versions = then.get("versions", {})
    found = [
        f"{name} {versions.get(name)} then, {version} now"
        for name, version in now["versions"].items()
        if versions.get(name) != version
    ]
    before, after = then.get("sources", {}), now["sources"]
    verb = {True: "changed", False: "is new"}
    found += [f"{name} {verb[name in before]}" for name, digest in after.items() if before.get(name) != digest]
    return found + [f"{name} is gone" for name in before if name not in after]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
