"""Names that users write: the known ones that look like one that is not known, and ``NAME=TEXT`` on command lines."""

import difflib
from collections.abc import Iterable, Sequence


def near(name: str, known: Iterable[str]) -> str:
    """``"Near: 'a', 'b'. "`` for at most three known names that look like ``name``, or ``""`` where none does."""
    by_lower = {option.lower(): option for option in known}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
    return f"Near: {', '.join(repr(by_lower[match]) for match in matches)}. " if matches else ""


def assignments(items: Sequence[str], what: str, form: str) -> dict[str, str]:
    """Texts by name, from ``NAME=TEXT`` items of a command line.

    Args:
        items: such as ``"gamma=0.9"``.
        what: an item is, for messages.
        form: that it must have, likewise.

    Raises:
        ValueError: if an item has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"{what} {item!r} is not of the form {form}.")
        if name in found:
            raise ValueError(f"{what} {item!r}: {name} is {found[name]!r} already. Give it once.")
        found[name] = text
    return found
