"""Normal-form games by loops over all outcomes, in float64."""

import itertools
import math

import numpy as np


def utilities(payoffs, profile):
    """Expected payoff of each player ``[n]``, outcome by outcome."""
    total = np.zeros(len(payoffs))
    for outcome in itertools.product(*(range(len(x)) for x in profile)):
        chance = math.prod(x[a] for x, a in zip(profile, outcome, strict=True))
        total += chance * np.array([payoff[outcome] for payoff in payoffs])
    return total


def action_values(payoffs, profile):
    """What each player would earn with each action alone."""
    return [
        np.array([utilities(payoffs, [*profile[:i], np.eye(len(x))[a], *profile[i + 1 :]])[i] for a in range(len(x))])
        for i, x in enumerate(profile)
    ]


def nash_conv(payoffs, profile):
    """Sum over players of what each would gain by its best action."""
    return sum(max(q) for q in action_values(payoffs, profile)) - utilities(payoffs, profile).sum()


def dominates(payoffs, alive, player, better, worse, strict):
    """Whether an action of a player is better than another against everything that the others still play."""
    others = [[a for a in range(len(x)) if x[a]] if i != player else [None] for i, x in enumerate(alive)]
    gains = []
    for outcome in itertools.product(*others):
        chosen = [
            payoffs[player][tuple(a if i != player else own for i, a in enumerate(outcome))] for own in (better, worse)
        ]
        gains.append(chosen[0] - chosen[1])
    return min(gains) > 0 if strict else min(gains) >= 0 and max(gains) > 0


def undominated(payoffs, order):
    """What remains after eliminating one strictly dominated action at a time, in a random order."""
    alive = [np.ones(size, bool) for size in np.shape(payoffs)[1:]]
    while True:
        bad = [
            (i, a)
            for i, x in enumerate(alive)
            for a in np.flatnonzero(x)
            if any(dominates(payoffs, alive, i, b, a, True) for b in np.flatnonzero(x) if b != a)
        ]
        if not bad:
            return alive
        player, action = bad[order.integers(len(bad))]
        alive[player][action] = False


def fixation(payoff, alpha, m, resident, mutant):
    """Fixation probability of one mutant, by the sum of products of the birth-and-death chain."""
    total = 1.0
    for last in range(1, m):
        product = 1.0
        for p in range(1, last + 1):
            theirs = ((p - 1) * payoff[mutant, mutant] + (m - p) * payoff[mutant, resident]) / (m - 1)
            ours = (p * payoff[resident, mutant] + (m - p - 1) * payoff[resident, resident]) / (m - 1)
            product *= math.exp(-alpha * (theirs - ours))
        total += product
    return 1 / total
