"""The actor-critic network: initial gains, what is shared, and the parameters of action distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import (
    Gaussian,
    categorical,
    categorical_by_inversion,
    gaussian,
    multi_categorical,
)
from purerl.nets.actor_critic import MANY_ACTIONS, ActorCritic
from purerl.spaces import Box, Discrete, Masked, MaskedSpace, MultiDiscrete

KEY = jax.random.key(0)
THREE_ACTIONS = Discrete(3)


def actor_critic(action_space=THREE_ACTIONS, **changes):
    """A small net with its parameters, for observations ``[5]``."""
    net = actor_critic_of(action_space, **changes)
    return net, net.init(KEY, jnp.zeros((1, 5)))


def actor_critic_of(action_space, **changes):
    return ActorCritic(action_space=action_space, observation=(5,), hidden_sizes=(8, 8), **changes)


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


def test_distribution_of_actions():
    """Categorical; by inversion where actions are many; Gaussian in a box."""
    few, many, box = (
        actor_critic_of(space).distribution for space in (THREE_ACTIONS, Discrete(MANY_ACTIONS + 1), Box(-1, 1, (2,)))
    )
    assert (few, many, box) == (categorical, categorical_by_inversion, gaussian)


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


@pytest.mark.covers("q-ac")
def test_value_of_a_critic_of_actions_is_their_mean_over_the_policy():
    """One value an action, and ``sum_a pi(a) Q(a)`` of them; a plain critic has one in all."""
    obs = jax.random.normal(jax.random.key(0), (5, 2))
    for action_values, size in ((True, 3), (False, 1)):
        net = ActorCritic(action_space=Discrete(3), observation=(2,), hidden_sizes=(4,), action_values=action_values)
        params = net.init(jax.random.key(1), obs)
        logits, value = net.apply(params, obs)
        of_actions = net.apply(params, obs, method="action_value")
        assert of_actions.shape == (5, size)
        weight = jax.nn.softmax(logits) if action_values else 1.0
        np.testing.assert_allclose(value, jnp.sum(weight * of_actions, axis=-1), rtol=1e-5, atol=1e-6)


def test_logits_are_minus_infinity_where_nothing_is_to_choose():
    """Beyond the choices of each of several integers, and where an action is not legal; elsewhere as without masks."""
    actions, box = MultiDiscrete((2, 3)), Box(-1.0, 1.0, (5,))
    plain = ActorCritic(action_space=actions, observation=box, hidden_sizes=(4,))
    masked = ActorCritic(action_space=actions, observation=MaskedSpace(box, actions), hidden_sizes=(4,))
    obs = jax.random.normal(KEY, (2, 5))
    legal = jnp.array([[[True, True, True], [False, True, True]], [[True, False, False], [False, False, False]]])
    params = plain.init(KEY, obs)
    logits, value = plain.apply(params, obs)
    assert plain.distribution is multi_categorical and logits.shape == (2, 2, 3)
    np.testing.assert_array_equal(jnp.isfinite(logits), np.broadcast_to([[1, 1, 0], [1, 1, 1]], (2, 2, 3)))
    found, same = masked.apply(params, Masked(obs, legal))
    # Of the last, of which nothing is legal, all is.
    expected = [[[1, 1, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 1]]]
    np.testing.assert_array_equal(jnp.isfinite(found), expected)
    np.testing.assert_array_equal(jnp.where(jnp.isfinite(found), logits, 0), jnp.where(jnp.isfinite(found), found, 0))
    np.testing.assert_array_equal(same, value)
