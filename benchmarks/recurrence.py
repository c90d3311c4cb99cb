"""Sequential against associative scan for linear recurrences: where each is faster on this machine's backend.

    python -m benchmarks.recurrence

Prints the ratio of the medians and writes ``benchmarks/results/recurrence.json``, one entry a backend: the
numbers behind the choice in ``purerl/kernels/recurrence.py``.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import time

import jax
import jaxlib

from purerl.kernels.recurrence import associative, sequential

RESULTS = pathlib.Path(__file__).parent / "results" / "recurrence.json"
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 8, 64, 512, 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.05, help="time for one cell, after compiling")
    seconds = parser.parse_args().seconds

    print("microseconds, median: sequential / associative (= speed-up of the second)")
    print("     T " + "".join(f"{f'B={batch}':>26}" for batch in BATCHES))
    rows = []
    for length in LENGTHS:
        cells = [measure(length, batch, seconds) for batch in BATCHES]
        rows += cells
        print(f"{length:6d} " + "".join(f"{describe(cell):>26}" for cell in cells), flush=True)
    save(rows)


def measure(length: int, batch: int, seconds: float) -> dict:
    """Time both implementations at one shape, taking turns so that a slow moment hits both alike."""
    coefficient_key, offset_key = jax.random.split(jax.random.key(0))
    arguments = (
        jax.random.uniform(coefficient_key, (length, batch)),
        jax.random.normal(offset_key, (length, batch)),
    )
    solvers = {"sequential": jax.jit(sequential), "associative": jax.jit(associative)}
    for solve in solvers.values():
        jax.block_until_ready(solve(*arguments))  # compiles

    times: dict[str, list[float]] = {name: [] for name in solvers}
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times["associative"]) < 5:
        for name, solve in solvers.items():
            before = time.perf_counter()
            jax.block_until_ready(solve(*arguments))
            times[name].append(1e6 * (time.perf_counter() - before))
    medians = {f"{name}_us": round(statistics.median(series), 2) for name, series in times.items()}
    return {"length": length, "batch": batch, "repeats": len(times["sequential"]), **medians}


def describe(cell: dict) -> str:
    first, second = cell["sequential_us"], cell["associative_us"]
    return f"{first:.0f} / {second:.0f} ({first / second:.2f})"


def save(rows: list[dict]) -> None:
    """Replace this backend's entry, keep the others; the file appears whole or not at all."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[jax.default_backend()] = {
        "device": jax.devices()[0].device_kind,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "rows": rows,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    temporary.replace(RESULTS)
    print(f"wrote {RESULTS.relative_to(RESULTS.parents[2])}")


if __name__ == "__main__":
    main()
