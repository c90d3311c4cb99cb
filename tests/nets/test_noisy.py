"""Noisy layers: the distribution of their noise, and how its scales are learnt."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl.nets.noisy import NoisyDense

KEY = jax.random.key(0)
X = jnp.array([0.5, -1.0, 2.0])
UNIT = 0.5 / 3**0.5


@functools.cache
def noisy_layer():
    """A layer 3 -> 4 with scales that differ from entry to entry, and 20000 of its outputs at one input."""
    layer = NoisyDense(4)
    params = layer.init(KEY, X)["params"]
    scales = jax.random.uniform(jax.random.key(3), (4, 4), minval=0.1, maxval=1.0)
    params = {"params": {**params, "kernel_scale": scales[:3], "bias_scale": scales[3]}}
    keys = jax.random.split(jax.random.key(4), 20_000)
    draws = jax.jit(jax.vmap(lambda key: layer.apply(params, X, rngs={"noise": key})))(keys)
    return layer, params, np.asarray(draws, np.float64)


@pytest.mark.covers("noisy")
def test_noise_has_the_mean_and_the_variance_of_its_distribution():
    """Mean xW + b, variance u^2 m (m sum_i (x_i S_ij)^2 + s_j^2), m = E|e| = sqrt(2 / pi), uncorrelated: 4.5 errors."""
    _, params, draws = noisy_layer()
    p, m, n = params["params"], (2 / np.pi) ** 0.5, len(draws)
    mean = X @ p["kernel"] + p["bias"]
    variance = UNIT**2 * m * (m * jnp.square(X[:, None] * p["kernel_scale"]).sum(0) + jnp.square(p["bias_scale"]))
    centred = draws - np.asarray(mean)
    assert np.all(np.abs(centred.mean(0)) < 4.5 * np.sqrt(variance / n))
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0) / n**0.5
    assert np.all(np.abs(products.mean(0) - np.diag(variance)) < 4.5 * error)
    assert np.all(np.diag(error) < 0.05 * np.asarray(variance))  # so the test can tell distributions apart


@pytest.mark.covers("noisy")
def test_noise_is_factorised():
    """For one key the noise over its scale is an outer product f_in f_out, and that of the bias is f_out itself."""
    layer, params, _ = noisy_layer()
    p = params["params"]
    output = layer.apply(params, jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)]), rngs={"noise": KEY})
    f_out = (output[0] - p["bias"]) / (UNIT * p["bias_scale"])
    outer = (output[1:] - output[0] - p["kernel"]) / (UNIT * p["kernel_scale"])
    f_in = outer[:, :1] / f_out[0]
    np.testing.assert_allclose(outer, f_in * f_out, rtol=1e-3, atol=1e-5)
    assert np.abs(outer).min() > 1e-3


@pytest.mark.covers("noisy")
def test_without_noise_the_layer_is_its_mean():
    """No stream "noise", or scales of 0: exactly the plain layer."""
    layer, params, _ = noisy_layer()
    p = params["params"]
    plain = X @ p["kernel"] + p["bias"]
    np.testing.assert_array_equal(layer.apply(params, X), plain)
    silent = {"params": {**p, "kernel_scale": 0 * p["kernel_scale"], "bias_scale": 0 * p["bias_scale"]}}
    np.testing.assert_array_equal(layer.apply(silent, X, rngs={"noise": KEY}), plain)


def test_initial_scales_and_bounds():
    """Scales 1 in units of sigma0 / sqrt(P), weights and biases uniform within 1 / sqrt(P), filling that range."""
    p = NoisyDense(200, noise_scale=0.4).init(KEY, jnp.zeros(25))["params"]
    for name in ("kernel_scale", "bias_scale"):
        np.testing.assert_array_equal(p[name], 1)
    for name in ("kernel", "bias"):
        assert 0.19 < np.abs(p[name]).max() <= 0.2
        np.testing.assert_allclose(np.mean(np.square(p[name])), 0.2**2 / 3, rtol=0.15)


@pytest.mark.covers("noisy")
@pytest.mark.parametrize("noise_scale", [0.01, 0.5])
def test_a_step_of_adam_changes_large_and_small_noise_by_the_same_share(noise_scale):
    """Ten steps of 0.01 up the gradient: noise at the input 0 is a tenth larger, however large it was. A scale in units
    of the weights would be twenty times what it was."""
    layer, optimizer = NoisyDense(4, noise_scale=noise_scale), optax.adam(0.01)
    params = layer.init(KEY, X)

    def noise(params):
        return jnp.linalg.norm(layer.apply(params, 0 * X, rngs={"noise": KEY}) - layer.apply(params, 0 * X))

    def increase(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(lambda p: -noise(p))(params), state)
        return (optax.apply_updates(params, updates), state), None

    (after, _), _ = jax.lax.scan(increase, (params, optimizer.init(params)), length=10)
    np.testing.assert_allclose(noise(after) / noise(params), 1.1, rtol=1e-3)


@pytest.mark.covers("noisy")
def test_scales_are_learnt():
    """The spread of the outputs has a positive gradient in every scale: a loss may shrink them, or make them grow."""
    layer, params, _ = noisy_layer()
    keys = jax.random.split(KEY, 256)

    def spread(params):
        draws = jax.vmap(lambda key: layer.apply(params, X, rngs={"noise": key}))(keys)
        return jnp.mean(jnp.square(draws - jax.lax.stop_gradient(layer.apply(params, X))))

    gradient = jax.jit(jax.grad(spread))(params)["params"]
    assert np.all(gradient["kernel_scale"] > 0) and np.all(gradient["bias_scale"] > 0)
