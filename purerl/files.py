"""Output files, written whole or not at all."""

import contextlib
import csv
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` when the block succeeds.

    A block that fails leaves ``path`` as it was, and no temporary file.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike) -> None:
    """Nothing, if a file can be written there, as far as one can know without writing.

    Raises:
        OSError: if it is a folder, or lies where nothing can be made.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"Cannot write to {path}: it is a folder. Give the name of a file in it.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "no folder" if not above.is_dir() else "not yours to write to"
        raise PermissionError(f"Cannot write to {path}: {above} is {what}. Choose another place.")


def remove_leftovers(path: str | os.PathLike) -> None:
    """Remove the temporary files of :func:`atomic_path` that processes which were killed left beside ``path``."""
    path = pathlib.Path(path)
    for left in path.parent.glob(f".{path.stem}-????????{path.suffix}"):
        left.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Write ``data`` as indented JSON; what is not a number becomes its ``str``, what is not finite ``null``."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=2, allow_nan=False) + "\n")


def write_csv(path: str | os.PathLike, header: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a comma-separated table with a header line."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def plain(data: Any) -> Any:
    """``data`` as it comes back from a JSON file: lists for tuples, text for objects, ``None`` for inf and nan."""
    if isinstance(data, dict):
        return {str(k): plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [plain(v) for v in data]
    if isinstance(data, float) and data - data != 0:  # inf or nan, which JSON has no word for
        return None
    return data if data is None or isinstance(data, bool | int | float | str) else str(data)
