"""What learners of a policy share. PPO's own tests look at its scales and actions; here is what they do not see."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy import collect
from purerl.algorithms.policy.ppo import PPOHypers
from purerl.spaces import Discrete
from purerl.types import Transition
from tests.support.ppo_setup import busy_env, jit, small_config

KEY = jax.random.key(0)


def test_activations_of_a_rollout_take_the_memory_of_a_minibatch():
    """Compiled, not run: half of it with twice the minibatches."""
    env, num_envs, num_steps, size = busy_env(), 4, 64, 256
    net = collect.make_network(env, small_config(hidden_sizes=(size,)))
    params = jax.eval_shape(net.init, KEY, jnp.zeros((1, 2)))
    moment = jnp.zeros((num_steps, num_envs))
    obs = jnp.zeros((num_steps, num_envs, 2))
    transitions = Transition(obs, moment.astype(int), moment, moment > 0, moment > 0, obs, {})

    def scratch(num_minibatches):
        config = small_config(num_envs=num_envs, num_steps=num_steps, num_minibatches=num_minibatches)

        def batch(params):
            state = types.SimpleNamespace(params=params, obs_moments=None)
            return collect.make_batch(net, config, PPOHypers(), state, transitions, moment, num_minibatches)

        return jit(batch).lower(params).compile().memory_analysis().temp_size_in_bytes

    activations = num_envs * num_steps * size * 4
    assert scratch(16) < scratch(8) < activations < scratch(1)


def test_a_rollout_looked_at_in_parts_is_the_rollout():
    """Seven steps, which no number of parts but 1 and 7 divides: the same observations, policies and values."""
    env, config = busy_env(), small_config(hidden_sizes=(2,))
    net = collect.make_network(env, config)
    obs = jax.random.normal(KEY, (7, 3, 2))
    state = types.SimpleNamespace(params=jax.jit(net.init)(KEY, obs[0]), obs_moments=None)
    zero = jnp.zeros((7, 3))
    transitions = Transition(obs, zero.astype(int), zero, zero > 0, zero > 0, obs + 1.0, {})
    whole, parts, not_so = (
        jit(lambda obs, n=n: collect.look(net, config, state, transitions.replace(obs=obs), n))(obs) for n in (1, 7, 2)
    )
    for seen in (parts, not_so):
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(seen), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole[3], net.apply(state.params, obs + 1.0, method="value"), rtol=1e-5, atol=1e-6)


def test_one_hot_observations_are_not_normalised():
    """The message names the config's field and the space."""
    env = busy_env()._replace(observation_space=Discrete(5))
    config = dataclasses.replace(small_config(), normalize_obs=True)
    with pytest.raises(ValueError, match=r"PPOConfig\.normalize_obs = True: Discrete\(.*5.*\) is no box of numbers"):
        collect.make_network(env, config)
