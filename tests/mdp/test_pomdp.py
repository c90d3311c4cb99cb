"""Belief states of partially observable processes: Bayes' rule, values, what is refused."""

import itertools

import jax
import numpy as np
import pytest

from purerl import mdp as kernel
from tests.support.processes import random_pair, tiger


@pytest.mark.covers("pomdp")
def test_belief_is_bayes_rule_on_all_hidden_paths(x64):
    """A random hidden process: the belief after two steps equals the posterior by enumeration of hidden paths, and the
    probabilities of what is seen multiply to that of the history and sum to 1."""
    theirs, ours, _ = random_pair()
    observation = np.random.default_rng(4).dirichlet(np.ones(2), (4, 3))
    pomdp = kernel.make_pomdp(ours, observation)
    update = jax.jit(kernel.belief_update)
    total = 0
    for seen in itertools.product(range(2), repeat=2):
        joint = np.zeros(4)  # of the history and the last hidden state
        for a, b, c in itertools.product(range(4), repeat=3):
            first = theirs.transition[a, 1, b] * observation[b, 1, seen[0]]
            joint[c] += theirs.start[a] * first * theirs.transition[b, 2, c] * observation[c, 2, seen[1]]
        belief, p1 = update(pomdp, ours.start, 1, seen[0])
        belief, p2 = update(pomdp, belief, 2, seen[1])
        np.testing.assert_allclose(belief, joint / joint.sum(), rtol=1e-10)
        np.testing.assert_allclose(p1 * p2, joint.sum(), rtol=1e-10)
        total += p1 * p2
    np.testing.assert_allclose(total, 1, rtol=1e-10)
    np.testing.assert_allclose(kernel.observation_distribution(pomdp, ours.start, 1).sum(), 1, rtol=1e-12)


@pytest.mark.covers("pomdp")
def test_belief_value_equals_history_value(x64):
    """The tiger with three steps left: dynamic programming over beliefs equals the best of all 2187 plans that map
    what was heard to an action; listening twice and acting only on agreement is worth it."""
    pomdp = tiger()
    transition, observation = np.asarray(pomdp.mdp.transition), np.asarray(pomdp.observation)
    reward, gamma = np.asarray(kernel.expected_reward(pomdp.mdp)), float(pomdp.mdp.gamma)
    update = jax.jit(kernel.belief_update)

    def belief_value(belief, steps):
        if steps == 0:
            return 0.0
        totals = []
        for a in range(3):
            later = [update(pomdp, belief, a, o) for o in range(2)]
            totals.append(belief @ reward[:, a] + gamma * sum(p * belief_value(b, steps - 1) for b, p in later))
        return max(totals)

    def plans(steps):  # [number of plans, S]: value of each plan from each hidden state
        if steps == 0:
            return np.zeros((1, 2))
        later, every = plans(steps - 1), []
        for a in range(3):
            after = [transition[:, a] @ (observation[:, a, o, None] * later.T) for o in range(2)]  # [S, plans]
            pairs = after[0][:, :, None] + after[1][:, None, :]
            every.append((reward[:, a, None, None] + gamma * pairs).reshape(2, -1).T)
        return np.concatenate(every)

    assert len(plans(3)) == 2187
    np.testing.assert_allclose(belief_value(pomdp.mdp.start, 3), (plans(3) @ pomdp.mdp.start).max(), rtol=1e-10)
    sure, _ = update(pomdp, update(pomdp, pomdp.mdp.start, 0, 0)[0], 0, 0)
    np.testing.assert_allclose(sure, [0.85**2 / (0.85**2 + 0.15**2), 0.15**2 / (0.85**2 + 0.15**2)], rtol=1e-12)


def test_what_a_model_calls_impossible_leaves_the_prediction(x64):
    """An observation of probability 0 moves the belief by the dynamics alone; rows that do not sum to 1 are refused."""
    _, ours, _ = random_pair()
    never = np.broadcast_to([1.0, 0.0], (4, 1, 2))
    belief, probability = kernel.belief_update(kernel.make_pomdp(ours, never), ours.start, 0, 1)
    np.testing.assert_allclose(belief, ours.start @ ours.transition[:, 0], rtol=1e-12)
    assert probability == 0
    with pytest.raises(ValueError, match=r"observation\[2, 0\] sums to 0.5, not to 1"):
        kernel.make_pomdp(ours, np.where(np.arange(4)[:, None, None] == 2, never / 2, never))
    with pytest.raises(ValueError, match=r"observation has the shape \(3, 1, 2\)"):
        kernel.make_pomdp(ours, never[:3])
