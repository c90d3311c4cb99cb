"""Search among sampled actions: against the plain search, enumeration of samples, closed forms, odd proposals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.search import qtransforms, rules, sampled
from purerl.search.tree import mean_value, root_of
from tests.support import worlds

KEY = jax.random.key(0)
STATES = np.arange(6)


def over(reward):
    """Model output of a terminal step; its actions have no numbers, so there are no logits."""
    nothing = jnp.zeros_like(reward)
    return search.Output(reward, nothing, nothing[:, None][:, :0], nothing)


# --- the same search, where all actions are drawn ---------------------------------------------------------

POLICIES = {
    "puct": functools.partial(search.muzero, dirichlet_fraction=0.0, temperature=0.0),
    "gumbel": functools.partial(search.gumbel_muzero, gumbel_scale=0.0),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("puct")
@pytest.mark.parametrize(
    ("policy", "draws"),
    [pytest.param("puct", (3, 1, 0, 2), marks=pytest.mark.deep), ("gumbel", (2, 0, 0, 1, 0, 3, 1, 0))],
    ids=["puct-once", "gumbel-repeated"],
)
def test_where_all_actions_are_drawn_the_tree_is_the_plain_one(policy, draws):
    """Plain search, node for node: draws in the very proportions of their proposal leave the prior as it is, in a world
    with ends and forbidden actions; copies are never taken."""
    world = jax.tree.map(jnp.asarray, worlds.random_world(0, ends=0.15, forbidden=0.3))
    actions, (_, first, count) = jnp.asarray(draws), np.unique(draws, return_index=True, return_counts=True)
    log_beta = jnp.log(jnp.asarray(count / len(draws)))

    def propose(world, key, state):
        log_weight = jax.nn.log_softmax(world.logits[state]) - log_beta
        return jnp.broadcast_to(actions, (len(state), len(draws))), log_weight[:, actions]

    @jax.jit
    def both(world):
        start = worlds.root(world, STATES)
        drawn = sampled.root(propose, world, KEY, start.value, start.embedding)
        model = sampled.model(propose, worlds.model)
        return [POLICIES[policy](world, KEY, *how, 40) for how in ((start, worlds.model), (drawn, model))]

    plain, found = both(world)
    choice = sampled.choice(found)
    np.testing.assert_array_equal(choice.action, plain.action)
    np.testing.assert_allclose(choice.weights[:, first], plain.weights, atol=1e-12)
    for one, other in ((found.tree.visits, plain.tree.visits), (found.tree.child, plain.tree.child)):
        np.testing.assert_array_equal(one[..., first], other)
    np.testing.assert_allclose(found.tree.value[..., first], plain.tree.value, atol=1e-12)
    np.testing.assert_array_equal(found.tree.embedding.embedding, plain.tree.embedding)
    assert found.tree.visits.sum() == plain.tree.visits.sum()


# --- what is drawn from another proposal -------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("puct")
def test_in_expectation_over_draws_the_prior_is_the_policy():
    """Enumeration of all 3^4 draws of vectors: sum_draws beta(draws) (beta_hat / beta) pi = pi, and of equal draws
    only the first counts."""
    pi, beta = np.array([0.2, 0.7, 0.1]), np.array([0.5, 0.2, 0.3])
    draws = np.array(list(itertools.product(range(3), repeat=4)))
    vectors = jnp.asarray([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])  # that differ in one place
    prior = np.exp(sampled.log_prior(vectors[draws], jnp.asarray(np.log(pi / beta)[draws])))
    expected = [np.sum(beta[draws].prod(1) * np.where(draws == a, prior, 0).sum(1)) for a in range(3)]
    np.testing.assert_allclose(expected, pi, rtol=1e-12)
    for row, weights in zip(draws, prior, strict=True):
        assert {*np.flatnonzero(weights)} == {*np.unique(row, return_index=True)[1]}


@pytest.mark.covers("puct")
def test_improvement_does_not_depend_on_the_proposal():
    """Closed form: with pi = N(0, 1) and sigma(Q) = c a the improved policy is N(c, 1). Its mean is found from draws of
    pi, and of a shifted and wider proposal, but not from these without their weights."""
    num_states, num_samples, c = 48, 64, 0.51

    def log_normal(x, mean, std):
        return -((x - mean) ** 2) / (2 * std**2) - jnp.log(std)

    def propose(proposal, key, embedding):
        mean, std, weighed = proposal
        actions = mean + std * jax.random.normal(key, (len(embedding), num_samples))
        return actions, weighed * (log_normal(actions, 0.0, 1.0) - log_normal(actions, mean, std))

    def follow(proposal, key, action, embedding):
        return over(0.1 * action), embedding

    @jax.jit
    def mean(proposal):
        nothing = jnp.zeros(num_states)
        root = sampled.root(propose, proposal, KEY, nothing, nothing)
        choice = sampled.choice(
            search.gumbel_muzero(
                proposal,
                KEY,
                root,
                sampled.model(propose, follow),
                num_samples,
                value=functools.partial(qtransforms.completed_q, rescale=False),  # (50 + 1) 0.1 Q: each has one visit
                max_considered=num_samples,
            )
        )
        return jnp.mean(jnp.sum(choice.weights * choice.actions, axis=-1))

    np.testing.assert_allclose(mean((0.0, 1.0, 1.0)), c, atol=0.05)
    np.testing.assert_allclose(mean((-0.5, 1.25, 1.0)), c, atol=0.05)
    assert abs(mean((-0.5, 1.25, 0.0)) - c) > 0.1


# --- continuous actions -----------------------------------------------------------------------------------


def normal_vectors(params, key, embedding):
    """Six draws of two numbers."""
    return jax.random.normal(key, (len(embedding), 6, 2)), jnp.zeros((len(embedding), 6))


def hill(params, key, action, embedding):
    """Over after one step, whose reward is highest, 1, at (0.3, -0.2)."""
    reward = jnp.exp(-jnp.sum((action - jnp.asarray([0.3, -0.2])) ** 2, axis=-1))
    return over(reward), embedding


def hill_root(num_states, key, propose=normal_vectors):
    nothing = jnp.zeros(num_states)
    return sampled.root(propose, (), key, nothing, nothing)


def climb(num_states, num_simulations, key=KEY, propose=normal_vectors):
    root_key, key = jax.random.split(key)
    root, model = hill_root(num_states, root_key, propose), sampled.model(propose, hill)
    return POLICIES["gumbel"]((), key, root, model, num_simulations)


def rewards_of(actions):
    """Rewards ``[B, K]`` and the highest of them."""
    reward = np.asarray(hill((), None, actions, None)[0].reward, np.float64)
    return reward, reward.max(axis=-1)


@pytest.mark.covers("mcts")
def test_value_of_a_bandit_of_continuous_actions_rises_to_the_best_of_its_draws():
    """Bound, in 16 states: after 500 simulations of UCT the value is less than the highest reward of the six draws, by
    at most c sqrt(K ln n / n) + (sum of gaps + highest) / n."""
    n, c = 500, 0.3
    rule, model = rules.uct(c), sampled.model(normal_vectors, hill)
    tree = search.init_tree(hill_root(16, KEY), rule.prior, n)
    tree = jax.jit(lambda tree: search.search((), KEY, tree, model, rule, n))(tree)
    reward, best = rewards_of(tree.embedding.actions[0])
    bound = c * np.sqrt(6 * np.log(n) / n) + (np.sum(best[:, None] - reward, axis=-1) + best) / n
    short = best - np.asarray(mean_value(root_of(tree)))
    assert np.all(short > 0) and np.all(short < bound)


def test_searches_side_by_side_are_the_lone_ones_and_take_the_best_draw():
    """vmap and jit, batches of one: draws, weights and action are those of the key alone; other keys draw others. Of
    six draws twelve simulations find the one of the highest reward, for each of 8 keys."""
    keys = jax.random.split(KEY, 8)

    def run(key):
        return sampled.choice(climb(1, 12, key))

    lone, together = jax.jit(run), jax.jit(jax.vmap(run))(keys)
    apart = jax.tree.map(lambda *leaves: np.stack(leaves), *map(lone, keys))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), together, apart)
    assert apart.action.shape == (8, 1, 2) and apart.action.dtype == np.float32
    assert len(np.unique(apart.actions)) == apart.actions.size
    np.testing.assert_allclose(apart.weights.sum(-1), 1.0, rtol=1e-6)
    reward, _ = rewards_of(apart.actions[:, 0])
    np.testing.assert_array_equal(apart.action[:, 0], apart.actions[np.arange(8), 0, np.argmax(reward, axis=-1)])


# --- odd proposals ----------------------------------------------------------------------------------------


def test_broken_proposals_show_and_harm_no_others():
    """NaN in some draws of a state: these are never taken; in all of them: broken actions show in the value, while
    broken weights count as equal; the other states' trees stay as they are."""

    def breaking(actions_broken, weights_broken):
        def propose(params, key, embedding):
            actions, log_weight = normal_vectors(params, key, embedding)
            actions = jnp.where(actions_broken[..., None], jnp.nan, actions)
            return actions, jnp.where(weights_broken, jnp.nan, log_weight)

        return propose

    run = jax.jit(lambda *broken: climb(3, 24, propose=breaking(*broken)))
    none = jnp.zeros((3, 6), bool)
    some = none.at[0, 1:4].set(True).at[1].set(True)
    clean = run(none, none)
    for broken in ((some, none), (none, some)):
        found = run(*broken)
        visits = found.tree.visits[0]
        assert np.all(visits[0, 1:4] == 0) and np.all(visits.sum(-1) == 24)
        np.testing.assert_array_equal(np.isnan(found.value), [False, broken[0] is some, False])
        np.testing.assert_array_equal(visits[2], clean.tree.visits[0, 2])
        assert found.value[2] == clean.value[2]


def test_proposals_that_do_not_fit_are_refused():
    """Messages: the shapes of actions and weights."""

    def propose(params, key, embedding):
        return jnp.zeros((3, 5, 2)), jnp.zeros((3, 4))

    message = r"actions \[B, K, ...\] and log-weights \[B, K\], but their shapes are \(3, 5, 2\) and \(3, 4\)"
    with pytest.raises(ValueError, match=message):
        sampled.root(propose, (), KEY, jnp.zeros(3), jnp.zeros(3))
