"""What every benchmark shares: timing, the machine it ran on, a table to print and a file to keep.

Numbers of different runs do not compare, for machines differ and are rarely idle. Ratios within one run do,
because :func:`side_by_side` lets the contestants take turns.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from purerl import xla
from purerl.envs.base import Environment
from purerl.files import write_json
from purerl.spaces import Discrete

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = pathlib.Path(__file__).parent / "results"
REPEATS = 5
_SHORTEST_SAMPLE_S = 0.05  # quicker calls are timed in groups, so that the clock and the dispatch do not matter

Row = dict[str, Any]


def set_flags(small_loops: bool = False, threads: int | None = None) -> str:
    """Set XLA's CPU flags, for this process and those it starts; the suffix that result files get for it."""
    xla.set_cpu_flags(threads=threads, small_loops=small_loops)
    return ("-small-loops" if small_loops else "") + (f"-threads-{threads}" if threads is not None else "")


def compiled(function: Callable, *arguments: Any) -> tuple[Callable, float]:
    """The function compiled for these arguments, as the driver does it, and the seconds that it took with tracing."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile(xla.compiler_options(jax.default_backend()) or None)
    return executable, time.perf_counter() - start


def seconds_per_call(call: Callable[[], Any], num_calls: int = 1) -> float:
    """Mean seconds of a call, waiting for its result."""
    start = time.perf_counter()
    for _ in range(num_calls):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / num_calls


def side_by_side(contestants: Mapping[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds per call of each contestant; they take turns: A B C, A B C, ...

    The first call of each warms it up and is not counted.
    """
    groups = {}
    for name, call in contestants.items():
        jax.block_until_ready(call())
        groups[name] = max(1, math.ceil(_SHORTEST_SAMPLE_S / seconds_per_call(call)))
    rounds = [{n: seconds_per_call(call, groups[n]) for n, call in contestants.items()} for _ in range(repeats)]
    return {name: statistics.median(r[name] for r in rounds) for name in contestants}


def taking_turns(
    commands: Mapping[str, Sequence[str]], setup: Mapping[str, Any], repeats: int
) -> dict[str, dict[str, float]]:
    """Medians of the JSON that processes print on their last line, by name; they take turns: A B C, A B C, ..."""
    turns = [{name: run_peer(command, setup) for name, command in commands.items()} for _ in range(repeats)]
    return {
        name: {key: statistics.median(turn[name][key] for turn in turns) for key in turns[0][name]} for name in commands
    }


def run_peer(command: Sequence[str], setup: Mapping[str, Any]) -> dict[str, float]:
    """What a process that was given the set-up printed on its last line."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}  # the peers have no other
    result = subprocess.run([*command, json.dumps(setup)], capture_output=True, text=True, cwd=ROOT, env=environment)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def libraries(medians: Mapping[str, Mapping[str, float]], num_env_steps: int) -> list[Row]:
    """Each library's compile and run time, and its speed as a multiple of purerl's."""
    return [
        {
            "library": name,
            "compile s": median["compile_s"],
            "run s": median["run_s"],
            "CPU s": median["cpu_s"],
            "env steps/s": num_env_steps / median["run_s"],
            "speed / purerl's": medians["purerl"]["run_s"] / median["run_s"],
        }
        for name, median in medians.items()
    ]


def first_runs(
    commands: Mapping[str, Sequence[str]], setup: Mapping[str, Any], seeds: Sequence[int], repeats: int
) -> list[Row]:
    """Libraries on JAX from the start of a process to the end of its first run: imports, compiling and the run."""
    rows: list[Row] = []
    for num_seeds in seeds:
        medians = taking_turns(commands, {**setup, "num_seeds": num_seeds}, repeats)
        rows += [
            {
                "library": name,
                "seeds": num_seeds,
                "first result s": median["first_s"],
                "scratch MB": median["scratch_bytes"] / 1e6,
                "speed / purerl's": medians["purerl"]["first_s"] / median["first_s"],
                "scratch / purerl's": median["scratch_bytes"] / medians["purerl"]["scratch_bytes"],
            }
            for name, median in medians.items()
        ]
    return rows


def seeds(train: Callable, hypers: Any, num_seeds: int, num_env_steps: int, repeats: int) -> list[Row]:
    """Many seeds as one vmapped program, against as many runs one after another."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    together, together_compile_s = compiled(jax.vmap(train, (None, 0)), hypers, keys)
    alone, alone_compile_s = compiled(train, hypers, keys[0])
    run_s = side_by_side(
        {
            "vmapped": lambda: together(hypers, keys),
            "one after another": lambda: [alone(hypers, key) for key in keys],
        },
        repeats,
    )
    compile_s = {"vmapped": together_compile_s, "one after another": alone_compile_s}
    return [
        {
            f"{num_seeds} seeds": name,
            "compile s": compile_s[name],
            "run s": run_s[name],
            "env steps/s": num_seeds * num_env_steps / run_s[name],
            "speed-up": run_s["one after another"] / run_s[name],
        }
        for name in run_s
    ]


def num_actions(env: Environment) -> int:
    """How many actions an environment has that is known to have discrete ones."""
    assert isinstance(env.action_space, Discrete), env.name
    return env.action_space.n


def machine() -> dict[str, Any]:
    """What the numbers depend on; no names of machines or people."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "xla_threads": os.environ.get("NPROC", "one per core"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of the packages."""
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; the first row's keys are the columns."""
    lines = [list(rows[0]), ["---"] * len(rows[0])] + [[_text(v) for v in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(name: str, setup: Mapping[str, Any], packages: Sequence[str], **tables: Sequence[Row]) -> None:
    """Print the tables, and write them to ``results/NAME.json`` with set-up, machine and versions."""
    record = {"setup": dict(setup), "machine": machine(), "versions": versions(*packages)}
    path = RESULTS / f"{name}.json"
    write_json(path, record | tables)
    for title, rows in tables.items():
        print(f"\n{title}\n\n{table(rows)}")
    print(f"\nwritten to {os.path.relpath(path)}")


def _text(value: Any) -> str:
    """Three significant digits, thousands apart."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or not math.isfinite(value):
        return str(value)
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def _cpu_model() -> str:
    """The processor's name, where the system tells it."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
