"""Chains of the textbook: their exact answers."""

import numpy as np
import pytest

from purerl.envs import textbook
from tests.support.solutions import at_start, evaluate, sweep, uniform

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(("length", "left"), [(5, 0.0), (19, -1.0)])
def test_random_walk_has_linear_values(length, left):
    """The random walk's values lie on the line between its ends, 1/6 ... 5/6 and -0.9 ... 0.9, by a linear solve."""
    mdp = textbook.random_walk(length, left)
    line = np.linspace(left, 1.0, length + 2)
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp))[1:-1], line[1:-1], atol=1e-12)
    assert at_start(mdp, line) == pytest.approx((left + 1) / 2)


def test_short_corridor_has_the_published_return():
    """Without telling states apart, right with chance p earns -2 (2-p) / (p (1-p)), at best -(6 + 4 sqrt 2)."""
    mdp = textbook.short_corridor()
    for p in (0.05, 0.5, 2 - 2**0.5, 0.95):
        earned = at_start(mdp, evaluate(mdp, np.tile([1 - p, p], (4, 1))))
        assert earned == pytest.approx(-2 * (2 - p) / (p * (1 - p)), abs=1e-9)
        assert earned <= -(6 + 4 * 2**0.5) + 1e-9
    assert at_start(mdp, sweep(mdp)) == -3  # who tells them apart walks straight


@pytest.mark.covers("mdp3")
@pytest.mark.parametrize(("high", "low"), [(1.0, -1.0), (1.0, -7 / 3), (2.0, -9.0)])
def test_three_states_have_their_closed_form(high, low):
    """``V = p q / (1 - g (1-p))``, its slope ``q (1-g) / (1 - g (1-p))^2`` and ``V* = max(0, q)``, by linear solves."""
    mdp, gamma, q = textbook.three_states(high, low), 0.9, 0.7 * high + 0.3 * low

    def value(p: float) -> float:
        return evaluate(mdp, np.tile([p, 1 - p], (3, 1)))[0]

    for p in (0.1, 0.5, 1.0):
        assert value(p) == pytest.approx(p * q / (1 - gamma * (1 - p)), abs=1e-12)
        slope = (value(p + 1e-5) - value(p - 1e-5)) / 2e-5
        assert slope == pytest.approx(q * (1 - gamma) / (1 - gamma * (1 - p)) ** 2, abs=1e-6)
    assert sweep(mdp)[0] == pytest.approx(max(0.0, q), abs=1e-12)
