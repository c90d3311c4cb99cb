"""MuZero's training targets and losses, in loops over steps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.planning.muzero_targets import losses, training_targets
from tests.support.muzero_setup import (
    ANY,
    ATOMS,
    ENDS,
    EPSILON,
    GAMMA,
    K,
    N,
    h,
    log_softmax,
    recorded,
    two_hot,
    unrolled,
)
from tests.support.ppo_setup import jit


def n_step_return(steps, t, m):
    """From row t of sequence m, in a loop over steps."""
    total, discount = 0.0, 1.0
    for i in range(t, t + N):
        total, discount = total + discount * steps.reward[i, m], discount * GAMMA
        if steps.terminated[i, m]:
            return total
        if steps.truncated[i, m]:
            return total + discount * steps.next_value[i, m]
    return total + discount * steps.value[t + N, m]


@pytest.mark.covers("muzero")
def test_training_targets_by_hand():
    """Ten sequences that terminate, are truncated or go on: targets of every step in loops; 0 after termination, none
    after truncation."""
    steps = recorded()
    target = jax.device_get(training_targets(steps, ANY, GAMMA, N))
    np.testing.assert_array_equal(target.obs, steps.obs[0])
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        flags = [(steps.terminated[i, m], steps.truncated[i, m]) for i in range(k)]
        first = next((flag for flag in flags if any(flag)), None)
        assert target.alive[k, m] == (first is None)
        assert target.known[k, m] == (first is None or first[0])
        expected = n_step_return(steps, k, m) if first is None else 0.0
        np.testing.assert_allclose(target.value[k, m], expected, rtol=1e-5)
        if first is None:
            np.testing.assert_array_equal(target.policy[k, m], steps.policy[k, m])
        if k < K:
            assert target.action[k, m] == (steps.action[k, m] if first is None else 7)
            assert target.reward[k, m] == (steps.reward[k, m] if first is None else 0.0)


@pytest.mark.covers("muzero")
def test_training_targets_of_two_players():
    """Ten sequences in which two players take turns: the rewards of each are added up for both of them, in loops.

    The value of a position, from a search or after truncation from the network, is from the perspective of the player
    to move there.
    """
    steps = recorded()
    target = training_targets(steps, ANY, -GAMMA, N)
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        if not target.alive[k, m]:
            continue
        account, i = [0.0, 0.0], k  # of the players who move in even and in odd rows
        while True:
            discount, mover = GAMMA ** (i - k), i % 2
            account[mover] += discount * steps.reward[i, m]
            account[1 - mover] -= discount * steps.reward[i, m]
            i += 1
            ended = steps.terminated[i - 1, m] or steps.truncated[i - 1, m]
            if ended or i == k + N:
                break
        if not steps.terminated[i - 1, m]:
            value = GAMMA ** (i - k) * (steps.next_value[i - 1, m] if ended else steps.value[i, m])
            account[i % 2] += value
            account[1 - i % 2] -= value
        np.testing.assert_allclose(target.value[k, m], account[k % 2], rtol=1e-5)


@pytest.mark.covers("muzero")
def test_losses_by_hand():
    """Cross-entropies of ten sequences in NumPy loops: states 1, 1/K, ..., 1/K, rewards 1/K, each where it counts."""
    steps, logits = recorded(), unrolled()
    target = jax.device_get(training_targets(steps, ANY, GAMMA, N))
    weight = np.linspace(0.1, 1, len(ENDS))
    terms = losses(jax.tree.map(jnp.asarray, logits), target, weight, jnp.asarray(ATOMS), EPSILON)
    expected = dict.fromkeys(terms, 0.0)
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        share = weight[m] / len(ENDS) * (1 if k == 0 else 1 / K)
        if target.alive[k, m]:
            expected["policy_loss"] -= share * target.policy[k, m] @ log_softmax(logits.policy[k, m])
        if target.known[k, m]:
            expected["value_loss"] -= share * two_hot(target.value[k, m]) @ log_softmax(logits.value[k, m])
        if k and target.known[k - 1, m]:  # of the k-th action, if it was taken in the episode or after its end
            reward_term = two_hot(target.reward[k - 1, m]) @ log_softmax(logits.reward[k - 1, m])
            expected["reward_loss"] -= weight[m] / len(ENDS) / K * reward_term
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)


@pytest.mark.covers("muzero")
def test_share_of_targets_beyond_the_support():
    """Of values and rewards of known states, those whose h is larger than the last atom: some, where all are 10 times
    as large as they are."""
    target = jax.device_get(training_targets(recorded(), ANY, GAMMA, N))
    target = target.replace(value=10 * target.value, reward=10 * target.reward)
    terms = losses(jax.tree.map(jnp.asarray, unrolled()), target, jnp.ones(len(ENDS)), jnp.asarray(ATOMS), EPSILON)
    numbers = np.concatenate([target.value[target.known], target.reward[target.known[:-1]]])
    expected = np.mean(np.abs(h(numbers)) > ATOMS[-1])
    assert 0.1 < expected < 0.9
    np.testing.assert_allclose(terms["clipped_targets"], expected, rtol=1e-5)


@pytest.mark.covers("muzero")
def test_nothing_after_the_end_of_an_episode_is_learnt_from():
    """Other numbers in every row after the first end of a sequence: the loss and its gradient stay bit for bit.

    Nor does the network's next value matter where the episode goes on or terminates.
    """
    steps, other = recorded(), recorded(seed=5)
    ends = steps.terminated | steps.truncated
    after = np.cumsum(ends, axis=0) - ends > 0

    def changed(old, new):
        return np.where(after.reshape(*after.shape, *[1] * (old.ndim - 2)), new, old)

    replaced = jax.tree.map(changed, steps, other)
    first_cut = steps.truncated & ~steps.terminated & ~after
    replaced = replaced.replace(next_value=np.where(first_cut, steps.next_value, other.next_value))
    assert np.any(replaced.reward != steps.reward) and np.any(replaced.next_value != steps.next_value)

    def loss(logits, steps):
        target = training_targets(steps, ANY, GAMMA, N)
        terms = losses(logits, target, jnp.ones(len(ENDS)), jnp.asarray(ATOMS), EPSILON)
        return sum(terms.values()), target.action

    logits = jax.tree.map(jnp.asarray, unrolled())
    grad = jit(jax.value_and_grad(loss, has_aux=True))
    for x, y in zip(jax.tree.leaves(grad(logits, steps)), jax.tree.leaves(grad(logits, replaced)), strict=True):
        np.testing.assert_array_equal(x, y)
