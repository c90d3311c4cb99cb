"""alpha-rank against a loop, a chain that is simulated in full, and the published ranking."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import matrix_games
from purerl.kernels import alpha_rank as kernel
from tests.oracles import games as oracle

# Commitment, cooperation, defection and two ways to fake it, in a repeated dilemma: Han, Pereira, Santos and
# Lenaerts 2013, with reward 1, temptation 2, punishment 0, the sucker's -1, a compensation of 4 and a cost of 1/4.
R, T, P, S, COMPENSATION, COST = 1.0, 2.0, 0.0, -1.0, 4.0, 0.25
COMMITMENT = np.array(
    [
        [R - COST / 2, R - COST, 0, S + COMPENSATION - COST, R - COST],
        [R, R, S, S, S],
        [0, T, P, P, P],
        [T - COMPENSATION, T, P, P, P],
        [R, T, P, P, P],
    ]
)


@pytest.mark.covers("nfg")
def test_fixation_probabilities_are_those_of_the_chain(x64):
    """Against sums of products, and against the linear equations of the birth-and-death chain of 7 individuals, in
    which one mutant more or one less have odds exp(alpha (f_r - f_s))."""
    payoff, m, alpha = np.random.default_rng(0).normal(size=(3, 3)), 7, 0.8
    rho = kernel.fixation_probabilities(jnp.asarray(payoff), alpha, m)
    for s in range(3):
        for r in range(3):
            np.testing.assert_allclose(rho[s, r], oracle.fixation(payoff, alpha, m, s, r), rtol=1e-12)
    s, r = 0, 2
    system, hit = np.eye(m + 1), np.zeros(m + 1)
    hit[m] = 1
    for p in range(1, m):
        theirs = ((p - 1) * payoff[r, r] + (m - p) * payoff[r, s]) / (m - 1)
        ours = (p * payoff[s, r] + (m - p - 1) * payoff[s, s]) / (m - 1)
        up = 1 / (1 + np.exp(-alpha * (theirs - ours)))
        system[p, p + 1], system[p, p - 1] = -up, up - 1
    np.testing.assert_allclose(rho[s, r], np.linalg.solve(system, hit)[1], rtol=1e-10)
    np.testing.assert_allclose(np.diagonal(rho), 1 / m, rtol=1e-12)
    # Products that no float holds
    assert np.all(np.isfinite(kernel.fixation_probabilities(jnp.asarray(payoff), 100.0, 200)))


@pytest.mark.covers("nfg")
def test_published_ranking(x64):
    """The five strategies of a dilemma with commitments, 20 individuals, alpha .1: the ranking as printed in the tests
    of Omidshafiei et al. 2019, to its four digits; rock, paper, scissors has all alike, and a dominant action all."""
    printed = [0.40966787, 0.07959841, 0.20506998, 0.08505983, 0.2206039]
    np.testing.assert_allclose(kernel.alpha_rank(jnp.asarray(COMMITMENT), 0.1, 20), printed, atol=5e-5)
    np.testing.assert_allclose(kernel.alpha_rank(matrix_games.rock_paper_scissors()[0], 0.5), 1 / 3, rtol=1e-10)
    np.testing.assert_allclose(kernel.alpha_rank(matrix_games.prisoners_dilemma()[0], 1.0), [0, 1], atol=1e-9)


def test_what_is_no_table_is_refused():
    """Payoffs that are not square, or of one strategy alone."""
    for shape in ((2, 3), (1, 1), (2, 2, 2)):
        with pytest.raises(ValueError, match="must be"):
            kernel.alpha_rank(jnp.zeros(shape), 1.0)
