"""Jack's car rental and the access-control queue: rows by enumeration, and exact answers."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from purerl.envs import textbook
from tests.support.solutions import (
    action_values,
    arrays,
    iterate,
)

pytestmark = pytest.mark.usefixtures("x64")


def rental_day(morning: int, requests: float, returns: float) -> tuple[np.ndarray, float]:
    """One location's evening and its expected rentals, by enumerating up to 39 requests and returns."""
    evening, rentals = np.zeros(21), 0.0
    counts = np.arange(40)
    asked, brought = scipy.stats.poisson.pmf(counts, requests), scipy.stats.poisson.pmf(counts, returns)
    for wanted, returned in itertools.product(counts, counts):
        chance, rented = asked[wanted] * brought[returned], min(wanted, morning)
        evening[min(morning - rented + returned, 20)] += chance
        rentals += chance * rented
    return evening, rentals


@pytest.mark.parametrize(
    ("first", "second", "action", "mornings", "moved"),
    [(12, 7, 8, (9, 10), 3), (2, 20, 10, (0, 20), 2), (18, 4, 0, (20, 0), 4), (0, 0, 5, (0, 0), 0)],
)
def test_car_rental_rows_by_enumeration(first, second, action, mornings, moved):
    """A row of Jack's car rental and its reward, moves cut to the cars there are, by enumerating a day's events."""
    mdp = textbook.car_rental()
    transition, reward, _, _ = arrays(mdp)
    one, rented_one = rental_day(mornings[0], requests=3, returns=3)
    two, rented_two = rental_day(mornings[1], requests=4, returns=2)
    state = 21 * first + second
    np.testing.assert_allclose(transition[state, action].reshape(21, 21), np.outer(one, two), atol=1e-12)
    assert reward[state, action] == pytest.approx(10 * (rented_one + rented_two) - 2 * moved, abs=1e-9)


def test_car_rental_has_a_policy_like_the_published_one():
    """The optimal moves of Jack's car rental, by policy iteration, run from 5 to -4 cars as in the book's Figure 4.2;
    more cars at a location never mean that fewer leave it; nothing is moved between equals."""
    mdp = textbook.car_rental()
    values, _ = iterate(mdp)
    q, moves = action_values(mdp, values), np.arange(-5, 6)
    fewest = np.where(q > q.max(1, keepdims=True) - 1e-6, np.abs(moves), 99).argmin(1)
    policy = moves[fewest].reshape(21, 21)  # by the cars at the first, then at the second
    assert (policy.max(), policy.min(), policy[20, 0], policy[0, 20]) == (5, -4, 5, -4)
    assert (np.diff(policy, axis=0) >= 0).all()
    assert (np.diff(policy, axis=1) <= 0).all()
    assert not policy.diagonal().any()
    assert (values.argmin(), values.argmax()) == (0, 440)


def test_access_control_rows_by_the_binomial():
    """Free servers after a customer is accepted: each busy one, the new one too, is freed with chance 0.06."""
    mdp = textbook.access_control()
    transition, reward, _, _ = arrays(mdp)
    for free, customer in ((10, 3), (4, 0), (1, 2)):
        after = np.zeros(11)
        after[free - 1 :] = scipy.stats.binom.pmf(np.arange(12 - free), 11 - free, 0.06)
        np.testing.assert_allclose(transition[4 * free + customer, 1], np.repeat(after / 4, 4), atol=1e-12)
        np.testing.assert_allclose(reward[4 * free + customer], [0, 2**customer], atol=1e-12)
    np.testing.assert_array_equal(transition[:4, 0], transition[:4, 1])  # with none free all are rejected
    assert not reward[:4].any()


def test_access_control_has_the_average_reward_of_its_linear_programme():
    """For gamma near 1 the optimal policy earns, on average, the value of the average-reward linear programme."""
    mdp = textbook.access_control(gamma=0.9999)
    transition, reward, _, _ = arrays(mdp)
    _, policy = iterate(mdp)
    chain = transition[np.arange(44), policy]
    flow = np.linalg.lstsq(np.vstack([chain.T - np.eye(44), np.ones(44)]), np.append(np.zeros(44), 1), rcond=None)[0]
    earned = flow @ reward[np.arange(44), policy]
    # min g  subject to  g + h(s) >= r(s, a) + sum_z P(s, a, z) h(z)
    rows = (transition - np.eye(44)[:, None]).reshape(-1, 44)
    bounds = np.column_stack([-np.ones(88), rows])
    best = scipy.optimize.linprog(np.eye(45)[0], A_ub=bounds, b_ub=-reward.ravel(), bounds=(None, None))
    assert earned == pytest.approx(best.fun, rel=1e-7)
    np.testing.assert_array_equal(policy.reshape(11, 4)[1:, 3], 1)  # the best customer is never turned away
    assert (np.diff(policy.reshape(11, 4)[1:], axis=0) >= 0).all()  # the more servers are free, the more are accepted
