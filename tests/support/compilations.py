"""How many programs JAX compiles, or takes from its cache on disk."""

import contextlib
from collections.abc import Iterator

import jax

_open: list[list[str]] = []


def _listen(event: str, seconds: float, **details) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        for names in _open:
            names.append(details.get("fun_name", "?"))


jax.monitoring.register_event_duration_secs_listener(_listen)  # for good: there is no way to take it back


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of the programs that are compiled within, as they come."""
    names: list[str] = []
    _open.append(names)
    try:
        yield names
    finally:
        _open.remove(names)
