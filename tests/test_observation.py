"""How observations meet a network: what is encoded, what enters as it is, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.torsos import make_torso
from purerl.nets.value import make_q_network
from purerl.observation import as_it_is, encoded, encoding, flattened, legal, num_rows, zeros
from purerl.spaces import Box, Dict, Discrete, MaskedSpace, MultiDiscrete, Text, Tuple

IMAGE = Box(0, 255, (4, 5, 2), np.uint8)
NESTED = Dict({"b": Tuple((Discrete(3), Box(-1.0, np.inf, (2,)))), "a": Box(0, 255, (1, 2), np.uint8)})


def test_integers_are_one_hot_under_any_leading_axes():
    """``[T, B] -> [T, B, n]``; several integers one after the other."""
    shape, encode = encoding(Discrete(3, np.uint8))
    obs = jnp.array([[0, 2], [1, 1]], jnp.uint8)
    assert shape == (3,)
    np.testing.assert_array_equal(encode(obs), np.eye(3, dtype=np.float32)[np.asarray(obs)])
    shape, encode = encoding(MultiDiscrete((2, 3)))
    assert shape == (5,) and encode(jnp.array([1, 2])).dtype == jnp.float32
    np.testing.assert_array_equal(encode(jnp.array([[1, 2], [0, 0]])), [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]])


def test_bytes_are_scaled_by_their_bounds():
    """0 and 255 become 0 and 1 exactly; other bounds likewise, entry by entry; equal ones give 0, flags stay."""
    _, encode = encoding(IMAGE)
    image = jnp.arange(256, dtype=jnp.uint8)[:, None, None, None]
    np.testing.assert_allclose(encode(image)[:, 0, 0, 0], np.arange(256) / 255, rtol=1e-6)
    assert encode(image).min() == 0 and encode(image).max() == 1 and encode(image).dtype == jnp.float32
    _, encode = encoding(Box(np.array([2, 0, 7]), np.array([6, 1, 7]), (3,), np.uint8))
    np.testing.assert_array_equal(encode(jnp.array([[2, 0, 7], [5, 1, 7]], jnp.uint8)), [[0, 0, 0], [0.75, 1, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_other_boxes_enter_as_they_are(dtype):
    """No operation at all: networks of these are the same programs as ever."""
    space = Box(0, 1, (2, 3), dtype)
    assert encoding(space) == ((2, 3), as_it_is) and encoded(space) is space


@pytest.mark.parametrize("space", [IMAGE, Discrete(7), MultiDiscrete((3, 4)), Box(-np.inf, np.inf, (3,))], ids=str)
def test_a_network_sees_what_the_encoding_gives(space):
    """With the same parameters, a network for a space equals one for plain numbers that is given encoded ones."""
    obs = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 6))
    shape, encode = encoding(space)
    net, plain = (make_q_network(x, 2, hidden_sizes=(4, 3)) for x in (space, shape))
    params = net.init(jax.random.key(1), obs)
    for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(plain.init(jax.random.key(1), encode(obs))), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(net.apply(params, obs), plain.apply(params, encode(obs)))
    assert encoded(space).shape == shape and jax.vmap(encoded(space).contains)(encode(obs)).all()


def test_a_convolution_scales_its_image():
    """The same for the other torso."""
    torso, plain = make_torso("cnn", IMAGE, (4,), "relu"), make_torso("cnn", IMAGE.shape, (4,), "relu")
    obs = IMAGE.sample(jax.random.key(0))[None]
    params = torso.init(jax.random.key(1), obs)
    np.testing.assert_array_equal(torso.apply(params, obs), plain.apply(params, encoding(IMAGE)[1](obs)))


def test_containers_are_flattened_part_by_part():
    """In the order of their names: the scaled image, one-hot, the plain numbers; with bounds that hold."""
    space, flatten = flattened(NESTED)
    obs = {"a": jnp.array([[51, 255]], jnp.uint8), "b": (jnp.int32(1), jnp.array([3.0, -1.0]))}
    np.testing.assert_allclose(flatten(obs), [0.2, 1, 0, 1, 0, 3, -1], rtol=1e-6)
    assert space.shape == (7,) and space.contains(flatten(obs))
    np.testing.assert_array_equal(space.low, [0, 0, 0, 0, 0, -1, -1])
    np.testing.assert_array_equal(space.high, [1, 1, 1, 1, 1, np.inf, np.inf])
    draws = jax.vmap(lambda key: flatten(NESTED.sample(key)))(jax.random.split(jax.random.key(0), 20))
    assert jax.vmap(space.contains)(draws).all()


def test_a_flattened_box_keeps_its_numbers_and_its_dtype():
    """No scaling and no copy in floats: an image of bytes stays one."""
    space, flatten = flattened(Box(np.arange(6).reshape(2, 3), 9, (2, 3), np.uint8))
    assert space.dtype == np.uint8 and space.high == 9
    np.testing.assert_array_equal(space.low, np.arange(6))
    np.testing.assert_array_equal(flatten(jnp.arange(6, dtype=jnp.uint8).reshape(2, 3)), np.arange(6))


@pytest.mark.parametrize("space", [{"a": Discrete(2)}, Text(4, 3), None])
def test_what_is_not_seen_is_refused_with_the_remedy(space):
    """What is no space names the module, text names algorithms."""
    with pytest.raises(ValueError, match=r"purerl\.spaces|purerl\.algorithms\.language"):
        encoding(space)


def test_a_network_sees_all_parts_of_a_container():
    """As flattened, under leading axes; a convolution goes over the image alone, and masks are left out."""
    picture = Dict({"image": IMAGE, "pair": NESTED.spaces["b"]})
    space = MaskedSpace(picture, Discrete(2))
    obs = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 6))
    shape, encode = encoding(space)
    flat = jax.vmap(flattened(picture)[1])(obs.obs)
    assert shape == (45,) and num_rows(obs) == 6 and jax.vmap(space.contains)(obs).all()
    np.testing.assert_array_equal(encode(obs), flat)
    steps = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), obs)
    np.testing.assert_array_equal(encode(steps).reshape(6, 45), flat)
    torso, alone = make_torso("cnn", space, (4,), "relu"), make_torso("cnn", IMAGE, (4,), "relu")
    params = torso.init(jax.random.key(1), zeros(space, (1,)))["params"]
    assert params["Dense_0"]["kernel"].shape == (18, 16) and params["MLP_0"]["Dense_0"]["kernel"].shape == (96 + 5, 4)
    # With weights of 0 on the pair, it is the network of the image.
    kernel = params["MLP_0"]["Dense_0"]["kernel"].at[96:].set(0)
    cut = {"Dense_0": params["MLP_0"]["Dense_0"] | {"kernel": kernel}}
    short = {"Dense_0": params["MLP_0"]["Dense_0"] | {"kernel": kernel[:96]}}
    found = torso.apply({"params": params | {"MLP_0": cut}}, steps)
    expected = alone.apply({"params": params | {"MLP_0": short}}, steps.obs["image"])
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert legal(obs) is obs.legal and legal(obs.obs) is None
