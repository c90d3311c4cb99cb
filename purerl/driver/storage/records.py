"""Provenance of a run: hyperparameters as plain numbers, versions, digests of source files, git commit, memory."""

import hashlib
import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any

import jax
import numpy as np

_ROOT = pathlib.Path(__file__).parents[2]


def plain(hypers: Any) -> Any:
    """Hyperparameters as plain numbers by name, whatever record holds them."""
    leaves = jax.tree.leaves_with_path(hypers)
    return {jax.tree_util.keystr(path).lstrip("."): _decimals(np.asarray(leaf)) for path, leaf in leaves}


def _decimals(array: np.ndarray) -> Any:
    """The shortest decimals that give these numbers back: 0.1, not 0.10000000149, for a float32."""
    if array.ndim:
        return [_decimals(x) for x in array]
    return float(str(array)) if np.issubdtype(array.dtype, np.floating) else array.item()


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
        "sources": sources(),
    }


def sources() -> dict[str, str]:
    """A digest of every source file of purerl, by its path in the package: what a result was computed with."""
    return {
        path.relative_to(_ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(_ROOT.rglob("*.py"))
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
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
