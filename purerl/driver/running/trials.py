"""The trials of a run, one seed at one point each, and the blocks in which they take turns on the devices."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from purerl.driver.hypers.sweep import Sweep
from purerl.driver.running import devices, program
from purerl.driver.storage.logs import Columns
from purerl.types import PyTree


class Trials(NamedTuple):
    """Hyperparameters and keys of M = P S trials; trial ``m`` is seed ``m mod S`` at point ``m // S``."""

    hypers: PyTree  # [M, ...]
    keys: jax.Array  # [M]
    base: PyTree  # the hyperparameters of a run without a sweep, else of its first point
    columns: Columns

    @property
    def num_trials(self) -> int:
        """M."""
        return self.columns.num_trials

    @classmethod
    def of(cls, hypers: PyTree | Sweep, key: jax.Array, num_seeds: int) -> "Trials":
        """Every seed at every point. Seed ``i`` has the same key at each."""
        if isinstance(hypers, Sweep):
            points, base, swept = hypers.hypers, hypers.point(0), dict(hypers.values)
            num_points = hypers.num_points
        else:
            arrays = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.result_type(leaf)), hypers)
            points, base, swept = jax.tree.map(lambda leaf: leaf[None], arrays), arrays, {}
            num_points = 1
        return cls(
            hypers=jax.device_put(jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), num_seeds, axis=0), points)),
            keys=_keys(key, num_seeds, num_points),
            base=base,
            columns=Columns(num_seeds, swept),
        )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _keys(key: jax.Array, num_seeds: int, num_points: int) -> jax.Array:
    """The root keys of all trials, ``[M]``."""
    return program.seed_keys(key, num_seeds)[jnp.tile(jnp.arange(num_seeds), num_points)]


class Blocks(NamedTuple):
    """How M trials are spread: in so many equal blocks, one after the other, each over all devices of a mesh.

    Where M is not a multiple, the last trial is repeated to fill up; its copies are dropped again. What a trial
    computes depends on how many share a device with it (the rounding of batched products), and on nothing else from one
    mesh to another; without a mesh the compiler may round otherwise, too.
    """

    num_trials: int
    num_blocks: int
    per_device: int
    mesh: Mesh | None

    @property
    def size(self) -> int:
        """Trials of a block."""
        return self.per_device * devices.num_trial_devices(self.mesh)

    @classmethod
    def of(cls, num_trials: int, at_once: int | None, mesh: Mesh | None) -> "Blocks":
        """The fewest blocks of at most ``at_once`` trials on each device, as small as they can be."""
        num_devices = devices.num_trial_devices(mesh)
        per_device = math.ceil(num_trials / num_devices)
        num_blocks = 1 if at_once is None else math.ceil(num_trials / (min(at_once, per_device) * num_devices))
        return cls(num_trials, num_blocks, math.ceil(num_trials / (num_blocks * num_devices)), mesh)

    def indices(self, block: int) -> np.ndarray:
        """The trials of a block."""
        return np.minimum(np.arange(block * self.size, (block + 1) * self.size), self.num_trials - 1)

    def split(self, tree: PyTree) -> list[PyTree]:
        """Leaves ``[M, ...]`` as one tree per block, on the devices."""
        if self.num_blocks == 1 and self.size == self.num_trials:
            sharding = devices.split(self.mesh)
            return [tree if sharding is None else devices.placed(tree, sharding)]
        select = _jitted(_select, devices.split(self.mesh))
        return [select(tree, self.indices(block)) for block in range(self.num_blocks)]

    def join(self, blocks: list[PyTree]) -> PyTree:
        """The trials of all blocks, leaves ``[M, ...]``."""
        if self.num_blocks == 1 and self.size == self.num_trials:
            return blocks[0]
        sharding = devices.split_if_even(self.mesh, self.num_trials)
        return _jitted(_join, sharding, static_argnums=1)(blocks, self.num_trials)


def _select(tree: PyTree, indices: jax.Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def _join(blocks: list[PyTree], num_trials: int) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_trials], *blocks)


@functools.cache  # so that it is compiled once for each of its shapes
def _jitted(function: Callable, sharding: NamedSharding | None, **options) -> Callable:
    return jax.jit(function, out_shardings=sharding, **options)
