"""How a whole run of a library on JAX is timed, compiling apart, and from the start of the process."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import psutil


def measure(
    train: Callable,
    *arguments,
    num_seeds: int = 1,
    compiler_options: Mapping[str, Any] | None = None,
    first: Callable[[], Any] | None = None,
) -> None:
    """Print what ``train(*arguments, key)`` takes, as one line of JSON.

    ``compile_s``; ``run_s`` and ``cpu_s`` of the second run, for the first only warms up; ``first_s``, from the start
    of the process to the end of the first run, imports and compiling included; ``scratch_bytes`` of the program, beside
    its arguments and results. Several seeds are vmapped.

    Args:
        train: a whole run.
        arguments: of ``train``, before the key.
        num_seeds: how many runs at once.
        compiler_options: of XLA.
        first: how a user would make the first run, where that is not this one program.
    """
    measured: dict[str, float] = {}
    if first is not None:
        first()
        measured["first_s"] = _seconds_since_start()
    keys = [jax.random.key(seed) for seed in range(2)]
    if num_seeds > 1:
        train = jax.vmap(train, (*(None for _ in arguments), 0))
        keys = [jax.random.split(key, num_seeds) for key in keys]
    start = time.perf_counter()
    compiled = jax.jit(train).lower(*arguments, keys[0]).compile(dict(compiler_options or {}) or None)
    measured["compile_s"] = time.perf_counter() - start

    jax.block_until_ready(compiled(*arguments, keys[0]))
    measured.setdefault("first_s", _seconds_since_start())
    start, cpu_start = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(*arguments, keys[1]))
    measured |= {"run_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu_start}
    memory: Any = compiled.memory_analysis()
    print(json.dumps(measured | {"scratch_bytes": memory.temp_size_in_bytes}))


def _seconds_since_start() -> float:
    return time.time() - psutil.Process().create_time()
