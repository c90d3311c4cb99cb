"""Timer: seconds of tracing, compiling, running, evaluating, logging and saving.

Programs are compiled side by side, each in a thread of its own (compiling holds no lock of Python), so seconds of
compiling are those that the run waited for.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

NAMES = ("trace", "compile", "run", "eval", "log", "checkpoint")


class Timer:
    """Seconds by what they were spent on."""

    def __init__(self, compiler_options: Mapping[str, Any] | None = None) -> None:
        """Begin at zero.

        Args:
            compiler_options: for every program that is compiled, such as :func:`purerl.xla.compiler_options`.
        """
        self.spent: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        self._compiler_options = dict(compiler_options or {}) or None
        self._threads = ThreadPoolExecutor(thread_name_prefix="compile")

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

    def compile(self, function, *arguments, donate: tuple[int, ...] = (), out_shardings=None) -> Future:
        """Trace a function for arguments of such shapes and shardings, and begin to compile it: see :meth:`wait`."""
        options = {} if out_shardings is None else {"out_shardings": out_shardings}
        with self.on("trace"):
            traced = jax.jit(function, donate_argnums=donate, **options).trace(*arguments)
            lowered = traced.lower()
        return self._threads.submit(lowered.compile, self._compiler_options)

    def wait(self, compiling: Future):
        """The compiled function."""
        with self.on("compile"):
            return compiling.result()

    def run(self, name: str, compiled, *arguments):
        """Call a compiled function and wait for its result."""
        with self.on(name):
            return jax.block_until_ready(compiled(*arguments))
