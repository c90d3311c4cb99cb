"""What a run writes down: metrics as tidy rows, TensorBoard events, versions, memory."""

import importlib.metadata
import pathlib
import platform
import subprocess
import warnings
from typing import Any

import jax
import numpy as np

from purerl.train import files
from purerl.train.statistics import Interval, interval
from purerl.types import Episodes, Mean


class Log:
    """Metrics and evaluations of all seeds as they come in, on the host."""

    def __init__(self, num_seeds: int) -> None:
        self._num_seeds = num_seeds
        self._steps: list[int] = []
        self._metrics: list[dict[str, np.ndarray]] = []
        self._evaluations: list[tuple[int, Episodes]] = []
        self._diverged: set[int] = set()

    def add_metrics(self, step: int, sums: dict[str, Mean]) -> None:
        """Add the metrics since the last call, ``[S]`` each; a mean over nothing becomes NaN."""
        means = {}
        for name, (total, count) in sums.items():
            with np.errstate(invalid="ignore", divide="ignore"):
                means[name] = np.where(count > 0, total / count, np.nan)
        self._warn_of_divergence(step, sums)
        self._steps.append(step)
        self._metrics.append(means)

    def add_evaluation(self, step: int, episodes: Episodes) -> None:
        """Add an evaluation, ``[S, N]`` episodes."""
        self._evaluations.append((step, episodes))

    def last_return(self) -> float:
        """The latest return, averaged over the seeds: of evaluation if there is any, else of training."""
        if self._evaluations:
            return float(np.mean(self._evaluations[-1][1].returns))
        returns = self.final_returns()
        return float(np.mean(returns)) if not np.isnan(returns).any() else float("nan")

    def final_returns(self) -> np.ndarray:
        """The last return of each seed, ``[S]``; NaN where no episode ended."""
        if self._evaluations:
            return np.mean(self._evaluations[-1][1].returns, axis=1)
        finished = [m["episode_return"] for m in self._metrics if "episode_return" in m]
        returns = np.full(self._num_seeds, np.nan)
        for row in finished:
            returns = np.where(np.isnan(row), returns, row)
        return returns

    @property
    def num_diverged(self) -> int:
        """How many seeds had a metric that was not finite."""
        return len(self._diverged)

    def final_return(self) -> Interval:
        """Interquartile mean over seeds of :meth:`final_returns`, with its 95 % interval."""
        return interval(self.final_returns())

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays, named as the fields of a result."""
        names = self._metrics[0] if self._metrics else {}
        return {
            "steps": np.array(self._steps),
            "metrics": {name: np.stack([m[name] for m in self._metrics]) for name in names},
            "eval_steps": np.array([step for step, _ in self._evaluations]),
            "eval_returns": np.array([np.mean(e.returns, axis=1) for _, e in self._evaluations]),
        }

    def rows(self) -> list[tuple[int, int, str, float]]:
        """Tidy rows ``(seed, step, name, value)``, in order of steps; no row where there was no data."""
        columns = [(step, means) for step, means in zip(self._steps, self._metrics, strict=True)]
        for step, episodes in self._evaluations:
            means = {
                "eval_return": np.mean(episodes.returns, axis=1),
                "eval_length": np.mean(episodes.lengths, axis=1),
            }
            columns.append((step, means))
        return [
            (seed, step, name, float(values[seed]))
            for step, means in sorted(columns, key=lambda column: column[0])
            for name, values in means.items()
            for seed in range(self._num_seeds)
            if not np.isnan(values[seed])
        ]

    def write(self, out_dir: pathlib.Path) -> None:
        """Write ``metrics.csv`` and TensorBoard events, one run per seed, to a folder."""
        from tensorboardX import SummaryWriter

        rows = self.rows()
        files.write_csv(out_dir / "metrics.csv", ["seed", "step", "name", "value"], rows)
        folder = out_dir / "tensorboard"
        for old in folder.glob("seed_*/events.*"):
            old.unlink()
        for seed in range(self._num_seeds):
            with SummaryWriter(str(folder / f"seed_{seed}")) as writer:
                for row_seed, step, name, value in rows:
                    if row_seed == seed:
                        writer.add_scalar(name, value, step)

    def _warn_of_divergence(self, step: int, sums: dict[str, Mean]) -> None:
        for name, (total, _) in sums.items():
            for seed in np.flatnonzero(~np.isfinite(total)):
                if seed not in self._diverged:
                    self._diverged.add(int(seed))
                    warnings.warn(
                        f"Seed {seed} diverged: its {name} is not finite by step {step}. The other seeds go on. A "
                        f"smaller learning rate, or normalised observations and rewards, usually help.",
                        stacklevel=5,
                    )


def plain(hypers: Any) -> Any:
    """Hyperparameters as plain numbers by name, whatever record holds them."""
    leaves = jax.tree.leaves_with_path(hypers)
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf).tolist() for path, leaf in leaves}


def versions() -> dict[str, Any]:
    """Versions and hardware that a result depends on, and the commit of the working tree, if it is one."""
    packages = ("purerl", "jax", "jaxlib", "flax", "optax", "gymnax", "numpy")
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return {
        "versions": found | {"python": platform.python_version()},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})",
        "git_commit": _git_commit(),
    }


def peak_memory() -> dict[str, Any]:
    """The most memory in use so far, in bytes: the device's own count, or the process's where it keeps none."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"peak_bytes": stats["peak_bytes_in_use"], "peak_bytes_of": "device"}
    try:
        import resource
    except ImportError:  # Windows
        return {"peak_bytes": None, "peak_bytes_of": "unknown"}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_bytes": kilobytes * (1 if platform.system() == "Darwin" else 1024),
        "peak_bytes_of": "process",
    }


def _git_commit() -> str | None:
    here = pathlib.Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
