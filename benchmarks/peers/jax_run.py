"""How a whole run of a library on JAX is timed, compiling apart."""

import json
import time
from collections.abc import Callable

import jax


def measure(train: Callable, *arguments) -> None:
    """Print seconds of ``train(*arguments, key)`` as one line of JSON; the first run only warms up."""
    start = time.perf_counter()
    compiled = jax.jit(train).lower(*arguments, jax.random.key(0)).compile()
    compile_s = time.perf_counter() - start

    jax.block_until_ready(compiled(*arguments, jax.random.key(0)))
    start, cpu_start = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(*arguments, jax.random.key(1)))
    run_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    print(json.dumps({"compile_s": compile_s, "run_s": run_s, "cpu_s": cpu_s}))
