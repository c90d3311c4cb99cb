"""Devices: how many there are, what fits on them, which process writes."""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from purerl.driver.running.program import TRIALS
from purerl.types import ENVS, PyTree

Result = TypeVar("Result")


def make_mesh(trials: int = 1, envs: int = 1) -> Mesh:
    """A mesh over ``trials * envs`` devices, of all processes.

    Args:
        trials: devices to split seeds and points of a sweep over; they exchange nothing.
        envs: devices to split the environments of every run over; parameters are on each, gradients are summed.

    Raises:
        ValueError: if there are not so many devices, or one of several processes would be left without.
    """
    there, wanted = len(jax.devices()), trials * envs
    if trials < 1 or envs < 1 or wanted > there:
        raise ValueError(f"trials = {trials} times envs = {envs} need {wanted} devices; there are {there}.")
    devices = np.asarray(jax.devices()[:wanted])
    if len({device.process_index for device in devices}) < jax.process_count():
        raise ValueError(
            f"trials = {trials} times envs = {envs} are {wanted} devices, which leave processes without work: use "
            f"all {there}, or start fewer than {jax.process_count()} processes."
        )
    return Mesh(devices.reshape(trials, envs), (TRIALS, ENVS), axis_types=(AxisType.Auto, AxisType.Auto))


def check(mesh: Mesh | None) -> None:
    """Nothing, if a run can be spread over the mesh.

    Raises:
        ValueError: if it lacks the axis ``trials``.
    """
    if mesh is not None and TRIALS not in mesh.axis_names:
        raise ValueError(f"The mesh has the axes {mesh.axis_names}: make one with make_mesh(trials=..., envs=...).")


def num_trial_devices(mesh: Mesh | None) -> int:
    """Over how many devices trials are split."""
    return 1 if mesh is None else mesh.shape[TRIALS]


def split(mesh: Mesh | None) -> NamedSharding | None:
    """How arrays ``[M, ...]`` lie on the mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(TRIALS))


def copied(mesh: Mesh | None) -> NamedSharding | None:
    """How arrays lie that every device has whole."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def split_if_even(mesh: Mesh | None, num_trials: int) -> NamedSharding | None:
    """:func:`split` where M is a multiple of the devices, else :func:`copied`."""
    return split(mesh) if num_trials % num_trial_devices(mesh) == 0 else copied(mesh)


def placed(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Arrays put where a sharding wants them, also when some of its devices are other processes'."""
    return _placing(sharding)(tree)


@functools.cache
def _placing(sharding: NamedSharding) -> Callable[[PyTree], PyTree]:
    return jax.jit(lambda tree: tree, out_shardings=sharding)  # unlike device_put, it takes typed keys everywhere


def whole(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Arrays on the mesh, whole on every device, so that each process can read them."""
    sharding = copied(mesh)
    return tree if sharding is None else placed(tree, sharding)


def is_writer() -> bool:
    """Whether this is the process that writes files and speaks to the user: the first."""
    return jax.process_index() == 0


def agree(value: int, choose: Callable[[list[int]], int] = lambda values: values[0]) -> int:
    """The first process's ``value``, or what ``choose`` makes of all of them, on every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return choose(multihost_utils.process_allgather(np.int32(value)).tolist())


def agreed(array: np.ndarray) -> np.ndarray:
    """The first process's ``array``, on every process."""
    if jax.process_count() == 1:
        return array
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def by_writer(act: Callable[[], Result]) -> Result | None:
    """Have the first process do something, and the others wait for it.

    Returns:
        What came of it; None on the other processes.

    Raises:
        Exception: what ``act`` raised; on the other processes an OSError if it was one, else a ValueError. So all
            processes take the same way from here.
    """
    result, failure = None, None
    if is_writer():
        try:
            result = act()
        except Exception as error:
            failure = error
    failed = agree((failure is not None) + isinstance(failure, OSError))
    if failed:
        raise failure or (OSError if failed == 2 else ValueError)("The first process says what is wrong.")
    return result


def free_bytes(mesh: Mesh | None) -> int:
    """Memory that is free on a device: by its own count, or its share of the machine's where it has none of its own."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    import psutil

    return psutil.virtual_memory().available // (1 if mesh is None else len(mesh.local_devices))
