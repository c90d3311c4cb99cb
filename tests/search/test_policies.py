"""Search policies: against naive searches and mctx, noise and temperature in closed form, what a search improves."""

import functools
import types

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from purerl import search
from purerl.search import policies, qtransforms, rules, sampled
from tests.oracles import search as oracle
from tests.support import stochastic, worlds
from tests.support.ppo_setup import jit

KEY = jax.random.key(0)
STATES = np.arange(6)
NUM_SIMULATIONS = 40
EXACT = {"dirichlet_fraction": 0.0, "temperature": 0.0}


def gumbel_search(num_simulations, max_considered, gumbel_scale=1.0):
    return jax.jit(
        lambda world, key, root: search.gumbel_muzero(
            world,
            key,
            root,
            worlds.model,
            num_simulations,
            max_considered=max_considered,
            gumbel_scale=gumbel_scale,
        )
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_gumbel_search_grows_the_naive_tree():
    """Naive search: halving turn by turn, the improved policy below, the action and the target that come of them."""
    world, num_considered = worlds.two_players(3, num_actions=9), 5
    root = worlds.root(worlds.on_device(world), STATES)
    decision = gumbel_search(NUM_SIMULATIONS, num_considered)(worlds.on_device(world), KEY, root)
    gumbel = np.asarray(jax.random.gumbel(jax.random.split(KEY)[0], root.logits.shape, root.logits.dtype))
    model, nodes = worlds.naive(world), []
    for state, noise in zip(STATES, gumbel, strict=True):
        node = oracle.new_node(model, state)
        considered = min(num_considered, int(np.sum(node.logits > -np.inf)))
        root_score = oracle.halving(noise, considered, NUM_SIMULATIONS)
        nodes.append(oracle.search(model, node, NUM_SIMULATIONS, oracle.improved, root_score))
    worlds.assert_same_trees(decision.tree, nodes)
    for element, node in enumerate(nodes):
        ahead = gumbel[element] + node.logits + oracle.completed(node)
        most = node.visits == node.visits.max()
        assert decision.action[element] == np.argmax(np.where(most, ahead, -np.inf))
        np.testing.assert_allclose(decision.weights[element], oracle.improved_policy(node), atol=1e-12)
        np.testing.assert_allclose(decision.value[element], node.value)


@pytest.mark.usefixtures("x64")
def test_search_of_a_world_of_chance_grows_the_naive_tree():
    """Naive search: even levels decide by PUCT, odd ones follow the outcomes' probabilities."""
    tables = stochastic.random_chance(2)
    root = search.Root(tables.logits[STATES], tables.value[STATES], jnp.asarray(STATES))
    decision = jax.jit(
        lambda tables: search.stochastic_muzero(
            tables, KEY, root, stochastic.decision_model, stochastic.chance_model, NUM_SIMULATIONS, **EXACT
        )
    )(tables)
    tree, num_actions = jax.tree.map(np.asarray, decision.tree), tables.logits.shape[1]
    model = stochastic.naive(tables)

    def score(node, depth):
        return oracle.by_chance(node, depth) if node.state[0] else oracle.puct(node, depth)

    def assert_levels(element, node, slot=0, offset=0):
        here = slice(offset, offset + len(node.logits))
        np.testing.assert_array_equal(tree.visits[slot, element, here], node.visits)
        assert tree.visits[slot, element].sum() == node.visits.sum()
        np.testing.assert_allclose(tree.value[slot, element, here], node.q, atol=1e-12)
        for action, child in node.children.items():
            assert_levels(element, child, tree.child[slot, element, offset + action], num_actions - offset)

    for element, state in enumerate(STATES):
        node = oracle.search(model, oracle.new_node(model, (False, state)), NUM_SIMULATIONS, score)
        assert_levels(element, node)
        np.testing.assert_allclose(decision.weights[element], node.visits / NUM_SIMULATIONS)


# --- legal moves that a prior all but rules out ------------------------------------------------------------

# Two states with three actions each: the first is nearly certain, the second nearly impossible and the best, the third
# is not allowed. The first action of the first state leads to the second state, where the opponent is to move.
UNLIKELY = worlds.World(
    next_state=np.array([[1, 0, 0], [0, 0, 0]]),
    reward=np.array([[0.0, 0.3, 9.0], [-1.0, 1.0, 9.0]]),
    discount=np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    logits=np.array([[0.0, -110.0, -np.inf]] * 2),
    value=np.array([-0.2, 0.1]),
)
NUM_UNLIKELY = 24


@functools.cache
def unlikely():
    """Every search policy of the two states, in float32, where exp(-110) is 0."""

    @jit
    def run(world):
        by_q = rules.puct(qtransforms.identity)
        given = world, KEY, worlds.root(world, [0, 1]), worlds.model, NUM_UNLIKELY

        def propose(world, key, state):
            actions = jnp.broadcast_to(jnp.array([1, 0, 2]), (len(state), 3))
            return actions, jnp.take_along_axis(world.logits[state], actions, axis=1)

        drawn = sampled.root(propose, world, KEY, given[2].value, given[2].embedding)
        return {
            "uct": search.uct(*given),
            "puct": search.muzero(*given, rule=by_q, **EXACT),
            "noisy": search.muzero(*given, rule=by_q, dirichlet_fraction=0.25, dirichlet_alpha=0.003),
            "gumbel": search.gumbel_muzero(*given, gumbel_scale=0.0),
            "sampled": search.uct(world, KEY, drawn, sampled.model(propose, worlds.model), NUM_UNLIKELY),
        }

    return jax.device_get(run(worlds.on_device(UNLIKELY)))


@pytest.mark.covers("mcts", "puct")
@pytest.mark.parametrize("policy", ["uct", "puct"])
def test_a_move_that_the_prior_all_but_rules_out_is_searched_as_in_the_naive_tree(policy):
    """Naive search in float64, where exp(-110) is a number: the same trees. The move is the one to play."""
    score = {"uct": oracle.uct, "puct": functools.partial(oracle.puct, value=lambda node: node.q)}[policy]
    decision = unlikely()[policy]
    for element, node in enumerate(worlds.naive_trees(UNLIKELY, [0, 1], NUM_UNLIKELY, score)):
        worlds.assert_same_tree(decision.tree, element, node, rtol=1e-5)
    assert np.all((decision.tree.visits[0] > 0) == [True, True, False])
    np.testing.assert_array_equal(decision.action, 1)


@pytest.mark.parametrize("policy", ["noisy", "gumbel", "sampled"])
def test_no_search_policy_takes_an_unlikely_move_for_a_forbidden_one(policy):
    """With Dirichlet noise, by Gumbel's halving and among sampled actions: it is tried, and a forbidden one is not."""
    tree = unlikely()[policy].tree
    best, forbidden = (0, 2) if policy == "sampled" else (1, 2)
    assert np.all(tree.visits[0, :, best] > 0) and np.all(tree.visits[:, :, forbidden] == 0)
    assert np.all((tree.prior[0, :, best] > 0) | (tree.prior[0, :, best] == -110)) and np.all(tree.prior[0, :, 2] <= 0)


# --- against mctx, in double precision so that no near tie is decided by rounding --------------------------

CASES = {
    "two players, forbidden moves, ends, not deep": {
        "batch": 8,
        "num_actions": 7,
        "num_simulations": 32,
        "discount": -1.0,
        "ends": 0.2,
        "forbidden": 0.4,
        "max_depth": 3,
    },
    "many actions, rewards": {"batch": 3, "num_actions": 82, "num_simulations": 60},
}


def peers_root(root):
    return mctx.RootFnOutput(prior_logits=root.logits, value=root.value, embedding=root.embedding)


def peers_model(world, key, action, state):
    output, state = worlds.model(world, key, action, state)
    return mctx.RecurrentFnOutput(
        reward=output.reward, discount=output.discount, prior_logits=output.logits, value=output.value
    ), state


def ours(policy, num_simulations, max_depth, world, root):
    if policy == "muzero":
        settings = {"dirichlet_fraction": 0.0, "temperature": 0.0}
        return search.muzero(world, KEY, root, worlds.model, num_simulations, max_depth=max_depth, **settings)
    return search.gumbel_muzero(world, KEY, root, worlds.model, num_simulations, max_depth=max_depth, gumbel_scale=0.0)


def theirs(policy, num_simulations, max_depth, world, root):
    invalid = jnp.isneginf(root.logits)
    root = peers_root(root._replace(logits=jnp.where(invalid, 0.0, root.logits)))
    if policy == "muzero":
        function, settings = mctx.muzero_policy, {"dirichlet_fraction": 0.0, "temperature": 0.0}
    else:
        function, settings = mctx.gumbel_muzero_policy, {"gumbel_scale": 0.0}
    return function(world, KEY, root, peers_model, num_simulations, invalid, max_depth, **settings)


ONE, OTHER = CASES


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts", "puct", "muzero")
@pytest.mark.parametrize(
    ("policy", "case"),
    [
        pytest.param("muzero", ONE, marks=pytest.mark.deep),
        pytest.param("gumbel", ONE, marks=pytest.mark.deep),
        pytest.param("muzero", OTHER, marks=pytest.mark.deep),
        ("gumbel", OTHER),
    ],
)
def test_policies_do_as_mctx_does(policy, case):
    """mctx: the same visits and action exactly, values and weights to 1e-10; where no node is replaced, whole trees."""
    setting = CASES[case]
    world = worlds.random_world(
        seed=3,
        num_actions=setting["num_actions"],
        discount=setting.get("discount", 0.97),
        ends=setting.get("ends", 0.0),
    )
    root = worlds.root(worlds.on_device(world), np.arange(setting["batch"]))
    rng = np.random.default_rng(0)
    forbidden = rng.random(root.logits.shape) < setting.get("forbidden", 0.0)  # mctx forbids nothing below the root
    forbidden[:, 0] = False
    root = root._replace(logits=jnp.where(forbidden, -jnp.inf, root.logits))

    static = policy, setting["num_simulations"], setting.get("max_depth")
    mine = jax.jit(functools.partial(ours, *static))(worlds.on_device(world), root)
    peer = jax.jit(functools.partial(theirs, *static))(worlds.on_device(world), root)
    tree = peer.search_tree

    np.testing.assert_array_equal(mine.tree.visits[0], tree.children_visits[:, 0])
    np.testing.assert_array_equal(mine.action, peer.action)
    np.testing.assert_allclose(mine.weights, peer.action_weights, atol=1e-10)
    np.testing.assert_allclose(mine.value, tree.node_values[:, 0], atol=1e-10)
    np.testing.assert_allclose(mine.tree.value[0], own_q(tree), atol=1e-10)
    if "ends" not in setting:
        np.testing.assert_array_equal(mine.tree.visits.swapaxes(0, 1), tree.children_visits)
        np.testing.assert_array_equal(mine.tree.child.swapaxes(0, 1), tree.children_index)
        np.testing.assert_array_equal(mine.tree.parent.swapaxes(0, 1), tree.parents)


def own_q(tree):
    """mctx keeps values of children; what their actions returned is ``r + d v``, where there was one."""
    q = tree.children_rewards[:, 0] + tree.children_discounts[:, 0] * tree.children_values[:, 0]
    return jnp.where(tree.children_visits[:, 0] > 0, q, 0.0)


@pytest.mark.deep
@pytest.mark.usefixtures("x64")
def test_stochastic_muzero_does_as_mctx_does():
    """mctx: decisions and outcomes in turn, the same visits of the root's actions, its value and its weights."""
    tables = stochastic.random_chance(seed=1)

    def peers_decisions(tables, key, action, state):
        output, after = stochastic.decision_model(tables, key, action, state)
        return mctx.DecisionRecurrentFnOutput(chance_logits=output.logits, afterstate_value=output.value), after

    def peers_outcomes(tables, key, outcome, after):
        output, state = stochastic.chance_model(tables, key, outcome, after)
        return mctx.ChanceRecurrentFnOutput(
            action_logits=output.logits, value=output.value, reward=output.reward, discount=output.discount
        ), state

    states = jnp.arange(6)
    root = search.Root(tables.logits[states], tables.value[states], states)
    settings = {"dirichlet_fraction": 0.0, "temperature": 0.0}
    mine = jax.jit(
        lambda tables: search.stochastic_muzero(
            tables, KEY, root, stochastic.decision_model, stochastic.chance_model, 60, **settings
        )
    )(tables)
    peer = jax.jit(
        lambda tables: mctx.stochastic_muzero_policy(
            tables, KEY, peers_root(root), peers_decisions, peers_outcomes, 60, **settings
        )
    )(tables)

    num_actions = tables.logits.shape[1]
    np.testing.assert_array_equal(mine.tree.visits[0, :, :num_actions], peer.search_tree.children_visits[:, 0])
    np.testing.assert_array_equal(mine.action, peer.action)
    np.testing.assert_allclose(mine.weights, peer.action_weights, atol=1e-10)
    np.testing.assert_allclose(mine.value, peer.search_tree.node_values[:, 0], atol=1e-10)
    assert float(mine.tree.visits[0, :, num_actions:].sum()) == 0.0


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


# --- odd input --------------------------------------------------------------------------------------------

POLICIES = {
    "muzero": jax.jit(lambda world, key, root: search.muzero(world, key, root, worlds.model, NUM_SIMULATIONS)),
    "gumbel": gumbel_search(NUM_SIMULATIONS, 16),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_broken_networks_break_no_rules(policy):
    """Broken networks: NaN in some states harms no other tree, shows in the value, and no move is against the rules."""
    world = worlds.two_players(4)
    broken = world._replace(value=np.where(np.arange(40) % 5 == 0, np.nan, world.value))
    broken = broken._replace(reward=np.where(np.arange(40)[:, None] == 3, np.nan, broken.reward))
    clean_root = worlds.root(worlds.on_device(world), STATES)
    root = worlds.root(worlds.on_device(broken), STATES)
    decision = POLICIES[policy](worlds.on_device(broken), KEY, root)
    tree = jax.tree.map(np.asarray, decision.tree)
    added = tree.parent[..., None] >= 0
    added[0] = True
    legal = world.logits[tree.embedding] > -np.inf
    assert tree.visits[added & ~legal].sum() == 0 and (tree.visits[0].sum(-1) == NUM_SIMULATIONS).all()
    assert legal[0, STATES, np.asarray(decision.action)].all()
    hit = np.isnan(tree.value[0]).any(-1) | np.isnan(root.value)
    assert hit[0] and hit[3] and np.isnan(np.asarray(decision.value))[hit].all()

    alone = worlds.on_device(world._replace(value=np.where(np.arange(40) == 0, np.nan, world.value)))
    one_broken = POLICIES[policy](alone, KEY, clean_root._replace(value=clean_root.value.at[0].set(jnp.nan)))
    clean = POLICIES[policy](worlds.on_device(world), KEY, clean_root)
    untouched = ~np.any(np.asarray(one_broken.tree.embedding) == 0, axis=0)
    assert untouched.any()
    np.testing.assert_array_equal(clean.weights[untouched], one_broken.weights[untouched])


@pytest.mark.parametrize("policy", [search.muzero, search.gumbel_muzero], ids=lambda p: p.__name__)
def test_one_simulation_of_one_state_where_nothing_is_allowed(policy):
    """The smallest search: a batch of one, one simulation; a state without a legal move is searched as if all were."""
    world = worlds.random_world(0, num_actions=3)
    world = jax.tree.map(jnp.asarray, world._replace(logits=np.full(world.logits.shape, -np.inf)))
    run = jax.jit(lambda world: policy(world, KEY, worlds.root(world, [0]), worlds.model, 1))
    decision = run(world)
    assert 0 <= int(decision.action[0]) < 3 and decision.action.dtype == jnp.int32
    np.testing.assert_allclose(decision.weights.sum(-1), 1.0, rtol=1e-6)
    after = int(world.next_state[0, int(np.argmax(decision.tree.visits[0, 0]))])
    taken = int(np.argmax(decision.tree.visits[0, 0]))
    returned = world.reward[0, taken] + world.discount[0, taken] * world.value[after]
    np.testing.assert_allclose(decision.value, (world.value[0] + returned) / 2, rtol=1e-5)


@pytest.mark.parametrize("explore", [True, False], ids=["explore", "evaluate"])
def test_policies_by_config(explore):
    """Gumbel and PUCT with the config's and the hypers' settings, and no noise where it does not explore."""
    hypers = types.SimpleNamespace(
        gumbel_scale=0.5, c_init=1.5, dirichlet_fraction=0.25, dirichlet_alpha=0.3, temperature=2.0
    )
    config = types.SimpleNamespace(search="gumbel", max_considered=8)
    gumbel = policies.from_config(config, hypers, explore)
    assert gumbel.func is search.gumbel_muzero
    assert gumbel.keywords == {"max_considered": 8, "gumbel_scale": 0.5 if explore else 0.0}
    puct = policies.from_config(types.SimpleNamespace(search="puct"), hypers, explore, qtransforms.identity)
    rule = puct.keywords.pop("rule")
    assert puct.func is search.muzero
    noise = {"dirichlet_fraction": 0.25, "temperature": 2.0} if explore else EXACT
    assert puct.keywords == {"dirichlet_alpha": 0.3, **noise}
    node = rules.Node(jnp.array([[0.6, 0.4]]), jnp.array([[1.0, 0.0]]), jnp.array([[0.2, 0.0]]), jnp.zeros(1), 0)
    np.testing.assert_array_equal(rule.score(node), rules.puct(qtransforms.identity, 1.5).score(node))
