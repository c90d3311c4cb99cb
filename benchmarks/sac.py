"""SAC on Pendulum against Rejax: whole runs, and those of a replay that holds a million steps.

    python -m benchmarks.sac

Networks, batches and numbers are Rejax's defaults. Nothing is evaluated; compiling is timed apart. Each library runs
in a process and a virtual environment of its own, and they take turns.
"""

import sys
from typing import Any

import tyro

from benchmarks import common, setup_peers
from benchmarks.peers.run_purerl_sac import make_train

SETUP: dict[str, Any] = {
    "env": "Pendulum-v1",
    "num_envs": 1,
    "batch_size": 256,
    "replay_capacity": 50_000,
    "num_warmup_steps": 1_000,
    "hidden_sizes": (64, 64),
    "activation": "swish",
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
}
LARGE = 1_000_000


def main(
    num_env_steps: int = 20_000,
    num_env_steps_large: int = 3_000,
    num_seeds: int = 8,
    repeats: int = 5,
    threads: int | None = None,
) -> None:
    """Measure SAC.

    Args:
        num_env_steps: length of a run.
        num_env_steps_large: length of a run whose replay holds a million steps.
        num_seeds: how many runs to vmap.
        repeats: turns that each contestant gets; medians are reported.
        threads: of XLA, in every JAX program alike; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    setup = SETUP | {"num_env_steps": num_env_steps}
    large = SETUP | {"num_env_steps": num_env_steps_large, "replay_capacity": LARGE}
    tables = {
        name: common.libraries(common.taking_turns(contestants(), one, repeats), one["num_env_steps"])
        for name, one in (("libraries", setup), ("large_replay", large))
    }
    common.report(
        f"sac{suffix}",
        setup | {"num_env_steps_large": num_env_steps_large, "num_seeds": num_seeds, "repeats": repeats},
        ("jax", "jaxlib", "flax", "optax", "gymnax"),
        seeds=common.seeds(*make_train(setup), num_seeds, num_env_steps, min(repeats, 3)),
        **tables,
    )


def contestants() -> dict[str, list[str]]:
    """How to run purerl and its peer."""
    return {
        "purerl": [sys.executable, "-m", "benchmarks.peers.run_purerl_sac"],
        "Rejax 0.1.3": [str(setup_peers.python_of("rejax")), "-m", "benchmarks.peers.run_rejax_sac"],
    }


if __name__ == "__main__":
    tyro.cli(main)
