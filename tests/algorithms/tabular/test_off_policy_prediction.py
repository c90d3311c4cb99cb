"""Off-policy prediction: importance sampling by enumeration, its consistency, and plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.algorithms.tabular.episodes import Episode, importance_ratios
from purerl.algorithms.tabular.monte_carlo_prediction import monte_carlo
from purerl.algorithms.tabular.off_policy_prediction import (
    ahead_value,
    begin_ahead,
    off_policy_monte_carlo,
    off_policy_n_step_td,
    weighted_per_decision,
)
from purerl.algorithms.tabular.prediction import begin, learn
from purerl.algorithms.tabular.td import n_step_td
from tests.oracles import mdp as enumeration
from tests.oracles import prediction as oracle
from tests.support.tabular_episodes import (
    GAMMA,
    GUESS,
    NUM_STATES,
    OTHER,
    POLICY,
    THREE,
    THREE_OTHER,
    as_lists,
    by_start,
    ended,
    enumerated,
    layered_ratios,
    sampled,
    targets,
)


@pytest.mark.covers("mc", "nstep-is")
def test_importance_sampling_by_enumeration(x64):
    """Over all episodes of the behaviour policy: ordinary and per-decision weights have the target policy's value as
    their mean; the weighted estimate of a single episode has the behaviour policy's."""
    mdp, episodes, probability = enumerated(THREE_OTHER)
    value = {name: enumeration.finite_values(mdp, p, 3).state[0] for name, p in (("pi", THREE), ("mu", THREE_OTHER))}
    assert np.abs(value["pi"] - value["mu"]).max() > 0.1
    for weighting, want in (("ordinary", "pi"), ("per-decision", "pi"), ("weighted", "mu")):

        def update(values, episode, weighting=weighting):
            ratio = layered_ratios(episode, THREE, THREE_OTHER)
            return off_policy_monte_carlo(values, episode, ratio, mdp.gamma, weighting=weighting)

        mean = by_start(mdp, episodes, probability, targets(update, np.zeros(3), episodes))
        np.testing.assert_allclose(mean, value[want], atol=1e-12, err_msg=weighting)


@pytest.mark.covers("mc")
def test_weighted_importance_sampling_is_consistent(x64):
    """One decision between two arms, all outcomes of 1, 8 and 64 episodes by their binomial probability: the
    ordinary estimate has no bias, the weighted ones, by episode and by decision, one that falls about as 1/m."""
    pi, mu, reward = np.array([0.6, 0.4]), np.array([0.3, 0.7]), np.array([1.0, -1.0])
    bias = []
    for m in (1, 8, 64):
        pulls = np.arange(m + 1)  # of the first arm; their order does not matter
        arms = (np.arange(m) >= pulls[:, None]).astype(int)

        def estimates(arms):
            def step(carry, arm):
                ordinary, weighted, ahead = carry
                episode = Episode(jnp.array([0, 1]), arm[None], jnp.asarray(reward)[arm][None], 1, jnp.array(True))
                ratio = jnp.asarray(pi / mu)[episode.action]
                ordinary = off_policy_monte_carlo(ordinary, episode, ratio, 1.0, weighting="ordinary")
                weighted = off_policy_monte_carlo(weighted, episode, ratio, 1.0, weighting="weighted")
                return (ordinary, weighted, weighted_per_decision(ahead, episode, ratio)), None

            start = (begin(np.zeros(2)), begin(np.zeros(2)), begin_ahead(2, 1))
            ordinary, weighted, ahead = jax.lax.scan(step, start, arms)[0]
            return jnp.array([ordinary.value[0], weighted.value[0], ahead_value(ahead, 1.0)[0]])

        probability = scipy.stats.binom.pmf(pulls, m, mu[0])
        bias.append(probability @ jax.vmap(estimates)(jnp.asarray(arms)) - pi @ reward)
    ordinary, weighted, per_decision = np.abs(bias).T
    np.testing.assert_allclose(ordinary, 0, atol=1e-12)
    np.testing.assert_allclose(weighted[0], abs((mu - pi) @ reward), atol=1e-12)
    assert weighted[1] < weighted[0] / 4
    assert weighted[2] < weighted[1] / 4
    np.testing.assert_allclose(per_decision, weighted, atol=1e-12)


@pytest.mark.covers("mc", "nstep-is")
def test_off_policy_estimates_are_weighted_means(x64):
    """Every-visit estimates of episodes of another policy against plain sums over all visits, all four kinds; with
    ratios 1 each is the on-policy mean."""
    episodes = ended(40)
    longest = episodes.reward.shape[1]
    ratio = jax.vmap(lambda e: importance_ratios(e, jnp.asarray(OTHER), jnp.asarray(POLICY)))(episodes)
    lists = as_lists(episodes)

    def estimates(ratio):
        def step(carry, what):
            *by_episode, ahead = carry
            episode, ratio = what
            by_episode = [
                off_policy_monte_carlo(v, episode, ratio, GAMMA, weighting=w)
                for v, w in zip(by_episode, ("ordinary", "per-decision", "weighted"), strict=True)
            ]
            return (*by_episode, weighted_per_decision(ahead, episode, ratio)), None

        start = (*(begin(GUESS) for _ in range(3)), begin_ahead(NUM_STATES, longest))
        *by_episode, ahead = jax.lax.scan(step, start, (episodes, ratio))[0]
        return [*(v.value for v in by_episode), ahead_value(ahead, GAMMA)]

    alone = jax.jit(estimates)
    kinds = ("ordinary", "per-decision", "weighted", "weighted per decision")
    cut = [np.asarray(r)[: len(e[1])] for r, e in zip(ratio, lists, strict=True)]
    want = oracle.off_policy_means(lists, cut, GAMMA, NUM_STATES, longest)
    for kind, got in zip(kinds, alone(ratio), strict=True):
        np.testing.assert_allclose(got[:-1], want[kind][:-1], rtol=1e-10, err_msg=kind)
    on_policy = learn(lambda v, e: monte_carlo(v, e, GAMMA), begin(GUESS), episodes)[0]
    for kind, got in zip(kinds, alone(jnp.ones_like(ratio)), strict=True):
        np.testing.assert_allclose(got[:-1], on_policy.value[:-1], rtol=1e-10, err_msg=kind)


@pytest.mark.covers("nstep-is")
def test_off_policy_n_step_td_has_the_target_policys_mean_update(x64):
    """By enumeration of the behaviour policy's episodes the mean update is that of the target policy's n-step TD, for
    n = 1, 2, 3; with ratios 1 it is n-step TD; a ratio of 0 stops what came before it."""
    guess, step_size = np.array([1.0, -2.0, 0.5]), 0.5
    for n in (1, 2, 3):
        means = []
        for behaviour in (THREE, THREE_OTHER):
            mdp, episodes, probability = enumerated(behaviour)

            def update(values, episode, n=n, behaviour=behaviour, gamma=mdp.gamma):
                ratio = layered_ratios(episode, THREE, behaviour)
                return off_policy_n_step_td(values, episode, ratio, gamma, n, step_size=step_size)

            means.append(by_start(mdp, episodes, probability, targets(update, guess, episodes)))
        np.testing.assert_allclose(means[0], means[1], atol=1e-12)

    episode = jax.tree.map(lambda x: x[0], sampled())
    plain = n_step_td(begin(GUESS), episode, GAMMA, 3)
    np.testing.assert_allclose(off_policy_n_step_td(begin(GUESS), episode, jnp.ones(12), GAMMA, 3).value, plain.value)
    never = off_policy_n_step_td(begin(GUESS), episode, jnp.zeros(12), GAMMA, 3, step_size=1.0, decay=1.0)
    np.testing.assert_array_equal(never.value, GUESS)
