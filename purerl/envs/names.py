"""What to say when a name is not known."""

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """``"Near: 'a', 'b'. "`` for the known names that look like ``name``, or ``""`` where none does."""
    by_lower = {option.lower(): option for option in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
    return f"Near: {', '.join(repr(by_lower[match]) for match in near)}. " if near else ""
