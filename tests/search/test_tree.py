"""Search trees as arrays: subtree reuse against a naive search, mean values, and roots that do not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.search import rules
from purerl.search.tree import mean_value, root_of
from tests.oracles import search as oracle
from tests.support import worlds

KEY = jax.random.key(0)
STATES = np.arange(6)
NUM_SIMULATIONS = 40


def test_a_new_tree_is_its_root():
    """Prior and value of slot 0, no visits, no children anywhere; the mean value is the model's own."""
    world = worlds.on_device(worlds.two_players())
    root = worlds.root(world, STATES)
    tree = search.init_tree(root, rules.probabilities, 3)
    np.testing.assert_array_equal(tree.prior[0], rules.probabilities(root.logits))
    np.testing.assert_array_equal(tree.embedding[0], STATES)
    assert tree.visits.shape == (4, 6, 4) and not tree.visits.any() and (tree.child == -1).all()
    np.testing.assert_array_equal(mean_value(root_of(tree)), root.value)


def test_roots_that_do_not_fit_and_empty_searches_are_refused():
    """Messages: shapes of the root, and no simulations."""
    world = worlds.on_device(worlds.two_players())
    root = worlds.root(world, STATES)
    with pytest.raises(ValueError, match=r"logits \[B, A\] and value \[B\], but their shapes are \(6, 4\) and \(5,\)"):
        search.uct(world, KEY, root._replace(value=root.value[:5]), worlds.model, 4)
    with pytest.raises(ValueError, match="num_simulations = 0: a search needs at least 1"):
        search.uct(world, KEY, root, worlds.model, 0)


def forget(node, num_kept):
    """Drop the youngest nodes, and the terminal ones; their edges keep their statistics."""

    def ages(node):
        return [node.born, *(age for child in node.children.values() if not child.over for age in ages(child))]

    oldest = sorted(ages(node))[:num_kept]

    def prune(node):
        node.children = {action: child for action, child in node.children.items() if child.born in oldest}
        for child in node.children.values():
            prune(child)

    prune(node)


@jax.jit
def uct_search(world, root):
    return search.uct(world, KEY, root, worlds.model, NUM_SIMULATIONS)


@functools.partial(jax.jit, static_argnames=("num_kept", "num_more"))
def go_on(world, tree, action, root, num_kept, num_more):
    rule = rules.uct()
    kept = search.reuse_subtree(tree, action, root, rule.prior, num_kept, num_more)
    return search.uct(world, KEY, root, worlds.model, num_more, tree=kept)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts")
@pytest.mark.parametrize(
    "num_kept", [pytest.param(NUM_SIMULATIONS, marks=pytest.mark.deep), 5], ids=["all", "the oldest five"]
)
def test_search_continues_in_the_reused_subtree(num_kept):
    """Naive search: the subtree of the action taken goes on growing; unvisited actions and new episodes begin anew."""
    world = worlds.wide()
    tables, num_more = worlds.on_device(world), 30
    root = worlds.root(tables, STATES)
    tree = uct_search(tables, root).tree
    nodes = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.uct)

    moving = [max((a for a in n.children if not n.children[a].over), key=n.visits.__getitem__) for n in nodes]
    action = np.asarray(moving)
    untried, ended = 1, next(e for e, n in enumerate(nodes) if e != 1 and any(c.over for c in n.children.values()))
    tree = tree.replace(child=tree.child.at[0, untried, action[untried]].set(-1))  # it never went there
    action[ended] = next(a for a, c in nodes[ended].children.items() if c.over)
    states = world.next_state[STATES, action]
    states[ended] = 17  # the first of the next episode
    after = go_on(tables, tree, jnp.asarray(action), worlds.root(tables, states), num_kept, num_more).tree
    assert after.parent.shape[0] == num_kept + num_more

    model = worlds.naive(world)
    for element, node in enumerate(nodes):
        new = element in (untried, ended)
        below = oracle.new_node(model, states[element]) if new else node.children[action[element]]
        forget(below, num_kept)
        nodes[element] = oracle.search(model, below, num_more, oracle.uct)
    worlds.assert_same_trees(after, nodes)
