"""Networks: shapes, gains, what is shared, and the convolution against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import Gaussian
from purerl.nets.actor_critic import ActorCritic
from purerl.nets.torsos import ACTIVATIONS, MLP, SmallCNN, make_torso
from purerl.spaces import Box, Discrete

KEY = jax.random.key(0)
THREE_ACTIONS = Discrete(3)


def actor_critic(action_space=THREE_ACTIONS, **changes):
    """A small net with its parameters, for observations ``[5]``."""
    net = ActorCritic(action_space=action_space, obs_shape=(5,), hidden_sizes=(8, 8), **changes)
    return net, net.init(KEY, jnp.zeros((1, 5)))


def test_orthogonal_gains():
    """All singular values of every matrix equal its gain: sqrt(2) in torsos, 0.01 and 1 in the heads; no biases."""
    _, params = actor_critic()
    params = params["params"]
    gains = {"policy_torso": 2**0.5, "value_torso": 2**0.5, "policy_head": 0.01, "value_head": 1.0}
    assert set(params) == set(gains)
    for name, gain in gains.items():
        for leaf in jax.tree.leaves(params[name]):
            if leaf.ndim == 2:
                np.testing.assert_allclose(np.linalg.svd(leaf, compute_uv=False), gain, rtol=1e-5)
            else:
                np.testing.assert_array_equal(leaf, 0.0)


def test_policy_and_value_alone_are_those_of_the_whole():
    """``policy`` and ``value`` return exactly what ``__call__`` returns, with or without a shared torso."""
    obs = jax.random.normal(KEY, (4, 5))
    for shared in (False, True):
        net, params = actor_critic(shared_torso=shared)
        logits, value = net.apply(params, obs)
        assert (logits.shape, value.shape) == ((4, 3), (4,))
        np.testing.assert_array_equal(logits, net.apply(params, obs, method="policy"))
        np.testing.assert_array_equal(value, net.apply(params, obs, method="value"))


def test_shared_torso_is_one_torso():
    """Sharing leaves out one torso's parameters, and then the value's gradient reaches the policy's torso."""
    obs, torso_size = jnp.ones((1, 5)), 5 * 8 + 8 + 8 * 8 + 8
    reached = {}
    for shared in (False, True):
        net, params = actor_critic(shared_torso=shared)
        assert sum(x.size for x in jax.tree.leaves(params)) == (1 if shared else 2) * torso_size + (8 * 3 + 3) + (8 + 1)
        grads = jax.grad(lambda p, net=net: net.apply(p, obs, method="value").sum())(params)["params"]
        reached[shared] = any(np.any(leaf) for leaf in jax.tree.leaves(grads["policy_torso"]))
    assert reached == {False: False, True: True}


def test_continuous_policy_is_a_gaussian_of_constant_deviation():
    """Box actions: mean ``[..., A]`` near 0 at first, and log_std the same parameter for every observation."""
    net, params = actor_critic(Box(-1.0, 1.0, (2,)))
    params = {"params": {**params["params"], "log_std": jnp.array([0.5, -0.5])}}
    policy = net.apply(params, jax.random.normal(KEY, (3, 4, 5)), method="policy")
    assert isinstance(policy, Gaussian) and policy.mean.shape == (3, 4, 2)
    assert np.abs(policy.mean).max() < 0.1
    np.testing.assert_array_equal(policy.log_std, np.broadcast_to([0.5, -0.5], (3, 4, 2)))


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
