"""MuZero's model: numbers as distributions, halved gradients, what actions it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.planning.muzero_model import expected_value, network, to_distribution, unroll
from tests.support.muzero_setup import ATOMS, BUSY, EPSILON, KEY, disturbed, h, two_hot
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit


@pytest.mark.covers("muzero")
def test_two_hot_distributions_and_their_inverse():
    """Two neighbouring atoms with the mean h(x), as NumPy counts; back within 1e-4, and beyond the support its end."""
    x = np.array([-8.0, -2.5, -1.0, 0.0, 1e-3, 0.3, 1.0, 5.0, 13.0])
    distribution = to_distribution(jnp.asarray(x), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_allclose(distribution, two_hot(x), atol=1e-5)
    np.testing.assert_allclose(distribution @ ATOMS, h(x), atol=1e-5)
    back = expected_value(jnp.log(distribution), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)
    beyond = to_distribution(jnp.array([-1e3, 1e3]), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_array_equal(beyond, np.eye(7)[[0, 6]])


@pytest.mark.covers("muzero")
def test_gradients_are_halved_at_every_step():
    """Of the value k steps on, with respect to the observation: (1/2)^k times the derivative of plain unrolling."""
    net = network(busy_env(), BUSY)
    params = disturbed(net.init(KEY, jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32)), KEY)
    obs, action = jnp.array([[1.0, -2.0]]), jnp.array([[0], [2], [1]])

    def plainly(obs):
        latents = [net.apply(params, obs, method="represent")]
        for one in action:
            latents.append(net.apply(params, latents[-1], one, method="follow")[1])
        return jnp.stack([net.apply(params, latent, method="predict")[1] for latent in latents])

    def ours(obs):
        return unroll(net, params, obs, action).value

    np.testing.assert_allclose(ours(obs), plainly(obs), rtol=1e-5, atol=1e-6)
    halved, whole = (jit(jax.jacrev(f))(obs) for f in (ours, plainly))
    for k in range(4):
        assert np.abs(whole[k]).max() > 1e-3
        np.testing.assert_allclose(halved[k], whole[k] / 2**k, rtol=1e-3, atol=1e-6)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: MuZero needs Discrete actions, but the action space is Box"):
        network(busy_env(CONTINUOUS), BUSY)
