"""Sharding: constraints on the axis of environments, the same values, and batches that do not divide are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from purerl.sharding import shard
from purerl.types import ENVS

BATCH = {"x": jnp.arange(12.0).reshape(3, 4), "n": jnp.arange(3)}


def constraints(function, *sizes, devices):
    """The sharding constraints that a function's program has on a mesh of so many devices."""
    mesh = AbstractMesh((devices,), (ENVS,), axis_types=(AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh):
        jaxpr = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes))
    found = [e for e in jaxpr.eqns if e.primitive.name == "sharding_constraint"]
    return [tuple(e.params["sharding"].spec) for e in found]


def test_without_a_mesh_a_batch_stays_as_it_is():
    """The same arrays, and no constraint in the program."""
    assert shard(BATCH) is BATCH
    assert constraints(shard, (4, 2), devices=1) == []


def test_axis_of_environments_is_split_over_the_devices():
    """The first axis, or the one that is asked for, of every leaf."""
    assert constraints(shard, (4, 2), devices=2) == [(ENVS,)]
    assert constraints(lambda x: shard(x, axis=1), (3, 4), devices=2) == [(None, ENVS)]
    assert len(constraints(lambda x, y: shard((x, y)), (4,), (8, 3), devices=4)) == 2


def test_values_stay_on_a_mesh_of_one_device():
    """A mesh that is there computes the same."""
    with jax.set_mesh(jax.make_mesh((1,), (ENVS,), axis_types=(AxisType.Auto,))):
        jax.tree.map(np.testing.assert_array_equal, jax.jit(shard)(BATCH), BATCH)


def test_sizes_that_do_not_divide_are_refused():
    """The error has the batch, the devices and the remedy."""
    with pytest.raises(ValueError, match=r"batch of 3 does not divide over the 2 devices .* multiples of 2"):
        constraints(shard, (3,), devices=2)
