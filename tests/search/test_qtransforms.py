"""Q-value transforms by hand."""

import jax.numpy as jnp
import numpy as np

from purerl.search import qtransforms
from purerl.search.tree import Node


def node(prior, visits, value, raw_value=0.0):
    rows = [jnp.asarray(x, float)[None] for x in (prior, visits, value)]
    return Node(*rows, jnp.asarray([raw_value], float), jnp.asarray(0))


def test_identity_fixed_range_and_min_max():
    """By hand: Q untransformed, between known bounds, and between the extremes of a node and its children."""
    now = node([0.2, 0.3, 0.5], [2, 0, 1], [4.0, 0.0, -1.0], raw_value=1.0)  # V = (1 + 8 - 1) / 4 = 2
    np.testing.assert_allclose(qtransforms.identity(now)[0], [4, 0, -1])
    np.testing.assert_allclose(qtransforms.fixed_range(-1.0, 9.0)(now)[0], [0.5, 0, 0])
    np.testing.assert_allclose(qtransforms.min_max(now)[0], [1, 0, 0])
    alone = node([0.2, 0.3, 0.5], [2, 0, 0], [4.0, 0.0, 0.0], raw_value=-5.0)  # V = 1 lies below its only child
    np.testing.assert_allclose(qtransforms.min_max(alone)[0], [1, 0, 0])
    np.testing.assert_allclose(qtransforms.min_max(node([1, 0], [0, 0], [0, 0]))[0], [0, 0])


def test_completed_q_values_of_unvisited_actions():
    """By hand: an unvisited action has the mixed value, or the model's own, also rescaled to 0 to 1."""
    half, rest = np.log(0.5), np.log(0.25)
    now = node([half, rest, rest], [3, 1, 0], [1.0, -2.0, 0.0], raw_value=0.5)
    mixed = (0.5 + 4 * (0.5 * 1.0 + 0.25 * -2.0) / 0.75) / 5
    np.testing.assert_allclose(qtransforms.mixed_value(now), [mixed], rtol=1e-6)
    for settings, missing in (({}, mixed), ({"mixed": False}, 0.5)):
        plain = qtransforms.completed_q(now, value_scale=0.1, visit_offset=7, rescale=False, **settings)
        np.testing.assert_allclose(plain[0], (7 + 3) * 0.1 * np.asarray([1.0, -2.0, missing]), rtol=1e-6)
    np.testing.assert_allclose(
        qtransforms.completed_q(now, 1.0, 0)[0], 3 * np.asarray([1, 0, (mixed + 2) / 3]), rtol=1e-6
    )
    untouched = node([half, rest, rest], [0, 0, 0], [0, 0, 0], raw_value=2.0)
    np.testing.assert_allclose(qtransforms.completed_q(untouched, rescale=False)[0], 0.1 * 50 * 2.0 * np.ones(3))
