"""Searched trees as text, as a line and as a picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from purerl import search
from purerl.search import rules
from purerl.search.tree import init_tree
from tests.support import worlds


@pytest.fixture
def tree():
    """Two trees of two players, written by hand: in the second the root tried 1 twice, and 0 after it; 2 won."""
    root = search.Root(jnp.log(jnp.asarray([[0.2, 0.5, 0.3]] * 2)), jnp.asarray([0.0, 0.3]), jnp.zeros(2))
    tree = init_tree(root, rules.probabilities, 3)
    second = {
        "visits": tree.visits.at[0, 1].set(jnp.asarray([0.0, 2.0, 1.0])).at[1, 1, 0].set(1.0),
        "value": tree.value.at[0, 1].set(jnp.asarray([0.0, -0.25, 1.0])).at[1, 1, 0].set(0.5),
        "prior": tree.prior.at[1, 1].set(jnp.asarray([0.6, 0.4, 0.0])),
        "child": tree.child.at[0, 1, 1].set(1).at[1, 1, 0].set(2),
        "discount": tree.discount.at[1:3, 1].set(-1.0),
    }
    return tree.replace(**second)


TEXT = """\
root  N 3  V +0.200
  right  N 2  Q -0.250  P 0.500
    left  N 1  Q +0.500  P 0.600
  jump  N 1  Q +1.000  P 0.300"""


def test_text_says_visits_values_and_priors(tree):
    """By hand: every line of a small tree, its first level alone, numbers for names; logits are shown as shares."""
    names = ["left", "right", "jump"]
    assert search.describe(tree, 1, names=names) == TEXT
    assert search.describe(tree, 1, depth=1, names=names).splitlines() == [TEXT.splitlines()[i] for i in (0, 1, 3)]
    assert search.describe(tree, 1).splitlines()[1] == "  1  N 2  Q -0.250  P 0.500"
    assert search.describe(tree) == "root  N 0  V +0.000"
    logits = tree.replace(prior=rules.allowed(jnp.log(tree.prior)))
    assert search.describe(logits, 1, names=names) == TEXT


def test_principal_line_follows_most_visits(tree):
    """By hand: the line of the small tree, and of one that knows nothing yet."""
    assert search.principal_line(tree, 1) == [1, 0]
    assert search.principal_line(tree, 0) == []


def test_picture_shows_nodes_and_the_principal_line(tree, tmp_path):
    """What was drawn: one circle a node, its area by visits, its colour by the root's view of its value; the file."""
    axes = Figure().add_subplot()
    search.plot_tree(tree, 1, axes)
    (circles,) = axes.collections
    by_visits = np.asarray([3, 2, 1, 1]) / 3
    np.testing.assert_allclose(circles.get_sizes() / circles.get_sizes()[0], by_visits, rtol=1e-6)
    np.testing.assert_allclose(sorted(circles.get_array()), [-0.5, -0.25, 0.2, 1.0], rtol=1e-6)
    assert sum(line.get_color() == "black" for line in axes.lines) == 2 == len(axes.lines) - 1
    search.plot_tree(tree, 1, tmp_path / "tree.png")
    assert (tmp_path / "tree.png").stat().st_size > 0 and len(list(tmp_path.iterdir())) == 1


def test_large_trees_are_cut_to_their_most_visited_nodes():
    """A real search: as many circles as asked for, none of a node less visited than one that is left out."""
    world = worlds.on_device(worlds.random_world(0, discount=-0.9, ends=0.1))
    tree = jax.jit(lambda: search.uct(world, jax.random.key(0), worlds.root(world, [0, 1]), worlds.model, 60))().tree
    axes = Figure().add_subplot()
    search.plot_tree(tree, 1, axes, max_nodes=20)
    (circles,) = axes.collections
    assert len(circles.get_offsets()) == 20
    visits = np.sort(np.asarray(tree.visits[:, 1]).ravel())[::-1]
    smallest = circles.get_sizes().min() / circles.get_sizes().max() * 60
    assert smallest >= visits[18] - 1e-3
    lines = search.describe(tree, 1, depth=99).splitlines()
    assert len(lines) == 1 + np.sum(np.asarray(tree.visits[:, 1]) > 0)


def test_wrong_requests_are_refused(tree):
    """Messages: no such element, no room for a node."""
    with pytest.raises(IndexError, match="element = 2, but the batch has 2 trees: 0 to 1"):
        search.describe(tree, 2)
    with pytest.raises(ValueError, match="max_nodes = 1"):
        search.plot_tree(tree, 0, Figure().add_subplot(), max_nodes=1)
