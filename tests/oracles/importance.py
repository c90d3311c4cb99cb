"""Off-policy evaluation by loops over trajectories and steps, in float64; arrays are ``[T, N]``."""

import numpy as np


def estimates(reward, ratio, gamma, mask):
    """``(ordinary, weighted, per_decision)``, each ``[N]``."""
    T, N = reward.shape
    weight, total, per_decision = np.ones(N), np.zeros(N), np.zeros(N)
    for i in range(N):
        for t in range(T):
            if mask[t, i]:
                weight[i] *= ratio[t, i]
                total[i] += gamma**t * reward[t, i]
                per_decision[i] += gamma**t * weight[i] * reward[t, i]
    return weight * total, weight / weight.mean() * total, per_decision
