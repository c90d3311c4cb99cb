"""The environment protocol: any object with its five attributes will do."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl import envs, rollout
from purerl.envs import probes
from purerl.envs.base import Environment, in_32_bits


@dataclasses.dataclass
class OwnEnvironment:
    """Not an :class:`Environment`, but with what one has."""

    name: str
    reset: Callable
    step: Callable
    observation_space: Any
    action_space: Any


def test_an_object_with_the_attributes_is_an_environment():
    """check_env finds no error in it, and a rollout steps it like the record with the same functions."""
    record = probes.truncation()
    own = OwnEnvironment(*record[:5])
    assert envs.check_env(own, num_steps=5).errors == ()

    def steps(env):
        def policy(carry, seen, key):
            return carry, jax.random.randint(key, (2,), 0, 2), ()

        running = rollout.reset(env, jax.random.key(0), 2)
        return rollout.rollout(env, policy, running, jax.random.key(1), jax.random.split(jax.random.key(2), 6), 6)[1]

    for x, y in zip(jax.tree.leaves(steps(own)), jax.tree.leaves(steps(record)), strict=True):
        assert jnp.array_equal(x, y)


def test_a_function_in_32_bits():
    """Whatever JAX is set to: numbers of 64 bits are narrowed on the way in, others and keys are left as they are."""
    seen = []

    @in_32_bits
    def function(key, tree):
        seen.append(jax.tree.map(lambda x: x.dtype.name, tree))
        return jnp.arange(2) + 0.5, jax.random.uniform(key)

    with jax.enable_x64(True):
        given = {"a": jnp.zeros(2), "b": jnp.arange(3), "c": jnp.array(True), "d": np.float64(1), "e": jnp.int8(0)}
        values, drawn = jax.jit(function)(jax.random.key(0), given)
    assert seen == [{"a": "float32", "b": "int32", "c": "bool", "d": "float32", "e": "int8"}]
    assert values.dtype == drawn.dtype == jnp.float32
    assert drawn == function(jax.random.key(0), {})[1]


def test_the_record_has_five_attributes():
    """In the order in which they are documented; how it was made is beside the protocol, and need not be there."""
    assert Environment._fields == ("name", "reset", "step", "observation_space", "action_space", "recipe")
    assert Environment._field_defaults == {"recipe": None}
