"""Saving and loading a state: every kind of leaf, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from purerl.train import checkpoint


class State(struct.PyTreeNode):
    """Every kind of leaf and container that states have."""

    params: dict
    opt_state: tuple
    keys: jax.Array
    count: jax.Array
    flag: jax.Array


def state(features: int = 2, dtype=jnp.float32) -> State:
    params = {"layer": {"kernel": jnp.linspace(0, 1, 3 * features, dtype=dtype).reshape(3, features)}}
    return State(
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        keys=jax.random.split(jax.random.key(3, impl="rbg"), 2),
        count=jnp.int32(2**31 - 1),
        flag=jnp.array([True, False]),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "state"
    checkpoint.save(path, state())
    return path


@pytest.mark.parametrize("like", [state, lambda: jax.eval_shape(state)], ids=["state", "shapes"])
def test_what_is_loaded_is_what_was_saved(saved, like):
    """Floats, integers, flags, containers and typed keys with their algorithm, bit for bit, from values or shapes."""
    loaded, original = checkpoint.load(saved, like()), state()
    assert jax.tree.structure(loaded) == jax.tree.structure(original)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(original), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(a) == jax.random.key_impl(b)
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_another_shape_or_dtype_is_named(saved):
    """The message has the leaf, both shapes and dtypes, and what to do."""
    with pytest.raises(ValueError, match=r"kernel is float32\[3, 2\] there, .* has float32\[3, 4\].*the settings that"):
        checkpoint.load(saved, state(features=4))
    with pytest.raises(ValueError, match=r"kernel is float32\[3, 2\] there, .* has float16\[3, 2\]"):
        checkpoint.load(saved, state(dtype=jnp.float16))


def test_another_structure_is_named(saved):
    """A leaf that only one side has is named, with the side."""
    original = state()
    more = original.replace(params=original.params | {"head": jnp.zeros(1)})
    with pytest.raises(ValueError, match=r"only the run that loads has params\.head"):
        checkpoint.load(saved, more)
    with pytest.raises(ValueError, match=r"only the run that was saved has params\.layer\.kernel"):
        checkpoint.load(saved, original.replace(params={}))


def test_a_missing_folder_is_said(tmp_path):
    """No folder: an error with its path, and none is made."""
    with pytest.raises(FileNotFoundError, match=f"No checkpoint at {tmp_path}/nothing"):
        checkpoint.load(tmp_path / "nothing", state())
    assert not list(tmp_path.iterdir())


def test_replacing_is_asked_for(tmp_path):
    """A folder that is there stays, with an error, unless it is to be replaced; nothing else is left beside it."""
    path = tmp_path / "state"
    checkpoint.save(path, {"x": jnp.zeros(2)})
    with pytest.raises(ValueError, match="exist"):
        checkpoint.save(path, {"x": jnp.ones(2)})
    np.testing.assert_array_equal(checkpoint.load(path, {"x": jnp.zeros(2)})["x"], 0.0)
    checkpoint.save(path, {"x": jnp.ones(2)}, replace=True)
    np.testing.assert_array_equal(checkpoint.load(path, {"x": jnp.zeros(2)})["x"], 1.0)
    assert list(tmp_path.iterdir()) == [path]
