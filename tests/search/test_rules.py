"""Rules and policies in closed form: visits by hand, apportionment, noise, temperature, and what a search improves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.search import qtransforms, rules
from purerl.search.tree import Node, init_tree, root_of
from tests.oracles import search as oracle
from tests.support import worlds

KEY = jax.random.key(0)


def node(prior, visits, value, raw_value=0.0):
    rows = [jnp.asarray(x, float)[None] for x in (prior, visits, value)]
    return Node(*rows, jnp.asarray([raw_value], float), jnp.asarray(0))


# --- halving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_actions", "expected"),
    [
        (8, [0] * 8 + [1] * 4 + [2] * 4 + [3, 3, 4, 4, 5, 5, 6, 6]),
        (7, [0] * 7 + [1] * 3 + [2] * 3 + [3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]),
        (1, range(24)),
        (0, range(24)),
    ],
    ids=lambda x: str(x) if isinstance(x, int) else "",
)
def test_halving_asks_for_the_published_visits(num_actions, expected):
    """Table of mctx's own tests: which visit count is next among 8, 7 and 1 considered actions."""
    np.testing.assert_array_equal(rules.halving_visits(num_actions, 24), list(expected))


def test_halving_of_a_short_search_ends_in_its_second_round():
    """Table of mctx's own tests: 13 simulations of 8 actions."""
    np.testing.assert_array_equal(rules.halving_visits(8, 13), [0] * 8 + [1] * 4 + [2])


REWARDS, RAW_VALUE = np.asarray([20.0, 3.0, -1.0, 10.0]), -5.0
NUM_PULLS = 17


@jax.jit
def halved_bandit(world, gumbel):
    """The searched tree of the bandit, and its improved policy at the root."""
    sigma = functools.partial(qtransforms.completed_q, value_scale=0.05, visit_offset=60)
    rule, score = rules.improved_policy(sigma), rules.sequential_halving(gumbel, sigma, 4, NUM_PULLS)
    tree = init_tree(worlds.root(world, [0]), rule.prior, NUM_PULLS)
    tree = search.search(world, KEY, tree, worlds.model, rule, NUM_PULLS, root_score=score)
    return tree, jax.nn.softmax(tree.prior[0] + sigma(root_of(tree)))


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [([1, 2], [0, 9, 8, 0]), ([0, 1, 2, 3], [6, 2, 2, 7])],
    ids=["two forbidden", "all allowed"],
)
def test_sequential_halving_of_a_bandit(allowed, expected):
    """Visits of mctx's own test, with its noise; the mixed value and the improved policy by hand."""
    is_allowed = np.isin(range(4), allowed)
    logits = np.where(is_allowed, [0.0, -1.0, 2.0, 3.0], -np.inf)
    gumbel = jnp.asarray([[1.9914981, 0.2056251, -0.24954943, 1.4269422]])
    tree, policy = halved_bandit(worlds.on_device(worlds.one_step(REWARDS[None], logits[None], [RAW_VALUE])), gumbel)
    visits = np.asarray(tree.visits[0, 0])
    np.testing.assert_array_equal(visits, expected)
    weights = np.exp(logits)
    mixed = (RAW_VALUE + NUM_PULLS * np.average(REWARDS, weights=weights)) / (NUM_PULLS + 1)
    q = np.where(visits > 0, REWARDS, mixed)
    target = weights * np.exp((60 + visits.max()) * 0.05 * (q - q.min()) / np.ptp(q))
    np.testing.assert_allclose(policy[0], target / target.sum(), rtol=1e-4)


def test_values_are_completed_by_the_mixed_value():
    """By hand: what an untried action counts, by the mixed value and by the model's own, also on the scale 0 to 1."""
    half, rest = np.log(0.5), np.log(0.25)
    now = node([half, rest, rest], [3, 1, 0], [1.0, -2.0, 0.0], raw_value=0.5)
    mixed = (0.5 + 4 * (0.5 * 1.0 + 0.25 * -2.0) / 0.75) / 5
    for settings, missing in (({}, mixed), ({"mixed": False}, 0.5)):
        plain = qtransforms.completed_q(now, value_scale=0.1, visit_offset=7, rescale=False, **settings)
        np.testing.assert_allclose(plain[0], (7 + 3) * 0.1 * np.asarray([1.0, -2.0, missing]), rtol=1e-6)
    np.testing.assert_allclose(
        qtransforms.completed_q(now, 1.0, 0)[0], 3 * np.asarray([1, 0, (mixed + 2) / 3]), rtol=1e-6
    )
    untouched = node([half, rest, rest], [0, 0, 0], [0, 0, 0], raw_value=2.0)
    np.testing.assert_allclose(qtransforms.completed_q(untouched, rescale=False)[0], 0.1 * 50 * 2.0 * np.ones(3))


# --- scales and priors ------------------------------------------------------------------------------------


def test_values_on_their_scales():
    """By hand: Q as it is, between known bounds, and between the extremes of a node and its children."""
    now = node([0.2, 0.3, 0.5], [2, 0, 1], [4.0, 0.0, -1.0], raw_value=1.0)  # V = (1 + 8 - 1) / 4 = 2
    np.testing.assert_allclose(qtransforms.identity(now)[0], [4, 0, -1])
    np.testing.assert_allclose(qtransforms.fixed_range(-1.0, 9.0)(now)[0], [0.5, 0, 0])
    np.testing.assert_allclose(qtransforms.min_max(now)[0], [1, 0, 0])
    alone = node([0.2, 0.3, 0.5], [2, 0, 0], [4.0, 0.0, 0.0], raw_value=-5.0)  # V = 1 lies below its only child
    np.testing.assert_allclose(qtransforms.min_max(alone)[0], [1, 0, 0])
    np.testing.assert_allclose(qtransforms.min_max(node([1, 0], [0, 0], [0, 0]))[0], [0, 0])


def test_prior_is_a_softmax_over_allowed_actions():
    """Softmax: huge logits, forbidden ones as -inf and as the lowest number; nothing allowed counts as everything."""
    lowest = float(jnp.finfo(jnp.float32).min)
    logits = jnp.asarray([[1e30, 1e30, -jnp.inf], [0.0, lowest, np.log(3.0)], [-jnp.inf, lowest, -jnp.inf]])
    expected = [[0.5, 0.5, 0], [0.25, 0, 0.75], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(rules.probabilities(logits), expected, rtol=1e-6)
    np.testing.assert_array_equal(rules.probabilities(logits) == 0, np.asarray(expected) == 0)


def test_best_is_the_first_of_the_highest():
    """argmax: ties go to the first, a NaN lets the first go that is not -inf, nothing at all the last."""
    inf, nan = jnp.inf, jnp.nan
    scores = [[1, 3, 3, 2], [-inf, -inf, -5, -inf], [-inf, 1, nan, 2], [-inf, nan, nan, 7], [inf, inf, 0, 1]]
    np.testing.assert_array_equal(rules.masked_argmax(jnp.asarray(scores)), [1, 2, 1, 1, 0])
    random = jax.random.normal(KEY, (50, 9))
    np.testing.assert_array_equal(rules.masked_argmax(random), jnp.argmax(random, -1))


# --- PUCT and UCT at one node -----------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("puct")
def test_without_values_visits_are_apportioned_by_the_prior():
    """Jefferson's method: with Q = 0 PUCT hands out simulations as if seats, each as near as it must be."""
    shares = np.random.default_rng(0).dirichlet(np.ones(6), size=8)
    zeros = np.zeros(shares.shape)
    world = worlds.on_device(worlds.one_step(zeros, np.log(shares), zeros[:, 0]))
    num_simulations = 500
    run = jax.jit(
        lambda world: search.muzero(
            world, KEY, worlds.root(world, np.arange(8)), worlds.model, num_simulations, dirichlet_fraction=0.0
        )
    )
    visits = np.asarray(run(world).tree.visits[0])
    np.testing.assert_array_equal(visits, [oracle.highest_averages(p, num_simulations) for p in shares])
    over = visits - num_simulations * shares  # at least the whole part of its share, so at most one less than the rest
    assert over.min() > -1 and over.max() < shares.shape[1] - 1


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts")
def test_uct_is_the_bandits_rule():
    """UCB1 by hand: each action once, in order, and then the highest bound; Q is each arm's mean."""
    rng = np.random.default_rng(1)
    arms = rng.random(5)
    world = worlds.on_device(worlds.one_step(arms[None], np.zeros((1, 5)), [0.0]))
    run = jax.jit(lambda world: search.uct(world, KEY, worlds.root(world, [0]), worlds.model, 60, exploration=0.5))
    decision = run(world)
    np.testing.assert_array_equal(decision.tree.action[1:6, 0], [0, 1, 2, 3, 4])
    counts = np.ones(5)
    for total in range(5, 60):
        counts[np.argmax(arms + 0.5 * np.sqrt(np.log(total) / counts))] += 1
    np.testing.assert_array_equal(decision.tree.visits[0, 0], counts)
    np.testing.assert_allclose(decision.tree.value[0, 0], arms, rtol=1e-12)
    np.testing.assert_allclose(decision.weights[0], counts / 60)
    assert decision.action[0] == np.argmax(arms)


# --- noise and temperature --------------------------------------------------------------------------------

NUM_COPIES = 4000


@jax.jit
def many_copies(world, key, fraction, alpha, temperature):
    """Eight simulations of the same state, in many trees."""
    root = worlds.root(world, jnp.zeros(NUM_COPIES, jnp.int32))
    settings = {"dirichlet_fraction": fraction, "dirichlet_alpha": alpha, "temperature": temperature}
    return search.muzero(world, key, root, worlds.model, 8, **settings)


SHARES = np.asarray([0.55, 0.0, 0.15, 0.3])


def bandit():
    with np.errstate(divide="ignore"):
        return jax.tree.map(jnp.asarray, worlds.one_step(np.zeros((1, 4)), np.log(SHARES)[None], [0.0]))


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_noise_of_the_root_is_dirichlet(alpha):
    """Moments: means, variances and covariances over the three allowed actions; nothing on the forbidden one."""
    prior = np.asarray(many_copies(bandit(), KEY, 1.0, alpha, 1.0).tree.prior[0])
    assert np.all(prior[:, 1] == 0)
    np.testing.assert_allclose(prior.sum(-1), 1, rtol=1e-5)
    noise = prior[:, [0, 2, 3]]
    covariance = (np.eye(3) / 3 - 1 / 9) / (3 * alpha + 1)
    error = 4 * np.sqrt(np.diag(covariance) / NUM_COPIES)
    assert np.all(np.abs(noise.mean(0) - 1 / 3) < error)
    np.testing.assert_allclose(np.cov(noise.T), covariance, atol=0.01)
    half = np.asarray(many_copies(bandit(), KEY, 0.5, alpha, 1.0).tree.prior[0])
    np.testing.assert_allclose(half, 0.5 * SHARES + 0.5 * prior, atol=1e-6)


def test_actions_are_drawn_by_visits_and_temperature():
    """Frequencies: N^(1/temperature) for 0.5 and 1 within four standard errors, the most visited action for 0."""
    visits = oracle.highest_averages(SHARES, 8)
    for temperature in (0.5, 1.0):
        decision = many_copies(bandit(), KEY, 0.0, 0.3, temperature)
        np.testing.assert_array_equal(decision.tree.visits[0, 0], visits)
        np.testing.assert_allclose(decision.weights[0], visits / 8)
        wanted = visits ** (1 / temperature) / np.sum(visits ** (1 / temperature))
        seen = np.bincount(decision.action, minlength=4) / NUM_COPIES
        assert np.all(np.abs(seen - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / NUM_COPIES))
    assert set(np.asarray(many_copies(bandit(), KEY, 0.0, 0.3, 0.0).action)) == {np.argmax(visits)}


# --- improvement ------------------------------------------------------------------------------------------


@pytest.mark.covers("dt-plan")
def test_search_improves_the_prior():
    """Exact values: of 200 random bandits, in each the visits of 50 simulations are worth as much as the prior."""
    rng = np.random.default_rng(2)
    shape = 200, 6
    world = worlds.one_step(rng.uniform(-1, 1, shape), rng.normal(size=shape), np.zeros(200))
    prior = np.exp(world.logits) / np.exp(world.logits).sum(-1, keepdims=True)
    worth = np.sum(prior * world.reward, -1)
    tables = jax.tree.map(jnp.asarray, world._replace(value=worth))
    root = worlds.root(tables, np.arange(200))
    settings = {"rule": rules.puct(qtransforms.identity), "dirichlet_fraction": 0.0}
    weights = jax.jit(lambda: search.muzero(tables, KEY, root, worlds.model, 50, **settings).weights)()
    assert np.all(np.sum(np.asarray(weights) * world.reward, -1) >= worth)


def test_gumbel_search_improves_the_prior_after_two_simulations():
    """Danihelka et al.'s theorem: with two simulations what is played is worth more than the prior."""
    rng = np.random.default_rng(3)
    reward, logits = rng.uniform(-1, 1, (1, 6)), rng.normal(size=(1, 6))
    world = jax.tree.map(jnp.asarray, worlds.one_step(reward, logits, [0.0]))
    root = worlds.root(world, jnp.zeros(NUM_COPIES, jnp.int32))
    run = jax.jit(lambda: search.gumbel_muzero(world, KEY, root, worlds.model, 2).action)
    played = reward[0, np.asarray(run())]
    prior = np.exp(logits) / np.exp(logits).sum()
    assert played.mean() - 4 * played.std() / np.sqrt(NUM_COPIES) > np.sum(prior * reward)
