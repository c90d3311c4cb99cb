"""MuZero: one update by hand, and a model that has the values of the environment."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithms.planning.muzero import make_replay, muzero, reanalyze, sample_sequences
from purerl.algorithms.planning.muzero_config import MuZeroHypers
from purerl.algorithms.planning.muzero_model import expected_value, network, unroll
from purerl.algorithms.planning.muzero_targets import training_targets
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.envs.mdp import environment
from purerl.envs.wrappers import one_hot_observation
from purerl.kernels import distributional
from purerl.types import Seen
from tests.support.muzero_setup import (
    ATOMS,
    BUSY,
    ENDS,
    EPSILON,
    HYPERS,
    KEY,
    SMALL,
    K,
    N,
    disturbed,
    two_hot,
)
from tests.support.ppo_setup import busy_env, jit


@functools.cache
def one_update():
    """The state before and after an update, its metrics, and the sequences and targets of its only gradient step."""
    env = busy_env()
    algorithm, net, replay = muzero(env, BUSY), network(env, BUSY), make_replay(BUSY)

    init_key, noise_key, other_key, update_key = jax.random.split(KEY, 4)

    @jit
    def start():
        state = algorithm.init(HYPERS, init_key)
        params, other = (disturbed(state.params, key) for key in (noise_key, other_key))
        return state.replace(params=params, target_params=other)

    @jit
    def sampled_and_targets(hypers, before, after, key):
        sample_key, action_key, search_key = jax.random.split(key, 3)
        sampled, _ = sample_sequences(BUSY, replay, after, sample_key)
        sampled = reanalyze(env, net, BUSY, hypers, before.target_params, sampled, search_key)
        any_action = jax.random.randint(action_key, (K, len(ENDS)), 0, 3)
        return sampled, training_targets(sampled, any_action, hypers.gamma, N)

    before = start()
    after, metrics = jit(algorithm.update)(HYPERS, before, update_key)
    (step_key,) = jax.random.split(jax.random.split(update_key)[1], 1)
    return jax.device_get((before, after, metrics, *sampled_and_targets(HYPERS, before, after, step_key)))


@pytest.mark.covers("muzero")
def test_an_update_is_the_one_done_by_hand():
    """Targets of its sequences, unrolled in a plain loop: loss, gradient, clipping, Adam's step; the target network."""
    before, after, metrics, _, target = one_update()
    net = network(busy_env(), BUSY)
    shares, value_target, reward_target = [1, *[1 / K] * K], two_hot(target.value), two_hot(target.reward)

    def cross_entropy(logits, wanted, mask):
        return jnp.mean(mask * -jnp.sum(wanted * jax.nn.log_softmax(logits), axis=-1))

    def loss(params):
        latent, total = net.apply(params, target.obs, method="represent"), 0.0
        for k, share in enumerate(shares):
            policy, value = net.apply(params, latent, method="predict")
            total += share * cross_entropy(policy, target.policy[k], target.alive[k])
            total += 0.3 * share * cross_entropy(value, value_target[k], target.known[k])
            if k < K:
                latent = 0.5 * latent + 0.5 * jax.lax.stop_gradient(latent)
                reward, latent = net.apply(params, latent, target.action[k], method="follow")
                total += cross_entropy(reward, reward_target[k], target.known[k]) / K
        return total + 0.01 * sum(jnp.sum(x**2) for x in jax.tree.leaves(params))

    value, grads = jit(jax.value_and_grad(loss))(before.params)
    size = sum(float(np.sum(np.square(x))) for x in jax.tree.leaves(before.params))
    total = metrics["policy_loss"] + 0.3 * metrics["value_loss"] + metrics["reward_loss"] + 0.01 * size
    np.testing.assert_allclose(value, total, rtol=1e-4)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    assert norm > 0.5
    grads = jax.tree.map(lambda g: g * 0.5 / norm, grads)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g / (np.abs(g) + 0.1), before.params, grads)
    for x, y in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5)
    for x, y in zip(jax.tree.leaves(after.params), jax.tree.leaves(after.target_params), strict=True):
        np.testing.assert_array_equal(x, y)  # 36 steps crossed the 30 after which it is copied
    assert int(after.target_clock) == 36


@pytest.mark.covers("muzero")
def test_sampled_sequences_are_of_one_environment_and_some_are_reanalyzed():
    """Sequences are rows of one environment; of the first three the policies and values are the target network's.

    The replay holds probabilities of actions, values of the scale that the model can express, and the network's value
    of the observation after each step.
    """
    before, after, _, sampled, _ = one_update()
    net, ring = network(busy_env(), BUSY), jax.device_get(after.replay.ring.items)
    for m in range(len(ENDS)):
        places = [(t, b) for t in range(9 - 5) for b in range(4) if np.array_equal(ring.obs[t, b], sampled.obs[0, m])]
        ((t, b),) = places
        stored = jax.tree.map(lambda x, t=t, b=b: x[t : t + 6, b], ring)
        for name in ("obs", "action", "reward", "terminated", "truncated", "next_value"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(sampled, name)[:, m])
        for name in ("policy", "value"):
            assert np.array_equal(getattr(stored, name), getattr(sampled, name)[:, m]) == (m >= 3)
    np.testing.assert_allclose(ring.policy.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.round(ring.policy * 3), ring.policy * 3, atol=1e-5)  # visits of three simulations
    assert ring.terminated.any() and ring.truncated.any() and set(np.unique(ring.action)) == {0, 1, 2}

    _, value = net.apply(before.params, net.apply(before.params, ring.obs, method="represent"), method="predict")
    predicted = expected_value(value, jnp.asarray(ATOMS), EPSILON)
    goes_on = ~(ring.terminated | ring.truncated)[:-1]
    np.testing.assert_allclose(ring.next_value[:-1][goes_on], predicted[1:][goes_on], atol=1e-5)


GAMMA_OF_THE_FORK = 0.7


def fork():
    """From state 0 to 1, with a reward of 1 at the end, or to 2, with a reward of 0.2 a step for ever."""
    leads_to = np.array([[1, 2], [1, 3], [0, 2], [3, 3]])
    reward = np.array([[0, 0], [0, 1], [0, 0.2], [0, 0]])
    return mdp.make(np.eye(4)[leads_to], reward, gamma=GAMMA_OF_THE_FORK, terminal=np.arange(4) == 3), leads_to


@pytest.mark.deep
@pytest.mark.covers("muzero", "latent-model")
def test_learns_a_model_with_the_values_of_the_environment():
    """A fork with an end, truncated every six steps: along all 12 paths of two actions, the model predicts as the
    environment does.

    Two seeds, after rollouts with some wrong turns. Rewards within 0.05; values within 0.06 of the optimal ones by
    dynamic programming, and within 0.15 after two actions, of which few pairs are taken; after termination too. The
    action in every state is optimal.
    """
    process, leads_to = fork()
    env = one_hot_observation(environment(process, "fork", max_steps=6))
    algorithm, net = muzero(env, SMALL), network(env, SMALL)
    hypers = MuZeroHypers(
        learning_rate=1e-2,
        gamma=GAMMA_OF_THE_FORK,
        value_weight=1.0,
        l2=0.0,
        gumbel_scale=6.0,
        target_update_every=500.0,
    )
    starts, paths = np.repeat(np.arange(3), 4), np.tile(list(itertools.product((0, 1), repeat=2)), (3, 1)).T
    states = [starts]
    for actions in paths:
        states.append(leads_to[states[-1], actions])
    atoms = distributional.support(-1, 1, 3)

    def run(key):
        init_key, run_key = jax.random.split(key)

        def update(state, inputs):
            share_left, key = inputs
            return algorithm.update(hypers.replace(learning_rate=1e-2 * share_left), state, key)[0], None

        inputs = 1 - jnp.arange(250) / 250, jax.random.split(run_key, 250)
        state, _ = jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)
        predicted = unroll(net, state.params, jnp.eye(4)[starts], paths)
        value, reward = (expected_value(x, atoms, hypers.rescale_epsilon) for x in (predicted.value, predicted.reward))
        _, action = algorithm.act(hypers, state, (), Seen(jnp.eye(4)[:3]), KEY)
        return value, reward, action

    value, reward, action = jit(jax.vmap(run))(jax.random.split(KEY, 2))
    true_reward = np.asarray(process.reward)[states[:-1], paths, states[1:]]
    true_value = np.asarray(value_iteration(process).value)[np.array(states)]
    np.testing.assert_allclose(reward - true_reward, 0, atol=0.05)
    np.testing.assert_allclose(value[:, :2] - true_value[:2], 0, atol=0.06)
    np.testing.assert_allclose(value[:, 2] - true_value[2], 0, atol=0.15)
    np.testing.assert_array_equal(action, [[0, 1, 1]] * 2)
