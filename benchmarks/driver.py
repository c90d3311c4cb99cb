"""What the driver costs: training through it against a bare scan, logging, a sweep in one compile, checkpoints.

python -m benchmarks.driver
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks import common
from purerl import envs
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.driver import grid, train
from purerl.driver.running import program
from purerl.driver.storage.checkpoint import Checkpoints


def algorithm(num_envs: int = 8):
    """PPO on CartPole, as ``purerl train ppo`` runs it."""
    return ppo(envs.make("CartPole-v1"), PPOConfig(num_envs=num_envs))


def bare(algo, hypers, keys: jax.Array, num_updates: int, metrics: bool) -> Callable[[], Any]:
    """``jit(vmap(scan(update)))`` and nothing else: no logs, no look from outside.

    Without ``metrics`` the compiler leaves out all that is computed for them alone.
    """

    def run(key: jax.Array):
        init_key, run_key = jax.random.split(key)

        def update(state, t):
            state, measured = algo.update(hypers, state, jax.random.fold_in(run_key, t))
            return state, measured if metrics else None

        return jax.lax.scan(update, algo.init(hypers, init_key), jnp.arange(num_updates))

    run_all, _ = common.compiled(jax.vmap(run) if keys.shape[0] > 1 else lambda keys: run(keys[0]), keys)
    return partial(run_all, keys)


def overhead(num_seeds: int, num_env_steps: int, repeats: int) -> common.Row:
    """Seconds of updates, logs and checkpoints in ``train`` with all its files, against bare scans. By turns."""
    algo, hypers, key = algorithm(), PPOHypers(), jax.random.key(0)
    num_updates = -(-num_env_steps // algo.spec.env_steps_per_update)
    scans = [bare(algo, hypers, program.seed_keys(key, num_seeds), num_updates, metrics) for metrics in (False, True)]
    for scan in scans:
        common.seconds_per_call(scan)
    rounds = []
    for _ in range(repeats):
        seconds = [common.seconds_per_call(scan) for scan in scans]
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {
                "num_env_steps": num_env_steps,
                "num_seeds": num_seeds,
                "eval_every": 0,
                "progress": False,
            }
            summary = train(algo, hypers, key, out_dir=folder, **options).summary
        # A bare scan initialises its states, too; the driver counts that among its updates.
        rounds.append((*seconds, summary["run_seconds"], summary["log_seconds"], summary["checkpoint_seconds"]))
    scan_s, metrics_s, run_s, log_s, checkpoint_s = (statistics.median(column) for column in zip(*rounds, strict=True))
    to_scan, to_metrics = (
        statistics.median((row[2] + row[3]) / row[baseline] for row in rounds) for baseline in (0, 1)
    )
    return {
        "seeds": num_seeds,
        "updates": num_updates,
        "bare scan, s": scan_s,
        "scan with metrics, s": metrics_s,
        "driver: updates, s": run_s,
        "driver: 100 log entries, s": log_s,
        "driver: last checkpoint, s": checkpoint_s,
        "updates and logs / bare scan": to_scan,
        "updates and logs / scan with metrics": to_metrics,
        "log entries / run": log_s / run_s,
    }


def sweep(num_points: int, num_seeds: int, num_env_steps: int) -> list[common.Row]:
    """A sweep in one program against one run after the other, each compiled anew as a new process would."""
    algo, key = algorithm(num_envs=4), jax.random.key(0)
    rates = jnp.geomspace(1e-4, 1e-2, num_points).tolist()
    options: dict[str, Any] = {
        "num_env_steps": num_env_steps,
        "num_seeds": num_seeds,
        "eval_every": 0,
        "progress": False,
    }

    def timed(hypers) -> dict[str, float]:
        start = time.perf_counter()
        summary = train(algo, hypers, key, **options).summary
        names = ("trace_seconds", "compile_seconds", "run_seconds")
        return {"all, s": time.perf_counter() - start} | {name: summary[name] for name in names}

    together = timed(grid(PPOHypers(), learning_rate=rates))
    apart = [timed(PPOHypers(learning_rate=rate)) for rate in rates]
    total = {name: sum(run[name] for run in apart) for name in together}
    rows = [("one program", together), (f"{num_points} runs", total)]
    return [
        {
            "how": how,
            "points": num_points,
            "seeds": num_seeds,
            "compile, s": run["trace_seconds"] + run["compile_seconds"],
            "updates, s": run["run_seconds"],
            "all, s": run["all, s"],
            "times as long as one program": run["all, s"] / together["all, s"],
        }
        for how, run in rows
    ]


def checkpoints(repeats: int) -> list[common.Row]:
    """Seconds to begin a checkpoint, to have it whole, and to load it, and its size, for a few sizes of state."""
    rows = []
    for name, num_seeds, hidden in (("CartPole", 1, 64), ("CartPole", 32, 64), ("CartPole", 32, 512)):
        algo = ppo(envs.make("CartPole-v1"), PPOConfig(num_envs=8, hidden_sizes=(hidden, hidden)))
        hypers = jax.tree.map(lambda x, n=num_seeds: jnp.full(n, x), PPOHypers())
        carry = jax.jit(partial(program.init, algo))(hypers, program.seed_keys(jax.random.key(0), num_seeds))
        rounds = []
        with tempfile.TemporaryDirectory() as folder, Checkpoints(folder, keep=1) as there:
            for step in range(repeats + 1):
                start = time.perf_counter()
                there.save(step, carry, {})
                begun = time.perf_counter()
                there.wait()
                written = time.perf_counter()
                there.load(carry, step)
                rounds.append((begun - start, written - start, time.perf_counter() - written))
            files = [path for path in pathlib.Path(folder, str(repeats)).rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
        begin, whole, load = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
        in_memory = sum(x.nbytes for x in jax.tree.leaves(carry))
        rows.append(
            {
                "state": f"{name}, {num_seeds} seeds, {hidden}-{hidden}",
                "in memory, MB": in_memory / 1e6,
                "on disk, MB": size / 1e6,
                "run waits, s": begin,
                "until whole, s": whole,
                "load, s": load,
            }
        )
    return rows


Part = Literal["overhead", "sweep", "checkpoints"]
PARTS: tuple[Part, ...] = ("overhead", "sweep", "checkpoints")


def main(
    parts: tuple[Part, ...] = PARTS,
    num_env_steps: int = 4_005_888,
    num_points: int = 64,
    num_seeds: int = 8,
    sweep_env_steps: int = 10_240,
    repeats: int = common.REPEATS,
    threads: int | None = None,
) -> None:
    """Measure the driver; each part has a file of its own.

    Args:
        parts: what to measure.
        num_env_steps: steps, of all seeds together, of the runs whose overhead is measured.
        num_points: points of the sweep.
        num_seeds: seeds of each.
        sweep_env_steps: length of the sweep's runs.
        repeats: rounds; medians are reported.
        threads: threads of XLA; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    setup = {"algorithm": "ppo", "env": "CartPole-v1", "repeats": repeats}
    measure = {
        "overhead": lambda: [overhead(n, num_env_steps // n, repeats) for n in (1, 8)],
        "sweep": lambda: sweep(num_points, num_seeds, sweep_env_steps),
        "checkpoints": lambda: checkpoints(repeats),
    }
    for part in parts:
        common.report(f"driver-{part}{suffix}", setup, ("jax", "orbax-checkpoint"), **{part: measure[part]()})


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
