"""Spread a batch of environments, or a minibatch, over the devices of a mesh."""

import jax
from jax.sharding import AxisType, PartitionSpec

from purerl.types import ENVS, PyTree


def shard(batch: PyTree, axis: int = 0) -> PyTree:
    """Shard a batch over the devices along the axis ``envs`` of the mesh that the program runs on, if it has one.

    Only says where arrays lie, never what is computed. Every device then steps its part of the environments, and of a
    minibatch it has its part of the gradient; XLA adds the parts up.

    Args:
        batch: arrays that have the axis.
        axis: which one to shard.

    Raises:
        ValueError: if it is not a multiple of the devices.
    """
    mesh = jax.sharding.get_abstract_mesh()
    num_devices = mesh.shape[ENVS] if (ENVS, AxisType.Auto) in zip(mesh.axis_names, mesh.axis_types, strict=True) else 1
    if num_devices == 1:
        return batch
    spec = PartitionSpec(*[None] * axis, ENVS)

    def place(leaf: jax.Array) -> jax.Array:
        if leaf.shape[axis] % num_devices:
            raise ValueError(
                f"A batch of {leaf.shape[axis]} does not divide over the {num_devices} devices of the mesh's axis "
                f"{ENVS}: make num_envs, and the size of a minibatch, multiples of {num_devices}."
            )
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map(place, batch)
