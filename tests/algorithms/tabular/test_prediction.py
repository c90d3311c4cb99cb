"""Prediction as a whole: limits of batches, convergence to the linear solve, vmapped runs, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.episodes import Episode, importance_ratios, make_episode, sample_episodes
from purerl.algorithms.tabular.monte_carlo_prediction import monte_carlo
from purerl.algorithms.tabular.off_policy_prediction import (
    off_policy_monte_carlo,
    off_policy_n_step_td,
)
from purerl.algorithms.tabular.prediction import StateValues, begin, learn
from purerl.algorithms.tabular.td import n_step_td, td
from purerl.algorithms.tabular.td_lambda import lambda_return, td_lambda
from purerl.mdp import state_value
from tests.oracles import prediction as oracle
from tests.support.tabular_episodes import (
    GAMMA,
    GUESS,
    NUM_STATES,
    OTHER,
    POLICY,
    as_lists,
    ended,
    process,
    sampled,
)


def batch_limit(update, num_states: int, episodes: Episode) -> np.ndarray:
    """Limit of going through all episodes again and again, the values held while what each changes is summed.

    The sum is affine in the values, ``A v + b``, so the limit solves ``A v = -b`` over the states that change; it is
    reached where ``I + A`` contracts.
    """

    def change(value):
        return jax.vmap(lambda episode: update(begin(value), episode).value - value)(episodes).sum(0)

    zeros = jnp.zeros(num_states)
    b, a = np.asarray(change(zeros)), np.asarray(jax.jacfwd(change)(zeros))
    changes = np.abs(a).sum(1) > 0
    a = a[np.ix_(changes, changes)]
    assert np.abs(np.linalg.eigvals(np.eye(len(a)) + a)).max() < 1
    limit = np.zeros(num_states)
    limit[changes] = np.linalg.solve(a, -b[changes])
    return limit


@pytest.mark.covers("td0", "mc")
def test_batch_td_is_certainty_equivalence(x64):
    """Repeated to the limit, TD(0) gives the values of the likeliest process, by a linear solve, and Monte Carlo the
    mean returns. One visit of A that went to B, and six of eight episodes from B with reward 1: 3/4 and 0 for A."""
    few = [make_episode([0, 1, 2], [0.0, 0.0])] + [make_episode([1, 2], [1.0], max_steps=2)] * 6
    few = [*few, make_episode([1, 2], [0.0], max_steps=2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *few)
    for episodes, gamma, num_states in ((stacked, 1.0, 3), (ended(40), GAMMA, NUM_STATES)):
        lists = as_lists(episodes)
        by_td, by_mc = (
            batch_limit(update, num_states, episodes)
            for update in (
                lambda v, e, g=gamma: td_lambda(v, e, g, 0.0, step_size=0.01, frozen=True),
                lambda v, e, g=gamma: lambda_return(v, e, g, 1.0, step_size=0.01, frozen=True),
            )
        )
        likeliest = oracle.certainty_equivalence(lists, gamma, num_states)
        means = [np.mean(g) for g in oracle.returns_of_visits(lists, gamma, np.zeros(num_states), False)[:-1]]
        np.testing.assert_allclose(by_td[:-1], likeliest[:-1], atol=1e-8)
        np.testing.assert_allclose(by_mc[:-1], means, atol=1e-8)
        if num_states == 3:
            np.testing.assert_allclose((by_td[:2], by_mc[:2]), [(0.75, 0.75), (0.0, 0.75)], atol=1e-8)


@pytest.mark.deep
@pytest.mark.covers("mc", "td0", "nstep-td", "td-lambda", "nstep-is")
def test_methods_converge_to_the_linear_solve():
    """Runs of 1000 episodes on a random process, steps 1/N or 1/N^0.8: each learner's mean over 48 runs is within 5
    standard errors and 0.02 of V_pi, and its error is a tenth of the first guess's; the same off policy."""
    mdp, num_runs = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), process()), 48  # in single precision
    by = {"step_size": 1.0, "decay": 0.8}
    on_policy = {
        "first visit": lambda v, e: monte_carlo(v, e, GAMMA, first_visit=True),
        "every visit": lambda v, e: monte_carlo(v, e, GAMMA),
        "TD(0)": lambda v, e: td(v, e, GAMMA, **by),
        "3 steps": lambda v, e: n_step_td(v, e, GAMMA, 3, **by),
        "accumulating": lambda v, e: td_lambda(v, e, GAMMA, 0.7, **by),
        "dutch": lambda v, e: td_lambda(v, e, GAMMA, 0.7, trace="dutch", **by),
    }

    def of_other(episode):
        return importance_ratios(episode, jnp.asarray(POLICY), jnp.asarray(OTHER))

    off_policy = {
        "ordinary": lambda v, e: off_policy_monte_carlo(v, e, of_other(e), GAMMA, weighting="ordinary"),
        "weighted": lambda v, e: off_policy_monte_carlo(v, e, of_other(e), GAMMA),
        "2 steps, off policy": lambda v, e: off_policy_n_step_td(v, e, of_other(e), GAMMA, 2, **by),
    }

    @jax.jit
    @jax.vmap
    def run(key):
        found = {}
        for learners, policy in ((on_policy, POLICY), (off_policy, OTHER)):
            episodes = sample_episodes(mdp, jnp.asarray(policy), key, 1000, 60)
            for name, update in learners.items():
                found[name] = learn(update, begin(np.zeros(NUM_STATES)), episodes)[0].value[:-1]
        return found

    exact = np.asarray(state_value(mdp, jnp.asarray(POLICY)))[:-1]
    for name, value in run(jax.random.split(jax.random.key(1), num_runs)).items():
        error = np.std(value, axis=0) / np.sqrt(num_runs)
        assert (np.abs(np.mean(value, axis=0) - exact) < 5 * error + 0.02).all(), name
        assert np.sqrt(np.mean(np.square(value - exact))) < 0.2 * np.sqrt(np.mean(np.square(exact))), name


def test_vmapped_runs_equal_lone_ones(x64):
    """Three runs x two step sizes x two lambdas in one program equal each lone call."""
    runs = jax.tree.map(lambda x: x.reshape(3, 8, *x.shape[1:]), sampled())

    def learnt(episodes, step_size, lambda_):
        return learn(lambda v, e: td_lambda(v, e, GAMMA, lambda_, step_size=step_size), begin(GUESS), episodes)[0]

    sizes, lambdas = jnp.array([0.1, 0.3]), jnp.array([0.2, 0.8])
    swept = jax.vmap(jax.vmap(jax.vmap(learnt, (None, None, 0)), (None, 0, None)), (0, None, None))
    together = swept(runs, sizes, lambdas)
    alone = learnt(jax.tree.map(lambda x: x[1], runs), 0.3, 0.2)
    assert isinstance(together, StateValues)
    np.testing.assert_allclose(together.value[1, 1, 0], alone.value, rtol=1e-12)
    np.testing.assert_array_equal(together.count[1, 1, 0], alone.count)


EPISODE = make_episode([0, 4], [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td(begin(GUESS), EPISODE, 1.1), r"gamma=1.1 must be in \[0, 1\]"),
        (lambda: td(begin(GUESS), EPISODE, 0.9, step_size=2.0), r"n_step_td: step_size=2.0 must be in \[0, 1\]"),
        (lambda: monte_carlo(begin(GUESS), EPISODE, 0.9, decay=np.nan), r"decay=nan must be in \[0, 1\]"),
        (lambda: n_step_td(begin(GUESS), EPISODE, 0.9, 0), "n=0 must be at least 1"),
        (lambda: lambda_return(begin(GUESS), EPISODE, 0.9, -0.1), r"lambda_=-0.1 must be in \[0, 1\]"),
        (lambda: td_lambda(begin(GUESS), EPISODE, 0.9, 0.5, trace="dutsch"), "trace='dutsch'; choose one of accumul"),
        (lambda: td_lambda(begin(GUESS), EPISODE, 0.9, 0.5, trace="dutch", frozen=True), "use frozen=False"),
        (lambda: off_policy_monte_carlo(begin(GUESS), EPISODE, [1.0], 0.9, weighting="w"), "weighting='w'; choose"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    """What is wrong is named, with what was expected, before anything is computed."""
    with pytest.raises(ValueError, match=message):
        call()
