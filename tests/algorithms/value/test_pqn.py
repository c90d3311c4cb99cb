"""PQN: lambda-return targets, a gradient step by hand, epsilon, known values of probes, and refused settings."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.value import pqn as parts
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.envs import PROBES
from tests.oracles import dqn as by_hand
from tests.oracles import returns as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit
from tests.support.training import train_with_falling_rate

KEY = jax.random.key(0)
# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
HYPERS = PQNHypers(
    learning_rate=0.1,
    gamma=0.9,
    lambda_=0.6,
    max_grad_norm=5.0,
    adam_epsilon=0.1,
    epsilon_end=0.2,
    exploration_steps=1000.0,
)


BUSY = PQNConfig(num_envs=3, num_steps=10, num_epochs=1, num_minibatches=1, hidden_sizes=(8,), layer_norm=False)


@functools.cache
def busy_pqn():
    """``init`` and ``update`` of one gradient step, compiled. The update also gives its rollout and its batch."""
    algorithm, net = pqn(busy_env(), BUSY), parts.make_network(busy_env(), BUSY)

    def update(hypers, state, key):
        after, metrics = algorithm.update(hypers, state, key)
        _, transitions, _ = parts.collect(busy_env(), net, BUSY, hypers, state, parts.split_key(key)[0])
        return after, metrics, transitions, parts.make_batch(net, hypers, state.params, transitions)

    return jit(algorithm.init), jit(update)


@pytest.mark.covers("lambda-return")
def test_update_in_float64():
    """Targets: a loop over the rollout's n-step returns with the maxima of the values at hand. The parameters after one
    gradient step on them, and the loss: NumPy."""
    init, update = busy_pqn()
    before = init(HYPERS, KEY)
    after, metrics, transitions, batch = jax.device_get(update(HYPERS, before, jax.random.key(1)))
    assert transitions.terminated.any() and (transitions.truncated & ~transitions.terminated).any()

    layers = by_hand.layers(before.params)
    next_value = by_hand.q_values(layers, transitions.next_obs).max(axis=-1)
    ends = transitions.terminated, transitions.truncated
    target = oracle.lambda_returns(transitions.reward, next_value, *ends, 0.9, 0.6)
    np.testing.assert_allclose(batch.target, target, rtol=1e-5, atol=1e-5)

    obs, action, target = transitions.obs.reshape(30, 2), transitions.action.reshape(30), target.reshape(30)
    error = target - by_hand.q_values(layers, obs)[np.arange(30), action]
    np.testing.assert_allclose(metrics["loss"], np.mean(error**2) / 2, rtol=1e-5)
    grads = by_hand.gradient(layers, obs, action, -error / 30)
    expected = by_hand.first_adam_step(layers, grads, 0.1, 0.1, 5.0)
    for pair, expected_pair in zip(by_hand.layers(after.params), expected, strict=True):
        for x, y in zip(pair, expected_pair, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert int(after.num_env_steps) == 30


@pytest.mark.covers("eps-greedy")
@pytest.mark.parametrize(("num_env_steps", "epsilon"), [(0, 1.0), (500, 0.6), (1000, 0.2), (9999, 0.2)])
def test_epsilon_falls_in_a_straight_line(num_env_steps, epsilon):
    """The share of greedy actions in rollouts is 1 - 2/3 epsilon, within 4 deviations of 900."""
    init, update = busy_pqn()
    state = init(HYPERS, KEY).replace(num_env_steps=jnp.int32(num_env_steps))
    layers, greedy = by_hand.layers(state.params), 0.0
    for key in jax.random.split(jax.random.key(5), 30):
        transitions = update(HYPERS, state, key)[2]
        greedy += np.sum(by_hand.q_values(layers, transitions.obs).argmax(axis=-1) == np.asarray(transitions.action))
    share = 1 - 2 / 3 * epsilon
    assert abs(greedy - 900 * share) < 4 * np.sqrt(900 * share * (1 - share))


@pytest.mark.covers("lambda-return")
@pytest.mark.parametrize(
    "name", ["truncation", *(pytest.param(n, marks=pytest.mark.deep) for n in ("termination", "observation-action"))]
)
def test_learns_the_values_of_probes(name):
    """Values that go on past a time limit, that stop at an end, and that must look: within 0.05 of the answer.

    Three seeds, actions that are mostly not greedy; the greedy ones are right, and evaluation has their return.
    """
    env, answer = PROBES[name].env(), PROBES[name].answer(0.7)
    sizes: dict[str, Any] = {
        "num_envs": 8,
        "num_steps": 8,
        "num_epochs": 2,
        "num_minibatches": 2,
        "hidden_sizes": (16,),
    }
    config = PQNConfig(**sizes)
    algorithm, net = pqn(env, config), parts.make_network(env, config)
    hypers = PQNHypers(learning_rate=0.02, gamma=0.7, epsilon_end=0.5, exploration_steps=1.0)

    def run(key):
        run_key, eval_key = jax.random.split(key)
        state = train_with_falling_rate(algorithm, hypers, run_key, 150)
        q = parts.q_values(net, state.params, jnp.asarray(answer.obs))
        return q, algorithm.spec.evaluate(hypers, state, eval_key, 4).returns

    q, evaluated = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q - answer.q, 0, atol=0.05)
    np.testing.assert_array_equal(evaluated, {"observation-action": 1.0}.get(name, 4.0))


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: PQN needs Discrete actions, but the action space is Box"):
        pqn(busy_env(CONTINUOUS))
