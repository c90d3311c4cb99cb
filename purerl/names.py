"""Did you mean: the known names that look like one that is not known."""

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """``"Near: 'a', 'b'. "`` for at most three known names that look like ``name``, or ``""`` where none does."""
    by_lower = {option.lower(): option for option in known}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
    return f"Near: {', '.join(repr(by_lower[match]) for match in matches)}. " if matches else ""
