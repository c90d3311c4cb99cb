"""The search against mctx, in double precision so that no near tie is decided by rounding."""

import functools

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from purerl import search
from tests.support import worlds
from tests.support.stochastic import chance_model, decision_model, random_chance

pytestmark = pytest.mark.usefixtures("x64")

KEY = jax.random.key(0)
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


@pytest.mark.covers("mcts", "puct", "muzero")
@pytest.mark.parametrize("policy", ["muzero", "gumbel"])
@pytest.mark.parametrize("case", CASES)
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


def test_stochastic_muzero_does_as_mctx_does():
    """mctx: decisions and outcomes in turn, the same visits of the root's actions, its value and its weights."""
    tables = random_chance(seed=1)

    def peers_decisions(tables, key, action, state):
        output, after = decision_model(tables, key, action, state)
        return mctx.DecisionRecurrentFnOutput(chance_logits=output.logits, afterstate_value=output.value), after

    def peers_outcomes(tables, key, outcome, after):
        output, state = chance_model(tables, key, outcome, after)
        return mctx.ChanceRecurrentFnOutput(
            action_logits=output.logits, value=output.value, reward=output.reward, discount=output.discount
        ), state

    states = jnp.arange(6)
    root = search.Root(tables.logits[states], tables.value[states], states)
    settings = {"dirichlet_fraction": 0.0, "temperature": 0.0}
    mine = jax.jit(
        lambda tables: search.stochastic_muzero(tables, KEY, root, decision_model, chance_model, 60, **settings)
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
