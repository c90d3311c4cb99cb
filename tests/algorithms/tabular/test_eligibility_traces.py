"""Eligibility traces of tabular control against loops over every entry."""

import numpy as np
import pytest

from purerl.algorithms.tabular.eligibility_traces import traces
from purerl.algorithms.tabular.n_step import n_step
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    listed,
    policy_of,
    sarsa_history,
    tables_after,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa", "q-learning")
@pytest.mark.parametrize("trace", ["accumulating", "replacing"])
@pytest.mark.parametrize("on_policy", [True, False], ids=["sarsa-lambda", "watkins"])
def test_traces_are_the_loop(trace, on_policy):
    """SARSA(lambda) and Watkins' Q(lambda) of the greedy policy, told 160 steps: the table after each, by loops."""
    hypers, rule = HYPERS.replace(target_epsilon=0.0), traces(trace, on_policy)
    step, policy = sarsa_history(), policy_of(rule) if on_policy else lambda row: oracle.epsilon_greedy(row, 0.0)
    kind = "taken" if on_policy else "mean"
    expected = oracle.traces(BEGIN, listed(step), policy, hypers.gamma, hypers.lambda_, trace, kind)
    np.testing.assert_allclose(tables_after(rule, step, hypers), expected, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa", "q-learning")
def test_no_trace_is_one_step():
    """Lambda 0: all three traces are SARSA, and Watkins' Q(0) is Q-learning."""
    step, hypers = sarsa_history(), HYPERS.replace(lambda_=0.0)
    for trace in ("accumulating", "replacing", "dutch"):
        np.testing.assert_allclose(tables_after(traces(trace), step, hypers), tables_after(n_step(), step), atol=1e-12)
    off_policy = n_step(1, "expected", on_policy=False)
    np.testing.assert_allclose(
        tables_after(traces(on_policy=False), step, hypers), tables_after(off_policy, step), atol=1e-12
    )


def test_traces_refuse_bad_settings():
    """An unknown trace, and dutch traces off policy, which are exact for nothing."""
    with pytest.raises(ValueError, match="choose one of accumulating, replacing, dutch"):
        traces("none")
    with pytest.raises(ValueError, match="exact on policy alone"):
        traces("dutch", on_policy=False)
