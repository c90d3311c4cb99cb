"""Timer: seconds of tracing, compiling, running, evaluating, logging and saving."""

import contextlib
import time
from collections.abc import Iterator

import jax

NAMES = ("trace", "compile", "run", "eval", "log", "checkpoint")


class Timer:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = dict.fromkeys(NAMES, 0.0)

    def seconds(self) -> dict[str, float]:
        """All of them, as ``{"run_seconds": ...}``."""
        return {f"{name}_seconds": self.spent[name] for name in NAMES}

    @contextlib.contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count the seconds of a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] += time.perf_counter() - start

    def compile(self, function, *arguments, donate: tuple[int, ...] = (), out_shardings=None):
        """Trace and compile a function for arguments of such shapes and shardings."""
        options = {} if out_shardings is None else {"out_shardings": out_shardings}
        with self.on("trace"):
            traced = jax.jit(function, donate_argnums=donate, **options).trace(*arguments)
        with self.on("compile"):
            return traced.lower().compile()

    def run(self, name: str, compiled, *arguments):
        """Call a compiled function and wait for its result."""
        with self.on(name):
            return jax.block_until_ready(compiled(*arguments))
