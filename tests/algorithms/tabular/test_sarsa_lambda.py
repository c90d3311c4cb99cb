"""True online SARSA(lambda) is the online lambda-return algorithm."""

import numpy as np
import pytest

from purerl.algorithms.tabular.eligibility_traces import traces
from purerl.algorithms.tabular.n_step import n_step
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    MAX_STEPS,
    listed,
    policy_of,
    sarsa_history,
    tables_after,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa")
@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_dutch_traces_are_the_online_lambda_return(lambda_):
    """True online SARSA(lambda) is, after every step, what learning the episode anew with the interim lambda-returns
    gives; accumulating traces, at lambda 0.7, are not."""
    step, rule = sarsa_history(), traces("dutch")
    expected = oracle.online_lambda_return(BEGIN, listed(step), policy_of(rule), HYPERS.gamma, lambda_)
    hypers = HYPERS.replace(lambda_=lambda_)
    np.testing.assert_allclose(tables_after(rule, step, hypers), expected, atol=1e-12)
    if lambda_ == 0.7:
        assert np.abs(tables_after(traces("accumulating"), step, hypers) - expected).max() > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda")
def test_full_trace_is_monte_carlo():
    """Lambda 1 with dutch traces has, at each episode's end, moved every visit towards its return, as n-step SARSA with
    more steps than an episode has; every end is a termination here."""
    step = sarsa_history()
    ended = step.terminated | step.truncated
    step = step.replace(terminated=ended, truncated=np.zeros_like(ended))
    traced = tables_after(traces("dutch"), step, HYPERS.replace(lambda_=1.0))
    np.testing.assert_allclose(traced[ended], tables_after(n_step(MAX_STEPS + 1), step)[ended], atol=1e-12)
