"""How near to perfect play a policy comes: by hand, and by a loop over positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.games.quality import keeps_value, quality

NO = -np.inf


@pytest.mark.covers("alphazero")
def test_quality_by_hand():
    """In one position the best legal move has a quarter of the probability, in another the two best have three."""
    logits = np.log([[1, 3, 1000], [1, 2, 1]])
    q = np.array([[1, 0, NO], [-1, 0, 0]])
    found = quality(jnp.array(logits), jnp.array([0.5, -0.5]), jnp.array(q))
    np.testing.assert_allclose(found, [0.5, 0.5, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(keeps_value(jnp.array(q), jnp.array([0, 0])), [True, False])
    np.testing.assert_array_equal(keeps_value(jnp.array(q), jnp.array([2, 1])), [False, True])


@pytest.mark.covers("alphazero")
def test_quality_is_that_of_a_loop():
    """Fifty random positions one by one in NumPy, the moves listed in another order, and all logits raised."""
    rng = np.random.default_rng(0)
    logits, value = rng.normal(size=(50, 5)), rng.uniform(-1, 1, 50)
    q = rng.choice([1, 0, -1, NO], (50, 5))
    q[:, 2] = rng.choice([1, 0, -1], 50)  # some move is always legal
    right, mass, error = [], [], []
    for one, v, worth in zip(logits, value, q, strict=True):
        legal = [a for a in range(5) if worth[a] > NO]
        best = [a for a in legal if worth[a] == max(worth)]
        right.append(max(legal, key=lambda a: one[a]) in best)
        mass.append(np.exp(one[best]).sum() / np.exp(one[legal]).sum())
        error.append((v - max(worth)) ** 2)
    measure, order = jax.jit(quality), rng.permutation(5)
    for moved, worths in ((logits, q), (logits[:, order], q[:, order]), (logits + 3, q)):
        found = measure(jnp.array(moved), jnp.array(value), jnp.array(worths))
        np.testing.assert_allclose(found, [np.mean(right), np.mean(mass), np.mean(error)], rtol=1e-5)
