"""Devices: how many there are, what fits on them, which process writes."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from purerl.train.program import MEMBERS

ENVS = "envs"  # axis of a mesh over which the environments of one run are split; purerl/rollout.py heeds it


def make_mesh(members: int = 1, envs: int = 1) -> Mesh:
    """A mesh over ``members * envs`` devices, of all processes.

    Args:
        members: devices to split seeds and points of a sweep over; they exchange nothing.
        envs: devices to split the environments of every run over; parameters are on each, gradients are summed.

    Raises:
        ValueError: if there are not so many devices.
    """
    there, wanted = len(jax.devices()), members * envs
    if members < 1 or envs < 1 or wanted > there:
        raise ValueError(f"members = {members} times envs = {envs} need {wanted} devices; there are {there}.")
    devices = np.asarray(jax.devices()[:wanted]).reshape(members, envs)
    return Mesh(devices, (MEMBERS, ENVS), axis_types=(AxisType.Auto, AxisType.Auto))


def check(mesh: Mesh | None) -> None:
    """Nothing, if a run can be spread over the mesh.

    Raises:
        ValueError: if it lacks the axis ``members``.
    """
    if mesh is not None and MEMBERS not in mesh.axis_names:
        raise ValueError(f"The mesh has the axes {mesh.axis_names}: make one with make_mesh(members=..., envs=...).")


def num_member_devices(mesh: Mesh | None) -> int:
    """Over how many devices members are split."""
    return 1 if mesh is None else mesh.shape[MEMBERS]


def split(mesh: Mesh | None) -> NamedSharding | None:
    """How arrays ``[M, ...]`` lie on the mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(MEMBERS))


def copied(mesh: Mesh | None) -> NamedSharding | None:
    """How arrays lie that every device has whole."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def split_if_even(mesh: Mesh | None, num_members: int) -> NamedSharding | None:
    """:func:`split` where M is a multiple of the devices, else :func:`copied`."""
    return split(mesh) if num_members % num_member_devices(mesh) == 0 else copied(mesh)


def is_writer() -> bool:
    """Whether this is the process that writes files and speaks to the user: the first."""
    return jax.process_index() == 0


def agree(value: int, *, largest: bool = False) -> int:
    """The first process's ``value``, or the largest of all, on every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    values = multihost_utils.process_allgather(np.int32(value))
    return int(values.max() if largest else values[0])


def free_bytes() -> int:
    """Memory that is free on a device: by its own count, or the machine's where it shares that."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    import psutil

    return psutil.virtual_memory().available
