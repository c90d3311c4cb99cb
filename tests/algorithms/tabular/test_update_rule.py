"""Records of update rules: the initial table, and the placeholder for steps before the first."""

import jax
import numpy as np

from purerl.algorithms.tabular.update_rule import initial_table, no_transition
from tests.support.tabular_history import sarsa_history


def test_initial_table_has_one_value_everywhere():
    """Every pair begins with the same value, which may be optimistic."""
    np.testing.assert_array_equal(initial_table(2.5, 3, 2), np.full((3, 2), 2.5))


def test_placeholder_has_the_shapes_of_a_step():
    """Steps before the first have the structure and kinds of numbers of real ones, so that they can be stacked."""
    real, nothing = jax.tree.map(lambda x: x[0], sarsa_history()), no_transition()
    assert jax.tree.structure(real) == jax.tree.structure(nothing)
    for a, b in zip(jax.tree.leaves(real), jax.tree.leaves(nothing), strict=True):
        assert np.shape(a) == np.shape(b) and np.asarray(a).dtype.kind == np.asarray(b).dtype.kind
