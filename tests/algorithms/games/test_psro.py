"""Pools of best responses: what the double oracle ends with, what fictitious play comes to, and who forgets."""

import numpy as np
import pytest

from purerl.algorithms.games import psro as module
from purerl.games import sequence_form
from tests.support.pgx_games import tree


@pytest.fixture(scope="module")
def rounds():
    """Of the three mixtures, 30 rounds of Kuhn's poker each."""
    mixtures = (module.equilibrium, module.uniform, module.latest)
    return {mixture.__name__: list(module.psro(tree("kuhn_poker"), mixture, num_rounds=30)) for mixture in mixtures}


@pytest.mark.covers("opponent-pool", "self-play", "nash")
def test_the_double_oracle_ends_with_an_equilibrium(rounds):
    """From uniform play, 11/12, to 0 within ten answers, with the game's value of -1/18 among its pools; fictitious
    play comes nearer all the time; answers to the last answer alone never do."""
    distances = {name: np.array([one.nash_conv for one in course]) for name, course in rounds.items()}
    np.testing.assert_allclose([course[0] for course in distances.values()], 11 / 12, rtol=1e-5)
    assert distances["equilibrium"][10:].max() < 1e-5
    assert distances["uniform"][-1] < 0.12 and distances["uniform"][-1] < distances["uniform"][10] < 0.25
    assert distances["latest"][5:].min() > 0.4
    last = rounds["equilibrium"][-1]
    np.testing.assert_allclose(last.mixture[0] @ last.payoff @ last.mixture[1], -1 / 18, atol=1e-6)
    np.testing.assert_allclose(last.plans[0] @ sequence_form.payoff_matrix(tree("kuhn_poker")) @ last.plans[1], -1 / 18)


@pytest.mark.covers("opponent-pool", "self-play")
def test_who_answers_only_the_last_goes_round(rounds):
    """Its answers come back after four rounds, so that it loses to what it could beat before; the mixtures of the
    double oracle, once they are an equilibrium, lose to none of their past selves."""
    first = rounds["latest"][-1].pools[0]
    np.testing.assert_array_equal(first[10:-4], first[14:])
    matrix = sequence_form.payoff_matrix(tree("kuhn_poker"))

    def earned(name, past):
        now = rounds[name][-1].plans
        return (now[0] @ matrix @ past.plans[1] - past.plans[0] @ matrix @ now[1]) / 2

    assert min(earned("latest", past) for past in rounds["latest"]) < -0.2
    assert min(earned("equilibrium", past) for past in rounds["equilibrium"]) > -1e-6


def test_pools_grow_by_pure_policies(rounds):
    """Each round adds one policy to each pool, whose plan is 0 or 1 everywhere; the payoffs are those of the plans."""
    course = rounds["uniform"]
    assert [len(one.pools[0]) for one in course] == list(range(1, 31))
    last = course[-1]
    assert np.isin(last.pools[1][1:], (0, 1)).all()
    matrix = sequence_form.payoff_matrix(tree("kuhn_poker"))
    np.testing.assert_allclose(last.payoff, last.pools[0] @ matrix @ last.pools[1].T)
    np.testing.assert_allclose(last.mixture[0], 1 / 30)
