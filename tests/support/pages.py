"""Pages that are generated: written whole, or only compared with what is there."""

import pathlib
import sys

from purerl.files import atomic_path


def publish(page: str, path: pathlib.Path, name: str, command: str, check: bool) -> int:
    """Write a page, or with ``check`` only compare it; says what came of it.

    Args:
        page: its text.
        path: where it belongs.
        name: how messages call it.
        command: that writes it, for who has an old one.
        check: write nothing.

    Returns:
        The exit status: 1 where a page that is only compared is out of date.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == page:
        print(f"{name} is up to date.")
        return 0
    if check:
        print(f"{name} is out of date; run `{command}`.", file=sys.stderr)
        return 1
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"Wrote {name}.")
    return 0
