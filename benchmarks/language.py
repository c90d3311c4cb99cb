"""Generation and a GRPO step against tunix's sampler and TRL, on the CPU: the same shapes and numbers of parameters.

    python -m benchmarks.language --threads 1

A Qwen3 of two sizes, from random weights; no answer ends before its last token. tunix is timed for generation alone.
Each library runs in a process and a virtual environment of its own, and they take turns; compiling is timed apart.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

import tyro

from benchmarks import common, setup_peers

SIZES: dict[str, dict[str, int]] = {
    "small": {
        "size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 4,
        "head_size": 16,
        "feed_forward_size": 256,
        "batch_size": 64,
        "max_tokens": 8,
    },
    "large": {
        "size": 128,
        "num_layers": 4,
        "num_heads": 8,
        "num_kv_heads": 8,
        "head_size": 16,
        "feed_forward_size": 512,
        "batch_size": 256,
        "max_tokens": 16,
    },
}
COMMON = {"vocab_size": 64, "prompt_length": 4, "group_size": 16}


def main(calls: int = 10, repeats: int = 5, threads: int | None = None) -> None:
    """Measure learning of language.

    Args:
        calls: of each thing that is timed, in every process; their median counts.
        repeats: turns that each contestant gets; medians are reported.
        threads: of XLA and of torch; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    tables = {
        name: libraries(COMMON | sizes | {"calls": calls, "threads": threads}, repeats) for name, sizes in SIZES.items()
    }
    setup = {"calls": calls, "repeats": repeats, **COMMON, **SIZES}
    common.report(f"language{suffix}", setup, ("jax", "jaxlib", "flax", "optax"), **tables)


def libraries(setup: Mapping[str, Any], repeats: int) -> list[common.Row]:
    """Tokens per second and seconds of a GRPO step, wall and CPU, of each library."""
    commands = {
        "purerl": [sys.executable, "-m", "benchmarks.peers.run_purerl_language"],
        "tunix": [str(setup_peers.python_of("tunix")), "benchmarks/peers/run_tunix.py"],
        "trl": [str(setup_peers.python_of("trl")), "benchmarks/peers/run_trl.py"],
    }
    medians = common.taking_turns(commands, setup, repeats)
    ours = medians["purerl"]
    num_tokens = setup["batch_size"] * setup["max_tokens"]
    nothing = dict.fromkeys(("first_s", "step_cpu_s", "step_run_s"), math.nan)
    return [
        {
            "library": name,
            "parameters": int(m["num_params"]),
            "compile s": m["first_s"],
            "generate CPU s": m["cpu_s"],
            "tokens / CPU s": num_tokens / m["cpu_s"],
            "speed / purerl's": ours["cpu_s"] / m["cpu_s"],
            "GRPO step CPU s": m["step_cpu_s"],
            "step's speed / purerl's": ours["step_cpu_s"] / m["step_cpu_s"],
            "8 seeds / 8 runs": m.get("eight_seeds / eight_runs", math.nan),
        }
        for name, m in ((name, nothing | median) for name, median in medians.items())
    ]


if __name__ == "__main__":
    tyro.cli(main)
