"""Eligibility traces against loops over every entry, and against the returns that they are another view of."""

import jax
import numpy as np
import pytest

import purerl
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, n_step
from purerl.algorithms.tabular.traces import q_lambda, traces
from tests.oracles import control as oracle
from tests.support.tabular_history import BEGIN, HYPERS, MAX_STEPS, listed, policy_of, sarsa_history, told

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa", "q-learning")
@pytest.mark.parametrize("trace", ["accumulating", "replacing"])
@pytest.mark.parametrize("on_policy", [True, False], ids=["sarsa-lambda", "watkins"])
def test_traces_are_the_loop(trace, on_policy):
    """SARSA(lambda) and Watkins' Q(lambda) of the greedy policy, told 160 steps: the table after each, by loops."""
    hypers, learner = HYPERS.replace(target_epsilon=0.0), traces(trace, on_policy)
    step, policy = sarsa_history(), policy_of(learner) if on_policy else lambda row: oracle.epsilon_greedy(row, 0.0)
    kind = "taken" if on_policy else "mean"
    expected = oracle.traces(BEGIN, listed(step), policy, hypers.gamma, hypers.lambda_, trace, kind)
    np.testing.assert_allclose(told(learner, step, hypers), expected, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa")
@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_dutch_traces_are_the_online_lambda_return(lambda_):
    """True online SARSA(lambda) is, after every step, what learning the episode anew with the interim lambda-returns
    gives; accumulating traces, at lambda 0.7, are not."""
    step, learner = sarsa_history(), traces("dutch")
    expected = oracle.online_lambda_return(BEGIN, listed(step), policy_of(learner), HYPERS.gamma, lambda_)
    hypers = HYPERS.replace(lambda_=lambda_)
    np.testing.assert_allclose(told(learner, step, hypers), expected, atol=1e-12)
    if lambda_ == 0.7:
        assert np.abs(told(traces("accumulating"), step, hypers) - expected).max() > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda", "sarsa", "q-learning")
def test_no_trace_is_one_step():
    """Lambda 0: all three traces are SARSA, and Watkins' Q(0) is Q-learning."""
    step, hypers = sarsa_history(), HYPERS.replace(lambda_=0.0)
    for trace in ("accumulating", "replacing", "dutch"):
        np.testing.assert_allclose(told(traces(trace), step, hypers), told(n_step(), step), atol=1e-12)
    off_policy = n_step(1, "expected", on_policy=False)
    np.testing.assert_allclose(told(traces(on_policy=False), step, hypers), told(off_policy, step), atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td-lambda")
def test_full_trace_is_monte_carlo():
    """Lambda 1 with dutch traces has, at each episode's end, moved every visit towards its return, as n-step SARSA with
    more steps than an episode has; every end is a termination here."""
    step = sarsa_history()
    ended = step.terminated | step.truncated
    step = step.replace(terminated=ended, truncated=np.zeros_like(ended))
    traced = told(traces("dutch"), step, HYPERS.replace(lambda_=1.0))
    np.testing.assert_allclose(traced[ended], told(n_step(MAX_STEPS + 1), step)[ended], atol=1e-12)


@pytest.mark.covers("td-lambda", "q-learning")
def test_traces_find_the_shortest_way():
    """8 runs of 4000 steps in the windy gridworld: Watkins' Q(lambda) finds the shortest way, 15 steps, in most."""
    config = ControlConfig(num_steps=4000, max_episode_steps=50)
    algorithm = q_lambda(purerl.envs.make("WindyGridworld"), config)
    hypers = ControlHypers(step_size=0.3, epsilon=0.1, lambda_=0.8)

    def run(key: jax.Array) -> jax.Array:
        init_key, key, evaluate_key = jax.random.split(key, 3)
        state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), key)
        return algorithm.spec.evaluate(hypers, state, evaluate_key, 1).lengths[0]

    lengths = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(KEY, 8)))
    assert lengths.min() == np.median(lengths) == 15


def test_bad_settings_are_refused():
    """An unknown trace, and dutch traces off policy, which are exact for nothing."""
    with pytest.raises(ValueError, match="choose one of accumulating, replacing, dutch"):
        traces("none")
    with pytest.raises(ValueError, match="exact on policy alone"):
        traces("dutch", on_policy=False)
