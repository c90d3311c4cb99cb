"""Prediction: identities on episodes that come back to their states, expectations by enumeration, the textbook's loops
in float64, and convergence to the linear solve."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl import mdp as kernel
from purerl.algorithms.tabular.prediction import (
    Episode,
    StateValues,
    ahead_value,
    begin,
    begin_ahead,
    lambda_return,
    learn,
    monte_carlo,
    n_step_td,
    off_policy_monte_carlo,
    off_policy_n_step_td,
    play,
    ratios,
    recorded,
    td,
    td_lambda,
    weighted_per_decision,
)
from tests.oracles import mdp as enumeration
from tests.oracles import prediction as oracle

NUM_STATES, NUM_ACTIONS, MAX_STEPS, GAMMA = 5, 2, 12, 0.9
GUESS = np.array([0.5, -1.0, 2.0, 0.3, 0.0])
POLICY, OTHER = (np.random.default_rng(seed).dirichlet(np.ones(NUM_ACTIONS) * 3, NUM_STATES) for seed in (1, 2))


@functools.cache
def process() -> kernel.MDP:
    """Five states, the last an end."""
    with jax.enable_x64(True):
        return kernel.random_mdp(jax.random.key(3), NUM_STATES, NUM_ACTIONS, gamma=GAMMA, branching=3, num_terminal=1)


@functools.cache
def played(num_episodes: int = 24, max_steps: int = MAX_STEPS) -> Episode:
    """Episodes of the policy in double precision, some of them cut off."""
    with jax.enable_x64(True):
        return play(process(), jnp.asarray(POLICY), jax.random.key(0), num_episodes, max_steps)


def ended(num_episodes: int) -> Episode:
    """Those of so many that terminated."""
    episodes = played(num_episodes)
    return jax.tree.map(lambda x: x[np.flatnonzero(episodes.terminated)], episodes)


def as_lists(episodes: Episode) -> list[tuple]:
    """Episodes for the oracle, without their padding."""
    numpy = jax.tree.map(np.asarray, episodes)
    return [
        (s[: n + 1], r[:n], bool(end))
        for s, r, n, end in zip(numpy.state, numpy.reward, numpy.length, numpy.terminated, strict=True)
    ]


def through_oracle(episodes: Episode, update) -> np.ndarray:
    """The oracle's values after all episodes."""
    value = GUESS.copy()
    for episode in as_lists(episodes):
        value = update(value, episode)
    return value


# --- episodes ---------------------------------------------------------------------------------------------


@pytest.mark.covers("mdp")
def test_episodes_follow_the_process(x64):
    """Steps of 4000 episodes occur as often as the law says, within 5 standard deviations, earn what it says, and stop
    at the end state or at the limit."""
    mdp, episodes = process(), jax.tree.map(np.asarray, played(4000))
    before, after = episodes.state[:, :-1], episodes.state[:, 1:]
    valid = np.arange(MAX_STEPS) < episodes.length[:, None]
    np.testing.assert_array_equal(episodes.reward, mdp.reward[before, episodes.action, after])
    np.testing.assert_array_equal(valid, before != NUM_STATES - 1)
    np.testing.assert_array_equal(episodes.terminated, episodes.state[:, -1] == NUM_STATES - 1)
    assert (episodes.length[~episodes.terminated] == MAX_STEPS).all()
    assert 0.01 < (~episodes.terminated).mean() < 0.9

    count = np.zeros((NUM_STATES, NUM_ACTIONS, NUM_STATES))
    np.add.at(count, (before[valid], episodes.action[valid], after[valid]), 1)
    law = POLICY[:, :, None] * np.asarray(mdp.transition)
    total = count.sum((1, 2), keepdims=True)
    assert (np.abs(count - total * law) <= 5 * np.sqrt(total * law * (1 - law)) + 1e-9).all()
    starts = np.bincount(episodes.state[:, 0], minlength=NUM_STATES) / 4000
    np.testing.assert_allclose(starts, mdp.start, atol=5 * 0.5 / np.sqrt(4000))


@pytest.mark.covers("nstep-is")
def test_ratios(x64):
    """pi / mu of the actions taken, looked up by hand, and 1 beyond the end."""
    episodes = played(8)
    got = jax.vmap(lambda episode: ratios(episode, jnp.asarray(OTHER), jnp.asarray(POLICY)))(episodes)
    for i, (state, reward, _) in enumerate(as_lists(episodes)):
        action, n = np.asarray(episodes.action[i]), len(reward)
        want = [OTHER[s, a] / POLICY[s, a] for s, a in zip(state[:n], action[:n], strict=True)]
        np.testing.assert_allclose(got[i], want + [1.0] * (MAX_STEPS - n), rtol=1e-12)


# --- Monte Carlo ------------------------------------------------------------------------------------------


@pytest.mark.covers("mc")
@pytest.mark.parametrize("first_visit", [True, False], ids=["first", "every"])
def test_monte_carlo_is_the_mean_of_returns(x64, first_visit):
    """Steps 1/N reproduce NumPy's mean of all returns seen, whatever the values were before; a state that is never met
    keeps its guess."""
    episodes = ended(40)  # the return of one that is cut off counts the value of its day
    values, history = learn(lambda v, e: monte_carlo(v, e, GAMMA, first_visit=first_visit), begin(GUESS), episodes)
    lists = oracle.returns_of_visits(as_lists(episodes), GAMMA, GUESS, first_visit)
    assert min(map(len, lists[:-1])) > 3
    np.testing.assert_allclose(values.value[:-1], [np.mean(g) for g in lists[:-1]], atol=1e-12)
    np.testing.assert_array_equal(values.count, list(map(len, lists)))
    assert values.value[-1] == GUESS[-1]
    np.testing.assert_array_equal(history[-1], values.value)
    assert history.shape == (len(episodes.length), NUM_STATES)


@pytest.mark.covers("mc")
def test_every_visit_is_biased(x64):
    """One state that is stayed in with probability 1/2 for reward 1, worth 2: one episode's first visit says 2 on
    average, its every visit 1.5, by enumeration of lengths."""
    longest = 60
    lengths = jnp.arange(1, longest + 1)
    steps = jnp.arange(longest)

    def episode(length):
        state = jnp.append(0, (steps + 1 >= length).astype(int))
        return Episode(state, jnp.zeros(longest, int), (steps < length) * 1.0, length, jnp.array(True))

    def estimate(length, first_visit):
        return monte_carlo(begin(jnp.zeros(2)), episode(length), 1.0, first_visit=first_visit).value[0]

    for first_visit, want in ((True, 2.0), (False, 1.5)):
        estimates = jax.vmap(lambda n, first_visit=first_visit: estimate(n, first_visit))(lengths)
        np.testing.assert_allclose(0.5**lengths @ estimates, want, atol=1e-12)


@pytest.mark.covers("mc")
def test_constant_steps_weigh_late_episodes_more(x64):
    """In one-step episodes V = (1-a)^N V_0 + sum_i a (1-a)^(N-i) G_i; and step sizes between, 1/N^0.5, by a loop."""
    reward = np.random.default_rng(0).normal(size=9)
    episodes = jax.vmap(lambda r: Episode(jnp.array([0, 1]), jnp.array([0]), r[None], jnp.array(1), jnp.array(True)))(
        jnp.asarray(reward)
    )

    def learnt(step_size, decay):
        def update(values, episode):
            return monte_carlo(values, episode, 1.0, step_size=step_size, decay=decay)

        return learn(update, begin([3.0, 0.0]), episodes)[0].value[0]

    np.testing.assert_allclose(learnt(0.3, 0.0), 0.7**9 * 3.0 + 0.3 * 0.7 ** np.arange(8, -1, -1) @ reward, atol=1e-12)
    value = 3.0
    for i, r in enumerate(reward):
        value += 0.8 / np.sqrt(i + 1) * (r - value)
    np.testing.assert_allclose(learnt(0.8, 0.5), value, atol=1e-12)


# --- temporal differences ---------------------------------------------------------------------------------


@pytest.mark.covers("td0")
def test_expected_td_update(x64):
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

    law = np.asarray(mdp.transition[s, a, after])
    exact = kernel.state_value(mdp, POLICY)
    mean = (d[s] * POLICY[s, a] * law) @ change(jnp.asarray(GUESS))
    want = step_size * (kernel.expectation_backup(mdp, POLICY, jnp.asarray(GUESS)) - GUESS)
    np.testing.assert_allclose(mean[:-1], d * want[:-1], atol=1e-12)
    np.testing.assert_allclose((d[s] * POLICY[s, a] * law) @ change(exact), 0, atol=1e-12)

    error = change(exact)[np.arange(len(s)), s] / step_size
    given_pair = np.zeros((NUM_STATES - 1, NUM_ACTIONS))
    np.add.at(given_pair, (s, a), law * error)
    advantage = kernel.advantage(POLICY, kernel.lookahead(mdp, exact))
    np.testing.assert_allclose(given_pair, advantage[:-1], atol=1e-12)
    np.testing.assert_allclose((POLICY[:-1] * given_pair).sum(-1), 0, atol=1e-12)


@pytest.mark.covers("nstep-td", "td0")
def test_n_step_td_equals_the_delayed_loop(x64):
    """On 24 episodes, some cut off, for n from 1 to far beyond the end in one program: the textbook's loop, which
    updates n - 1 steps late; n = 1 is TD(0), n beyond the end Monte Carlo with the same constant step."""
    episodes, ns, step_size = played(), np.array([1, 2, 3, 7, 100]), 0.3

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


def enumerated(policy: np.ndarray, horizon: int = 3) -> tuple[enumeration.MDP, Episode, np.ndarray]:
    """All trajectories of a process of three states, as episodes whose states carry the time, so that none comes back:
    state s at step t is ``3 t + s``, and the value of ``s`` is learnt with step 1 from one target."""
    mdp = enumeration.random_mdp(0, num_states=3, num_actions=2)
    paths = enumeration.trajectories(mdp, policy, horizon)
    num_paths = len(paths.probability)
    episodes = Episode(
        jnp.asarray(paths.state.T + 3 * np.arange(horizon + 1)),
        jnp.asarray(paths.action.T),
        jnp.asarray(paths.reward.T),
        jnp.full(num_paths, horizon),
        jnp.zeros(num_paths, bool),
    )
    return mdp, episodes, paths.probability


def targets(update, value: jax.Array, episodes: Episode) -> jax.Array:
    """What each enumerated episode moves the value of its first state to, ``value [3]`` being that of every layer."""
    layers = begin(jnp.tile(value, episodes.state.shape[1]))

    def one(episode):
        return update(layers, episode).value[episode.state[0]]

    return jax.vmap(one)(episodes)


def by_start(mdp: enumeration.MDP, episodes: Episode, probability: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``E[x | s_0]``, ``[3]``."""
    total = np.zeros(3)
    np.add.at(total, np.asarray(episodes.state[:, 0]), probability * np.asarray(x))
    return total / mdp.start


THREE = np.random.default_rng(5).dirichlet(np.ones(2), 3)
THREE_OTHER = np.random.default_rng(6).dirichlet(np.ones(2), 3)


@pytest.mark.covers("nstep-td")
def test_error_reduction(x64):
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
def test_variances_of_targets(x64):
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

    ends = [recorded([0, s, 3], [0.0, 0.0]) for s in (1, 2)]  # either with probability 1/2
    start = begin([0.0, 100.0, -100.0, 0.0])
    by_td = [td(start, episode, 1.0, step_size=1.0).value[0] for episode in ends]
    by_mc = [monte_carlo(start, episode, 1.0).value[0] for episode in ends]
    assert (np.var(by_td), np.var(by_mc)) == (1e4, 0.0)


# --- lambda-returns and traces ----------------------------------------------------------------------------


@pytest.mark.covers("lambda-return")
def test_lambda_return_lies_between(x64):
    """Off line on 24 episodes against loops over all n-step returns; lambda = 1 is Monte Carlo; in episodes that never
    come back lambda = 0 is TD(0), and without rewards a target is V itself: its weights sum to 1."""
    episodes, step_size, lambdas = played(), 0.3, np.array([0.0, 0.4, 0.9, 1.0])

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
    episodes = played()
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
def test_traces_on_line(x64, trace):
    """On 24 episodes, lambda 0 to 1: accumulating and replacing traces against the textbook's loop; dutch traces equal
    the on-line lambda-return algorithm, which begins anew at every step, to 1e-12; at lambda = 0 all are TD(0)."""
    episodes, step_size, lambdas = played(), 0.3, np.array([0.0, 0.5, 0.9, 1.0])

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


# --- off policy -------------------------------------------------------------------------------------------


def layered_ratios(episode: Episode, target: np.ndarray, behaviour: np.ndarray) -> jax.Array:
    """Ratios of an enumerated episode, whose states carry the time."""
    state = episode.state[:-1] % 3
    return jnp.asarray(target)[state, episode.action] / jnp.asarray(behaviour)[state, episode.action]


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
    """One decision between two arms, all outcomes of 1, 8 and 64 episodes weighed by the binomial law: the ordinary
    estimate has no bias, the weighted ones, by episode and by decision, one that falls about as 1/m."""
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

        law = scipy.stats.binom.pmf(pulls, m, mu[0])
        bias.append(law @ jax.vmap(estimates)(jnp.asarray(arms)) - pi @ reward)
    ordinary, weighted, per_decision = np.abs(bias).T
    np.testing.assert_allclose(ordinary, 0, atol=1e-12)
    np.testing.assert_allclose(weighted[0], abs((mu - pi) @ reward), atol=1e-12)
    assert weighted[1] < weighted[0] / 4
    assert weighted[2] < weighted[1] / 4
    np.testing.assert_allclose(per_decision, weighted, atol=1e-12)


@pytest.mark.covers("mc", "nstep-is")
def test_off_policy_means(x64):
    """Every-visit estimates of episodes of another policy against plain sums over all visits, all four kinds; with
    ratios 1 each is the on-policy mean."""
    episodes = ended(40)
    longest = episodes.reward.shape[1]
    ratio = jax.vmap(lambda e: ratios(e, jnp.asarray(OTHER), jnp.asarray(POLICY)))(episodes)
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
def test_off_policy_n_step_td(x64):
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

    episode = jax.tree.map(lambda x: x[0], played())
    plain = n_step_td(begin(GUESS), episode, GAMMA, 3)
    np.testing.assert_allclose(off_policy_n_step_td(begin(GUESS), episode, jnp.ones(12), GAMMA, 3).value, plain.value)
    never = off_policy_n_step_td(begin(GUESS), episode, jnp.zeros(12), GAMMA, 3, step_size=1.0, decay=1.0)
    np.testing.assert_array_equal(never.value, GUESS)


# --- limits -----------------------------------------------------------------------------------------------


def batch(update, value: jax.Array, episodes: Episode, num_sweeps: int) -> jax.Array:
    """All episodes again and again, the values held while what each of them changes is summed."""

    def sweep(_, value):
        return value + jax.vmap(lambda episode: update(begin(value), episode).value - value)(episodes).sum(0)

    return jax.jit(lambda value: jax.lax.fori_loop(0, num_sweeps, sweep, value))(value)


@pytest.mark.covers("td0", "mc")
def test_batches(x64):
    """Repeated to the limit, TD(0) gives the values of the likeliest process, by a linear solve, and Monte Carlo the
    mean returns. One visit of A that went to B, and six of eight episodes from B earning 1: 3/4 and 0 for A."""
    few = [recorded([0, 1, 2], [0.0, 0.0])] + [recorded([1, 2], [1.0], max_steps=2)] * 6
    few = [*few, recorded([1, 2], [0.0], max_steps=2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *few)
    for episodes, gamma, num_states in ((stacked, 1.0, 3), (ended(40), GAMMA, NUM_STATES)):
        value, lists = jnp.zeros(num_states), as_lists(episodes)
        by_td = batch(
            lambda v, e, g=gamma: td_lambda(v, e, g, 0.0, step_size=0.01, frozen=True), value, episodes, 20_000
        )
        by_mc = batch(
            lambda v, e, g=gamma: lambda_return(v, e, g, 1.0, step_size=0.01, frozen=True), value, episodes, 20_000
        )
        likeliest = oracle.certainty_equivalence(lists, gamma, num_states)
        means = [np.mean(g) for g in oracle.returns_of_visits(lists, gamma, np.zeros(num_states), False)[:-1]]
        np.testing.assert_allclose(by_td[:-1], likeliest[:-1], atol=1e-8)
        np.testing.assert_allclose(by_mc[:-1], means, atol=1e-8)
        if num_states == 3:
            np.testing.assert_allclose((by_td[:2], by_mc[:2]), [(0.75, 0.75), (0.0, 0.75)], atol=1e-8)


@pytest.mark.covers("mc", "td0", "nstep-td", "td-lambda", "nstep-is")
def test_learners_converge_to_the_linear_solve():
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
        return ratios(episode, jnp.asarray(POLICY), jnp.asarray(OTHER))

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
            episodes = play(mdp, jnp.asarray(policy), key, 1000, 60)
            for name, update in learners.items():
                found[name] = learn(update, begin(np.zeros(NUM_STATES)), episodes)[0].value[:-1]
        return found

    exact = np.asarray(kernel.state_value(mdp, jnp.asarray(POLICY)))[:-1]
    for name, value in run(jax.random.split(jax.random.key(1), num_runs)).items():
        error = np.std(value, axis=0) / np.sqrt(num_runs)
        assert (np.abs(np.mean(value, axis=0) - exact) < 5 * error + 0.02).all(), name
        assert np.sqrt(np.mean(np.square(value - exact))) < 0.2 * np.sqrt(np.mean(np.square(exact))), name


def test_vmapped_learners_equal_lone_ones(x64):
    """Three runs x two step sizes x two lambdas in one program equal each lone call."""
    runs = jax.tree.map(lambda x: x.reshape(3, 8, *x.shape[1:]), played())

    def learnt(episodes, step_size, lambda_):
        return learn(lambda v, e: td_lambda(v, e, GAMMA, lambda_, step_size=step_size), begin(GUESS), episodes)[0]

    sizes, lambdas = jnp.array([0.1, 0.3]), jnp.array([0.2, 0.8])
    swept = jax.vmap(jax.vmap(jax.vmap(learnt, (None, None, 0)), (None, 0, None)), (0, None, None))
    together = swept(runs, sizes, lambdas)
    alone = learnt(jax.tree.map(lambda x: x[1], runs), 0.3, 0.2)
    assert isinstance(together, StateValues)
    np.testing.assert_allclose(together.value[1, 1, 0], alone.value, rtol=1e-12)
    np.testing.assert_array_equal(together.count[1, 1, 0], alone.count)


# --- bad input --------------------------------------------------------------------------------------------

EPISODE = recorded([0, 4], [1.0])


def of_policy(policy: np.ndarray) -> Episode:
    return play(process(), policy, jax.random.key(0), 1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_policy(np.full((5, 2), 0.75)), r"policy\[0\] = \[0.75, 0.75\]; each row must be a distribution"),
        (lambda: of_policy(POLICY[:3]), r"policy has the shape \(3, 2\); this process needs \[S, A\] = \(5, 2\)"),
        (lambda: played(0), "num_episodes=0 must be at least 1"),
        (lambda: played(max_steps=0), "max_steps=0 must be at least 1"),
        (lambda: recorded([0, 1], [1.0, 2.0]), "2 states, 2 actions and 2 rewards; an episode of N steps has N \\+ 1"),
        (lambda: recorded([0, 1, 2], [1.0, 2.0], max_steps=1), "has 2 steps; max_steps=1 must be at least that"),
        (lambda: td(begin(GUESS), EPISODE, 1.1), r"gamma=1.1 must be in \[0, 1\]"),
        (lambda: td(begin(GUESS), EPISODE, 0.9, step_size=2.0), r"n_step_td: step_size=2.0 must be in \[0, 1\]"),
        (lambda: monte_carlo(begin(GUESS), EPISODE, 0.9, decay=np.nan), r"decay=nan must be in \[0, 1\]"),
        (lambda: n_step_td(begin(GUESS), EPISODE, 0.9, 0), "n=0 must be at least 1"),
        (lambda: lambda_return(begin(GUESS), EPISODE, 0.9, -0.1), r"lambda_=-0.1 must be in \[0, 1\]"),
        (lambda: td_lambda(begin(GUESS), EPISODE, 0.9, 0.5, trace="dutsch"), "trace='dutsch'; choose one of accumul"),
        (lambda: td_lambda(begin(GUESS), EPISODE, 0.9, 0.5, trace="dutch", frozen=True), "use frozen=False"),
        (lambda: off_policy_monte_carlo(begin(GUESS), EPISODE, [1.0], 0.9, weighting="w"), "weighting='w'; choose"),
    ],
    ids=[
        *("rows", "shape", "episodes", "steps", "lengths", "padding", "gamma", "step size", "decay", "n", "lambda"),
        *("trace", "frozen", "weighting"),
    ],
)
def test_bad_input(call, message):
    """What is wrong is named, with what was expected, before anything is computed."""
    with pytest.raises(ValueError, match=message):
        call()
