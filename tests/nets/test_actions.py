"""Actors and critics: shapes, what enters, and dropout that acting never sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.actions import ActionCritic, Actor
from purerl.spaces import Box, Discrete

OBS = Box(-1.0, 1.0, (3,))


def test_a_critic_looks_at_the_observation_and_the_action():
    """``[..., 3]`` and ``[..., 2]`` to ``[..., N]``, with gradients to both; discrete observations enter one-hot."""
    net = ActionCritic(OBS, num_atoms=4, hidden_sizes=(8,), layer_norm=True)
    obs, action = jnp.ones((5, 6, 3)), jnp.ones((5, 6, 2))
    params = net.init(jax.random.key(0), obs, action)
    assert net.apply(params, obs, action).shape == (5, 6, 4)
    grads = jax.grad(lambda o, a: net.apply(params, o, a).sum(), (0, 1))(obs * 0.3, action * 0.2)
    assert all(np.abs(grad).min() > 0 for grad in grads)
    other = ActionCritic(Discrete(4), hidden_sizes=(8,))
    params = other.init(jax.random.key(0), jnp.int32([1]), jnp.ones((1, 2)))
    assert params["params"]["MLP_1"]["Dense_0"]["kernel"].shape == (6, 8)


@pytest.mark.covers("sac")
def test_dropout_needs_a_key():
    """Without a key all units are there; with one a share is not, another for another key, and the mean is kept."""
    net = ActionCritic(OBS, hidden_sizes=(64,), dropout=0.3)
    obs, action = jnp.ones((1, 3)), jnp.ones((1, 2))
    params = net.init(jax.random.key(0), obs, action)
    whole = net.apply(params, obs, action)
    keys = jax.random.split(jax.random.key(1), 2000)
    dropped = jax.vmap(lambda key: net.apply(params, obs, action, rngs={"dropout": key}))(keys)
    assert len(np.unique(np.asarray(dropped))) > 1900
    # The output is linear in the units that are dropped where they are positive, as all that count here are.
    error = np.std(dropped) / np.sqrt(2000)
    np.testing.assert_allclose(np.mean(dropped), whole.item(), atol=4 * error)
    np.testing.assert_array_equal(net.apply(params, obs, action), whole)


def test_an_actor_begins_near_zero():
    """Outputs of a few hundredths, whatever is seen."""
    net = Actor(OBS, 2, hidden_sizes=(16,))
    obs = jax.random.normal(jax.random.key(0), (50, 3))
    out = net.apply(net.init(jax.random.key(1), obs), obs)
    assert out.shape == (50, 2) and 0 < np.abs(out).max() < 0.1
