"""TD(0) and n-step TD: expectations by enumeration, and the textbook's delayed loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.episodes import Episode, make_episode
from purerl.algorithms.tabular.monte_carlo_prediction import monte_carlo
from purerl.algorithms.tabular.prediction import begin, learn
from purerl.algorithms.tabular.td import n_step_td, td
from purerl.mdp import advantage, expectation_backup, lookahead, state_value
from tests.oracles import mdp as enumeration
from tests.oracles import prediction as oracle
from tests.support.tabular_episodes import (
    GAMMA,
    GUESS,
    MAX_STEPS,
    NUM_ACTIONS,
    NUM_STATES,
    POLICY,
    THREE,
    by_start,
    ended,
    enumerated,
    process,
    sampled,
    targets,
    through_oracle,
)


@pytest.mark.covers("td0")
def test_expected_td_update_is_the_bellman_error(x64):
    """Over all steps s, a, s' with their probabilities the update of TD(0) is alpha d(s) (T_pi V - V)(s), and nothing
    at V_pi, where the error's mean given s is 0, and given s and a the advantage."""
    mdp, step_size = process(), 0.25
    d = np.random.default_rng(4).dirichlet(np.ones(NUM_STATES - 1))
    index = np.array(list(np.ndindex(NUM_STATES - 1, NUM_ACTIONS, NUM_STATES))).T
    s, a, after = index
    reward = mdp.reward[s, a, after]
    steps = jax.vmap(Episode)(
        jnp.stack([s, after], axis=1), a[:, None], reward[:, None], jnp.ones(len(s), int), mdp.terminal[after]
    )

    def change(value):
        update = jax.vmap(lambda episode: td(begin(value), episode, GAMMA, step_size=step_size).value - value)
        return np.asarray(update(steps))  # [K, S]

    probability = np.asarray(mdp.transition[s, a, after])
    exact = state_value(mdp, POLICY)
    mean = (d[s] * POLICY[s, a] * probability) @ change(jnp.asarray(GUESS))
    want = step_size * (expectation_backup(mdp, POLICY, jnp.asarray(GUESS)) - GUESS)
    np.testing.assert_allclose(mean[:-1], d * want[:-1], atol=1e-12)
    np.testing.assert_allclose((d[s] * POLICY[s, a] * probability) @ change(exact), 0, atol=1e-12)

    error = change(exact)[np.arange(len(s)), s] / step_size
    given_pair = np.zeros((NUM_STATES - 1, NUM_ACTIONS))
    np.add.at(given_pair, (s, a), probability * error)
    exact_advantage = advantage(POLICY, lookahead(mdp, exact))
    np.testing.assert_allclose(given_pair, exact_advantage[:-1], atol=1e-12)
    np.testing.assert_allclose((POLICY[:-1] * given_pair).sum(-1), 0, atol=1e-12)


@pytest.mark.covers("nstep-td", "td0")
def test_n_step_td_equals_the_delayed_loop(x64):
    """On 24 episodes, some truncated, for n from 1 to far beyond the end in one program: the textbook's loop, which
    updates n - 1 steps late; n = 1 is TD(0), n beyond the end Monte Carlo with the same constant step."""
    episodes, ns, step_size = sampled(), np.array([1, 2, 3, 7, 100]), 0.3

    def after(n):
        return learn(lambda v, e: n_step_td(v, e, GAMMA, n, step_size=step_size), begin(GUESS), episodes)[0].value

    got = jax.vmap(after)(jnp.asarray(ns))
    for n, value in zip(ns, got, strict=True):
        want = through_oracle(episodes, lambda v, e, n=n: oracle.n_step_td(v, e, GAMMA, n, step_size))
        np.testing.assert_allclose(value, want, atol=1e-12)
    by_td = learn(lambda v, e: td(v, e, GAMMA, step_size=step_size), begin(GUESS), episodes)[0]
    np.testing.assert_allclose(got[0], by_td.value, atol=1e-12)
    # Monte Carlo bootstraps a cut episode from the value before it, n-step TD from the newest one.
    whole = ended(24)
    far = learn(lambda v, e: n_step_td(v, e, GAMMA, MAX_STEPS, step_size=step_size), begin(GUESS), whole)[0]
    constant = learn(lambda v, e: monte_carlo(v, e, GAMMA, step_size=step_size, decay=0.0), begin(GUESS), whole)[0]
    np.testing.assert_allclose(far.value, constant.value, atol=1e-12)


@pytest.mark.covers("nstep-td")
def test_n_step_targets_have_the_error_reduction_property(x64):
    """The mean n-step target, by enumeration, misses V_pi by at most gamma^n times what V does, for n = 1, 2, 3."""
    mdp, episodes, probability = enumerated(THREE)
    exact = enumeration.values(mdp, THREE).state
    transition, mean = enumeration.state_transition(mdp, THREE), (THREE * mdp.reward).sum(-1)
    guesses, ns = 10 * np.random.default_rng(7).normal(size=(4, 3)), (1, 2, 3)

    def moved(guess, n):
        return targets(lambda v, e: n_step_td(v, e, mdp.gamma, n, step_size=1.0), guess, episodes)

    got = jax.vmap(jax.vmap(moved, (None, 0)), (0, None))(jnp.asarray(guesses), jnp.array(ns))
    for i, guess in enumerate(guesses):
        want = guess
        for n, target in zip(ns, np.asarray(got[i]), strict=True):
            want = mean + mdp.gamma * transition @ want
            reached = by_start(mdp, episodes, probability, target)
            np.testing.assert_allclose(reached, want, atol=1e-12)
            assert np.abs(reached - exact).max() <= mdp.gamma**n * np.abs(guess - exact).max() + 1e-12


@pytest.mark.covers("td0", "mc")
def test_variance_of_td_and_monte_carlo_targets(x64):
    """By enumeration: Var(G) is the sum of its discounted covariances; with V = V_pi targets of fewer steps vary less;
    with V = +-100 and no rewards TD's variance is 10^4 and Monte Carlo's 0, so less is no theorem."""
    mdp, episodes, probability = enumerated(THREE)
    exact = enumeration.values(mdp, THREE).state
    first = np.asarray(episodes.state[:, 0]) == 0
    weight = probability[first] / mdp.start[0]

    def variance(x):
        return weight @ np.square(x - weight @ np.asarray(x))

    def of_target(n, value):
        return variance(targets(lambda v, e: n_step_td(v, e, mdp.gamma, n, step_size=1.0), value, episodes)[first])

    rewards = np.asarray(episodes.reward)[first] - weight @ np.asarray(episodes.reward)[first]
    covariance = np.einsum("i,ij,ik->jk", weight, rewards, rewards)
    discount = mdp.gamma ** np.arange(3)
    np.testing.assert_allclose(of_target(3, np.zeros(3)), discount @ covariance @ discount, atol=1e-12)
    assert of_target(1, exact) < of_target(2, exact) < of_target(3, exact)

    ends = [make_episode([0, s, 3], [0.0, 0.0]) for s in (1, 2)]  # either with probability 1/2
    start = begin([0.0, 100.0, -100.0, 0.0])
    by_td = [td(start, episode, 1.0, step_size=1.0).value[0] for episode in ends]
    by_mc = [monte_carlo(start, episode, 1.0).value[0] for episode in ends]
    assert (np.var(by_td), np.var(by_mc)) == (1e4, 0.0)
