"""Records that every part shares are trees: they can be vmapped, scanned and saved."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.types import Episodes, Mean, Seen, Transition


def test_records_are_trees_of_their_fields():
    """Mapped over, each keeps its type, and empty fields hold nothing."""
    x = jnp.arange(3.0)
    transition = Transition(x, x, x, x > 0, x > 1, x, {})
    for record in (Mean(x, x), Seen(x), Episodes(x, x), transition):
        doubled = jax.tree.map(lambda leaf: leaf, record)
        assert type(doubled) is type(record)
    assert len(jax.tree.leaves(transition)) == 6 and len(jax.tree.leaves(Seen(x))) == 1


def test_cut_episodes_are_counted():
    """A number for each trial; None where nothing says what was cut."""
    cut = jnp.array([[True, False, True], [False, False, False]])
    zeros = jnp.zeros((2, 3))
    np.testing.assert_array_equal(Episodes(zeros, zeros, cut).num_cut, [2, 0])
    assert Episodes(zeros, zeros).num_cut is None


def test_means_of_parts_add_up_to_the_mean_of_the_whole():
    """Pooling sums and counts weighs every episode once, also where a part had none."""
    parts = [Mean(jnp.float32(6.0), jnp.float32(2)), Mean(jnp.float32(0.0), jnp.float32(0)), Mean(jnp.float32(3.0), 1)]
    total = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    np.testing.assert_allclose(total.total / total.number, 3.0)
