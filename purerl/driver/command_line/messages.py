"""Messages of the library in the words of a command line, where settings are flags."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any


def in_flags(message: str, records: Sequence[Any]) -> str:
    """A message in which fields of records are called by their flags: ``PPOHypers.gamma = 2`` is ``--gamma 2``.

    Translated are fields with their record, fields that a message begins with, and all others whose names no sentence
    has by chance, for they have an underscore. Names in quotes, in lists of fields and in ``name=value`` stay.
    """
    names = sorted({field.name for record in records for field in dataclasses.fields(record)}, key=len, reverse=True)
    if not names:
        return message
    record = "|".join({(r if isinstance(r, type) else type(r)).__name__ for r in records})
    sentence, listed, rest = message.partition("Fields: ")
    pattern = rf"(?<![\w'/.-])((?:{record})\.)?({'|'.join(map(re.escape, names))})(?![\w'=]|\.\w| \(--)( = )?"

    def flag(found: re.Match) -> str:
        named, name, equals = found.groups()
        begins = found.start() == 0 and equals
        if not (named or begins or "_" in name):
            return found[0]
        computed = sentence[: found.start()].endswith(("* ", "+ "))  # "a * b = 3 * 4 = 12" is no value of b
        return f"--{name.replace('_', '-')}{equals if computed and equals else ' ' if equals else ''}"

    return re.sub(pattern, flag, sentence) + listed + rest
