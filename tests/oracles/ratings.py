"""Ratings by other means: scipy climbs the likelihood, least squares fit payoffs; float64 loops over pairs."""

import itertools

import numpy as np
import scipy.optimize


def likeliest(wins, draws, anchor=0.0, prior=0.0):
    """Elo ratings ``[N]`` that maximise the Bradley-Terry likelihood, a draw being half a win for either."""
    N = len(wins)
    pairs = list(itertools.permutations(range(N), 2))
    score = {(i, j): wins[i, j] + draws[i, j] / 2 + prior / 2 for i, j in pairs}

    def loss_and_gradient(rating):
        loss, gradient = 0.0, np.zeros(N)
        for (i, j), s in score.items():
            expected = 1 / (1 + np.exp(rating[j] - rating[i]))
            loss -= s * np.log(expected)
            gradient[i] -= s * (1 - expected)
            gradient[j] += s * (1 - expected)
        return loss, gradient

    solution = scipy.optimize.minimize(loss_and_gradient, np.zeros(N), jac=True, method="BFGS", options={"gtol": 1e-9})
    return anchor + 400 / np.log(10) * (solution.x - solution.x.mean())


def best_fit(payoff):
    """Ratings ``[N]`` that sum to 0 and whose differences come closest to a table of payoffs, in squares."""
    N = len(payoff)
    pairs = list(itertools.permutations(range(N), 2))
    rows = np.array([np.eye(N)[i] - np.eye(N)[j] for i, j in pairs] + [np.ones(N)])
    return np.linalg.lstsq(rows, np.array([payoff[i, j] for i, j in pairs] + [0.0]), rcond=None)[0]
