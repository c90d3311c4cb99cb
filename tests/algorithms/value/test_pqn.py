"""PQN: its targets, one update by hand, known values of probes, and what it refuses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import learning, rollout
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.envs import PROBES
from purerl.nets.value import make_q_network
from tests.oracles import dqn as by_hand
from tests.oracles import returns as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

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


@functools.cache
def busy_learner():
    """``init`` and ``update`` of one gradient step, compiled. The update also gives what it played and learnt from."""
    sizes: dict[str, Any] = {
        "num_envs": 3,
        "num_steps": 10,
        "num_epochs": 1,
        "num_minibatches": 1,
        "hidden_sizes": (8,),
    }
    algorithm = pqn(busy_env(), PQNConfig(**sizes, layer_norm=False))
    play, minibatches = rollout.rollout, learning.minibatches

    def watched_update(hypers, state, key):
        seen = {}

        def watched_play(*arguments):
            result = play(*arguments)
            seen["played"] = result[1]
            return result

        def watched_minibatches(step, carry, batch, *others):
            seen["batch"] = batch
            return minibatches(step, carry, batch, *others)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollout, "rollout", watched_play)
            patch.setattr(learning, "minibatches", watched_minibatches)
            state, metrics = algorithm.update(hypers, state, key)
        return state, metrics, seen

    return jit(algorithm.init), jit(watched_update)


@pytest.mark.covers("lambda-return")
def test_an_update_is_the_one_done_by_hand():
    """Targets: a float64 loop over the rollout's n-step returns with the maxima of the values at hand. The parameters
    after one step on them, and the loss: NumPy."""
    init, update = busy_learner()
    before = init(HYPERS, KEY)
    after, metrics, seen = update(HYPERS, before, jax.random.key(1))
    played, batch = jax.device_get((seen["played"], seen["batch"]))
    assert played.terminated.any() and (played.truncated & ~played.terminated).any()

    layers = by_hand.layers(before.params)
    next_value = by_hand.q_values(layers, played.next_obs).max(axis=-1)
    target = oracle.lambda_returns(played.reward, next_value, played.terminated, played.truncated, 0.9, 0.6)
    np.testing.assert_allclose(batch.target, target, rtol=1e-5, atol=1e-5)

    obs, action, target = played.obs.reshape(30, 2), played.action.reshape(30), target.reshape(30)
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
def test_exploration_falls_in_a_straight_line(num_env_steps, epsilon):
    """The share of greedy actions among those played is 1 - 2/3 epsilon, within 4 deviations of 900."""
    init, update = busy_learner()
    state = init(HYPERS, KEY).replace(num_env_steps=jnp.int32(num_env_steps))
    layers, greedy = by_hand.layers(state.params), 0.0
    for key in jax.random.split(jax.random.key(5), 30):
        played = update(HYPERS, state, key)[2]["played"]
        greedy += np.sum(by_hand.q_values(layers, played.obs).argmax(axis=-1) == np.asarray(played.action))
    share = 1 - 2 / 3 * epsilon
    assert abs(greedy - 900 * share) < 4 * np.sqrt(900 * share * (1 - share))


@pytest.mark.covers("lambda-return")
@pytest.mark.parametrize("name", ["truncation", "termination", "observation-action"])
def test_learns_values(name):
    """Values that go on past a time limit, that stop at an end, and that must look: within 0.05 of the answer.

    Three seeds, actions that are mostly not greedy; the greedy ones are right, and evaluation earns what they should.
    """
    env, answer = PROBES[name].env(), PROBES[name].answer(0.7)
    sizes: dict[str, Any] = {
        "num_envs": 8,
        "num_steps": 8,
        "num_epochs": 2,
        "num_minibatches": 2,
        "hidden_sizes": (16,),
    }
    algorithm = pqn(env, PQNConfig(**sizes))
    net = make_q_network(env.observation_space.shape, 2, hidden_sizes=(16,), layer_norm=True)
    hypers = PQNHypers(gamma=0.7, epsilon_end=0.5, exploration_steps=1.0)

    def run(key):
        init_key, run_key, eval_key = jax.random.split(key, 3)

        def update(state, inputs):
            share_left, key = inputs
            return algorithm.update(hypers.replace(learning_rate=0.02 * share_left), state, key)[0], None

        inputs = 1 - jnp.arange(150) / 150, jax.random.split(run_key, 150)
        state, _ = jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)
        q = net.apply(state.params, jnp.asarray(answer.obs))[..., 0]
        return q, algorithm.spec.evaluate(hypers, state, eval_key, 4).returns

    q, evaluated = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q - answer.q, 0, atol=0.05)
    np.testing.assert_array_equal(evaluated, {"observation-action": 1.0}.get(name, 4.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, r"PQNConfig.num_envs = 0: it must be at least 1"),
        ({"num_epochs": 0}, r"PQNConfig.num_epochs = 0: it must be at least 1"),
        (
            {"num_minibatches": 15},
            r"num_minibatches = 15 does not divide num_envs \* num_steps = 32 \* 64 = 2048.* is 16",
        ),
        ({"activation": "swish"}, r"PQNConfig.activation = 'swish': choose one of tanh, relu, silu, gelu"),
        ({"torso": "rnn"}, r"PQNConfig.torso = 'rnn': choose"),
    ],
    ids=["num_envs", "num_epochs", "num_minibatches", "activation", "torso"],
)
def test_bad_sizes_and_choices_are_refused(changes, message):
    """Each names the field, what it was, and what would do."""
    with pytest.raises(ValueError, match=message):
        PQNConfig(**changes)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: PQN needs Discrete actions, but the action space is Box"):
        pqn(busy_env(CONTINUOUS))
