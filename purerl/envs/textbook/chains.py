"""Short chains of states as exact Markov decision processes.

Sources: Sutton and Barto 2018, "Reinforcement Learning: An Introduction", 2nd edition, by the number of the example.
"""

import numpy as np

from purerl.mdp import MDP, make


def random_walk(length: int = 5, left: float = 0.0, right: float = 1.0, gamma: float = 1.0) -> MDP:
    """Random walk: ``length`` states in a row, a step to either side with probability 1/2, an end beyond each.

    ``V(i) = left + (right - left) i / (length + 1)`` at ``gamma = 1``. States: 0 the left end, 1 to ``length``,
    ``length + 1`` the right end. There is one action: nothing is to be decided. Starts in the middle.
    Sources: Example 6.2 for 5 states, Example 7.1 for 19 with ``left=-1``.

    Args:
        length: at least 1, odd.
        left: reward of the step into the left end.
        right: reward of the step into the right end.
        gamma: [0, 1].

    Raises:
        ValueError: if there is no middle.
    """
    if length < 1 or length % 2 == 0:
        raise ValueError(f"random_walk(length={length}): the walk starts in the middle; give an odd number of states.")
    states = np.arange(length + 2)
    to_either_side = (np.abs(states[:, None] - states) == 1) / 2
    to_either_side[[0, -1], [0, -1]] = 0.5  # never used, as the ends absorb; a distribution all the same
    arrival = np.where(states == 0, left, np.where(states == length + 1, right, 0.0))
    return make(
        to_either_side[:, None, :],
        arrival[None, None, :],
        gamma=gamma,
        terminal=np.isin(states, [0, length + 1]),
        start=states == (length + 1) // 2,
    )


def short_corridor(gamma: float = 1.0) -> MDP:
    """Short corridor with switched actions: three states, the goal beyond; the middle one switches left and right.

    Reward -1 a step. A policy that cannot tell the states apart and goes right with probability p has the
    return ``J(p) = -2 (2 - p) / (p (1 - p))`` from state 0, at best ``-(6 + 4 sqrt 2)`` at ``p = 2 - sqrt 2``.
    States: 0 to 2, 3 the goal; actions left, right. Starts in state 0. Source: Example 13.1.
    """
    after = np.array([[0, 1], [2, 0], [1, 3], [3, 3]])
    return make(
        np.eye(4)[after], np.full((4, 2), -1.0), gamma=gamma, terminal=np.arange(4) == 3, start=np.arange(4) == 0
    )


def three_states(high: float = 1.0, low: float = -1.0, chance: float = 0.7, gamma: float = 0.9) -> MDP:
    """One state to decide in: a gamble that ends with ``high`` or with ``low``, or to stay there for nothing.

    With ``q = chance high + (1 - chance) low`` and p the probability of gambling,
    ``V(0) = p q / (1 - gamma (1 - p))`` and ``V*(0) = max(0, q)``. States: 0, 1 the good end, 2 the bad one; actions
    gamble, stay. Starts in state 0.

    Args:
        high: reward of the step into state 1.
        low: reward of the step into state 2.
        chance: [0, 1], probability of state 1 when gambling.
        gamma: [0, 1].
    """
    gamble, stay = [0.0, chance, 1 - chance], [1.0, 0.0, 0.0]
    return make(
        [[gamble, stay]] * 3,
        np.array([0.0, high, low])[None, None, :],
        gamma=gamma,
        terminal=np.arange(3) > 0,
        start=np.arange(3) == 0,
    )
