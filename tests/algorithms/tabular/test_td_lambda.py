"""Lambda-returns and TD(lambda): forward and backward view, all traces, on line and off line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.episodes import Episode
from purerl.algorithms.tabular.monte_carlo_prediction import monte_carlo
from purerl.algorithms.tabular.prediction import begin, learn
from purerl.algorithms.tabular.td import td
from purerl.algorithms.tabular.td_lambda import lambda_return, td_lambda
from tests.oracles import prediction as oracle
from tests.support.tabular_episodes import (
    GAMMA,
    GUESS,
    THREE,
    enumerated,
    sampled,
    targets,
    through_oracle,
)


@pytest.mark.covers("lambda-return")
def test_lambda_return_lies_between_td_and_monte_carlo(x64):
    """Off line on 24 episodes against loops over all n-step returns; lambda = 1 is Monte Carlo; in episodes that never
    come back lambda = 0 is TD(0), and without rewards a target is V itself: its weights sum to 1."""
    episodes, step_size, lambdas = sampled(), 0.3, np.array([0.0, 0.4, 0.9, 1.0])

    def after(lambda_):
        return learn(lambda v, e: lambda_return(v, e, GAMMA, lambda_, step_size=step_size), begin(GUESS), episodes)[0]

    got = jax.vmap(after)(jnp.asarray(lambdas)).value
    for lambda_, value in zip(lambdas, got, strict=True):
        want = through_oracle(episodes, lambda v, e, x=lambda_: oracle.lambda_return(v, e, GAMMA, x, step_size))
        np.testing.assert_allclose(value, want, atol=1e-12)
    constant = learn(lambda v, e: monte_carlo(v, e, GAMMA, step_size=step_size, decay=0.0), begin(GUESS), episodes)[0]
    np.testing.assert_allclose(got[-1], constant.value, atol=1e-12)

    mdp, paths, _ = enumerated(THREE)
    guess = np.array([1.0, -2.0, 0.5])
    by_lambda = targets(lambda v, e: lambda_return(v, e, mdp.gamma, 0.0, step_size=1.0), guess, paths)
    np.testing.assert_allclose(by_lambda, targets(lambda v, e: td(v, e, mdp.gamma, step_size=1.0), guess, paths))
    nothing = paths.replace(reward=jnp.zeros_like(paths.reward))
    for lambda_ in (0.0, 0.7, 1.0):
        got = targets(lambda v, e, x=lambda_: lambda_return(v, e, 1.0, x, step_size=1.0), np.full(3, 5.0), nothing)
        np.testing.assert_allclose(got, 5.0, rtol=1e-12)


@pytest.mark.covers("td-lambda")
def test_accumulating_trace_in_closed_form(x64):
    """A reward at step j alone, all values 0 and frozen: V becomes alpha e_j with e_j(s) = sum over i <= j of
    (gamma lambda)^(j-i) where S_i = s; the first state has its credit from the first step on."""
    state = np.array([0, 1, 0, 2, 0, 1, 1])
    step_size, lambda_ = 0.2, 0.7

    def after(reward):
        episode = Episode(jnp.asarray(state), jnp.zeros(6, int), reward, jnp.array(6), jnp.array(False))
        return td_lambda(begin(np.zeros(3)), episode, GAMMA, lambda_, step_size=step_size, frozen=True).value

    got = jax.vmap(after)(jnp.eye(6))
    for j, value in enumerate(got):
        trace = [sum((GAMMA * lambda_) ** (j - i) for i in range(j + 1) if state[i] == s) for s in range(3)]
        np.testing.assert_allclose(value, step_size * np.array(trace), atol=1e-12)
    assert got[0, 0] == step_size


@pytest.mark.covers("td-lambda", "lambda-return")
def test_forward_and_backward_views(x64):
    """With frozen values both views change the values alike, for constant and for falling steps, to 1e-12; on line
    they differ, by a term of second order: half the step, a quarter of the gap."""
    episodes = sampled()
    by = {"step_size": 0.3}

    def gaps(decay):
        def change(lambda_):
            forward = learn(
                lambda v, e: lambda_return(v, e, GAMMA, lambda_, **by, decay=decay, frozen=True), begin(GUESS), episodes
            )
            backward = learn(
                lambda v, e: td_lambda(v, e, GAMMA, lambda_, **by, decay=decay, frozen=True), begin(GUESS), episodes
            )
            return forward[1] - backward[1]

        return jax.vmap(change)(jnp.array([0.0, 0.5, 0.9, 1.0]))

    np.testing.assert_allclose(jax.vmap(gaps)(jnp.array([0.0, 0.7])), 0.0, atol=1e-12)

    longest = jax.tree.map(lambda x: x[np.argmax(episodes.length)], episodes)

    def gap(step_size):
        forward = lambda_return(begin(GUESS), longest, GAMMA, 0.9, step_size=step_size, frozen=True)
        backward = td_lambda(begin(GUESS), longest, GAMMA, 0.9, step_size=step_size)
        return jnp.abs(forward.value - backward.value).max()

    coarse, fine = jax.vmap(gap)(jnp.array([1e-3, 5e-4]))
    assert coarse > 1e-7
    np.testing.assert_allclose(coarse / fine, 4.0, rtol=0.02)


@pytest.mark.covers("td-lambda")
@pytest.mark.parametrize("trace", ["accumulating", "replacing", "dutch"])
def test_online_traces_are_the_loop(x64, trace):
    """On 24 episodes, lambda 0 to 1: accumulating and replacing traces against the textbook's loop; dutch traces equal
    the on-line lambda-return algorithm, which begins anew at every step, to 1e-12; at lambda = 0 all are TD(0)."""
    episodes, step_size, lambdas = sampled(), 0.3, np.array([0.0, 0.5, 0.9, 1.0])

    def after(lambda_):
        def update(values, episode):
            return td_lambda(values, episode, GAMMA, lambda_, trace=trace, step_size=step_size)

        return learn(update, begin(GUESS), episodes)[0].value

    def theirs(lambda_):
        if trace == "dutch":
            return lambda v, e: oracle.online_lambda_return(v, e, GAMMA, lambda_, step_size)
        return lambda v, e: oracle.td_lambda(v, e, GAMMA, lambda_, step_size, trace == "replacing")

    got = jax.vmap(after)(jnp.asarray(lambdas))
    for lambda_, value in zip(lambdas, got, strict=True):
        np.testing.assert_allclose(value, through_oracle(episodes, theirs(lambda_)), atol=1e-12)
    by_td = learn(lambda v, e: td(v, e, GAMMA, step_size=step_size), begin(GUESS), episodes)[0]
    np.testing.assert_allclose(got[0], by_td.value, atol=1e-12)
