"""Torsos: leading axes, activations, layer norm, and the convolution against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.torsos import ACTIVATIONS, MLP, SmallCNN, make_torso

KEY = jax.random.key(0)


def test_leading_axes_are_only_batch():
    """No, one or two leading axes, and integers as well as floats: the same features for the same observation."""
    net = MLP(obs_ndim=2, hidden_sizes=(6,), activation="tanh")
    obs = jnp.arange(3 * 4 * 2 * 3).reshape(3, 4, 2, 3) % 5
    params = net.init(KEY, obs)
    features = net.apply(params, obs)
    assert features.shape == (3, 4, 6) and features.dtype == jnp.float32
    np.testing.assert_allclose(features[1], net.apply(params, obs[1].astype(jnp.float32)), rtol=1e-6)
    np.testing.assert_allclose(features[1, 2], net.apply(params, obs[1, 2]), rtol=1e-6)


def test_small_cnn_equals_a_convolution():
    """The nine shifted products against ``lax.conv_general_dilated`` with the same 3x3 filters, on boolean images."""
    net = SmallCNN(num_filters=4, hidden_sizes=(7,), activation="relu")
    images = jax.random.bernoulli(KEY, 0.3, (2, 6, 5, 3))
    params = net.init(KEY, images)["params"]
    filters = params["Dense_0"]["kernel"].reshape(3, 3, 3, 4)  # height, width, in, out
    x = jax.lax.conv_general_dilated(
        images.astype(jnp.float32), filters, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    dense = params["MLP_0"]["Dense_0"]
    expected = jax.nn.relu(jax.nn.relu(x).reshape(2, -1) @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(net.apply({"params": params}, images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    """Each name gives the function of that name in ``jax.nn``, after every layer, the last one too."""
    net = MLP(obs_ndim=1, hidden_sizes=(4,), activation=activation)
    obs = jnp.linspace(-2, 2, 3)
    params = net.init(KEY, obs)
    layer = params["params"]["Dense_0"]
    expected = getattr(jax.nn, activation)(obs @ layer["kernel"] + layer["bias"])
    np.testing.assert_allclose(net.apply(params, obs), expected, rtol=1e-6)


@pytest.mark.parametrize("obs_shape", [(5,), (2, 6, 1), (4, 4)])
def test_convolution_needs_an_image(obs_shape):
    """Anything but [height, width, channels] of at least 3x3 is refused, naming the shape and the way out."""
    with pytest.raises(ValueError, match=r'at least 3x3.*Use torso="mlp"') as error:
        make_torso("cnn", obs_shape, (8,), "relu")
    assert str(list(obs_shape)) in str(error.value)


def test_layer_norm_normalises_what_enters_the_activation():
    """Features are relu of numbers with mean 0 and deviation 1, so scaling the observations changes nothing."""
    obs = jax.random.normal(jax.random.key(1), (3, 5))
    torso = make_torso("mlp", (5,), (16,), "relu", layer_norm=True)
    params = torso.init(KEY, obs)
    layer = params["params"]["Dense_0"]
    x = np.asarray(obs @ layer["kernel"])
    expected = np.maximum(0, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True))
    np.testing.assert_allclose(torso.apply(params, obs), expected, atol=1e-4)
    np.testing.assert_allclose(torso.apply(params, 100 * obs), expected, atol=1e-4)
