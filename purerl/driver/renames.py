"""Settings that had another name, or value, in the ``config.json`` of an older version, or were not in it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Renamed(NamedTuple):
    """A setting that was renamed."""

    now: str
    values: Mapping[str, Any] = MappingProxyType({})  # old value -> what it is now; others stay as they are


# By the old name. A pair counts only for a record that has the new name and lacks the old one, so that the old name can
# still stand for something else in another algorithm.
RENAMED: dict[str, Renamed] = {
    "law": Renamed("distribution", {"implicit": "iqn"}),
    "lowest": Renamed("v_min"),
    "highest": Renamed("v_max"),
    "polyak": Renamed("tau"),
    "members_at_once": Renamed("trials_at_once"),
    "munchausen_share": Renamed("munchausen_alpha"),
}

# What older versions did, whose records do not say so.
UNSAID: Mapping[str, Any] = MappingProxyType({"optimization_level": 3})


def with_new_names(recorded: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Recorded settings under the names that they have today, and those that went without saying.

    Args:
        recorded: values by name, as an older version may have written them.
        known: the names of today's record.
    """
    found = {}
    for name, value in recorded.items():
        renamed = RENAMED.get(name)
        if renamed is None or name in known or renamed.now not in known or renamed.now in recorded:
            found[name] = value
        else:
            is_word = isinstance(value, str)
            found[renamed.now] = renamed.values.get(value, value) if is_word else value
    return {name: value for name, value in UNSAID.items() if name in known} | found
