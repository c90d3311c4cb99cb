"""Selection rules in closed form: sequential halving by hand, apportionment by the prior, UCB1."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.search import qtransforms, rules
from purerl.search.tree import init_tree, root_of
from tests.oracles import search as oracle
from tests.support import worlds

KEY = jax.random.key(0)


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


# --- priors and argmax ------------------------------------------------------------------------------------


def test_prior_is_a_softmax_over_allowed_actions():
    """Softmax: huge logits, forbidden ones as -inf and as the lowest number; nothing allowed counts as everything."""
    lowest = float(jnp.finfo(jnp.float32).min)
    logits = jnp.asarray([[1e30, 1e30, -jnp.inf], [0.0, lowest, np.log(3.0)], [-jnp.inf, lowest, -jnp.inf]])
    expected = [[0.5, 0.5, 0], [0.25, 0, 0.75], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(rules.probabilities(logits), expected, rtol=1e-6)
    np.testing.assert_array_equal(rules.probabilities(logits) == 0, np.asarray(expected) == 0)


def test_an_unlikely_action_is_not_a_forbidden_one():
    """Legal logits so low that their probability is no number: above 0, where forbidden ones are exactly 0; and logits
    further apart than the largest number."""
    logits = jnp.asarray([[0.0, -110.0, -jnp.inf], [0.0, -1e30, -jnp.inf], [3e38, -1.6e38, -jnp.inf]])
    prior = np.asarray(rules.probabilities(logits))
    assert np.all((prior > 0) == [True, True, False])
    np.testing.assert_allclose(prior[:, 0], 1)
    np.testing.assert_array_equal(np.isfinite(rules.allowed(logits)), [[True, True, False]] * 3)


def test_masked_argmax_is_the_first_of_the_highest():
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
