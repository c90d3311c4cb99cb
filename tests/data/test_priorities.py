"""The sum tree of scaled priorities: sums, stratified samples and their frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl.data import priorities

update, fill = jax.jit(priorities.update), jax.jit(priorities.fill)
draw = jax.jit(priorities.draw, static_argnums=2)


def check_sums(tree):
    """Every node is the sum of its children."""
    for below, level in zip(tree.levels[:-1], tree.levels[1:], strict=True):
        sums = np.asarray(below, np.float64).reshape(-1, tree.fan_out).sum(axis=-1)
        np.testing.assert_allclose(level[: sums.size], sums, rtol=1e-6, atol=0)
        np.testing.assert_array_equal(level[sums.size :], 0)


@pytest.mark.covers("per")
@pytest.mark.parametrize(
    "num_leaves, fan_out, widest_root, num_levels",
    [(1, 8, 4, 1), (5, 2, 1, 1), (100, 3, 2, 4), (700, 8, 16, 3)],
    ids=["1", "5", "100", "700"],
)
def test_tree_follows_an_array(num_leaves, fan_out, widest_root, num_levels):
    """Updates with repetitions against a NumPy array, of which the largest value given counts; every node that is
    kept is the sum of its children, in one step from there by ``fill`` as well."""
    rng = np.random.default_rng(0)
    expected = np.zeros(num_leaves, np.float32)
    tree = priorities.empty(num_leaves, fan_out, widest_root, widest_summed=12)
    for _ in range(4):
        leaf, priority = rng.integers(num_leaves, size=40), rng.exponential(size=40).astype(np.float32)
        priority[::7] = 0
        tree = update(tree, jnp.asarray(leaf), jnp.asarray(priority))
        expected[leaf] = 0
        np.maximum.at(expected, leaf, priority)
        np.testing.assert_array_equal(tree.levels[0][:num_leaves], expected)
        check_sums(tree)
    for level, at_once in zip(tree.levels, fill(tree, jnp.asarray(expected)).levels, strict=True):
        np.testing.assert_allclose(level, at_once, rtol=1e-6, atol=0)
    assert len(tree.levels) == num_levels


@pytest.mark.covers("per")
def test_draws_are_stratified():
    """One draw falls into each M-th of the sum: below any leaf there are M times its share of draws, give or take one,
    which is far more than independent draws would keep."""
    priority = np.random.default_rng(0).exponential(size=500).astype(np.float32) ** 3
    tree = fill(priorities.empty(500), jnp.asarray(priority))
    leaf = np.asarray(draw(tree, jax.random.key(0), 128))
    below = np.array([np.sum(leaf <= i) for i in range(500)])
    share = np.cumsum(priority, dtype=np.float64) / np.sum(priority, dtype=np.float64)
    assert np.all(np.abs(below - 128 * share) < 1 + 1e-3)


@pytest.mark.covers("per")
@pytest.mark.parametrize("num_draws", [1, 7, 512])
def test_prefix_sums_reached_without_a_search(num_draws):
    """As many as ``numpy.searchsorted`` finds, for one target in each part of the sum, with zeros at both ends and in
    between, with one that is nearly all, and with none at all."""
    rng = np.random.default_rng(num_draws)
    reached = jax.jit(priorities._num_reached)
    for scale in (0.0, 1e-6, 1.0, 1e30):
        priority = rng.exponential(size=100).astype(np.float32) ** 4 * scale
        priority[[0, 50, 51, 99]] = 0
        priority[20] *= 1e4
        prefix = np.cumsum(priority)
        target = prefix[-1] * ((np.arange(num_draws) + rng.uniform(0.01, 0.99, num_draws)) / num_draws)
        expected = np.searchsorted(prefix, target.astype(np.float32), side="right")
        np.testing.assert_array_equal(reached(jnp.asarray(prefix), jnp.asarray(target, jnp.float32)), expected)


@pytest.mark.covers("per")
@pytest.mark.parametrize(
    ("fan_out", "widest_summed"),
    [
        (2, 0),
        (8, 200),
        *(pytest.param(*case, marks=pytest.mark.deep) for case in [(2, 200), (8, 0), (32, 0), (32, 200)]),
    ],
)
def test_draws_are_as_frequent_as_scaled_priorities(fan_out, widest_summed):
    """Counts of 50,000 draws by chi-square against the scaled priorities, which differ by a factor of 10^4; zeros,
    among them whole nodes and both ends, are never drawn."""
    priority = np.geomspace(1, 1e4, 200).astype(np.float32)
    priority[[0, 17, 199]] = priority[64:128] = 0
    tree = fill(priorities.empty(200, fan_out, 8, widest_summed), jnp.asarray(priority))
    leaves = jax.jit(jax.vmap(lambda key: priorities.draw(tree, key, 50)))(jax.random.split(jax.random.key(2), 1000))
    count = np.bincount(np.ravel(leaves), minlength=200)
    assert np.all(count[priority == 0] == 0)
    drawn = priority > 0
    expected = priority[drawn] / priority.sum(dtype=np.float64) * count.sum()
    assert stats.chisquare(count[drawn], expected, sum_check=False).pvalue > 1e-3


@pytest.mark.deep
@pytest.mark.covers("per")
def test_a_million_leaves_in_float32():
    """Two million draws of a million leaves, every other of 0: none of these is drawn, and the rest equally often by
    chi-square, which eight or nine floats for a leaf would fail by many standard deviations."""
    num_leaves, num_draws, num_batches = 2**20 + 40, 4096, 500
    priority = jnp.where(jnp.arange(num_leaves) % 2, 1.0, 0.0)
    tree = fill(priorities.empty(num_leaves), priority)

    @jax.jit
    def counts(tree, keys):
        def more(count, key):
            return count.at[priorities.draw(tree, key, num_draws)].add(1), None

        return jax.lax.scan(more, jnp.zeros(num_leaves, jnp.int32), keys)[0]

    count = np.asarray(counts(tree, jax.random.split(jax.random.key(3), num_batches)))
    assert count[::2].sum() == 0 and count.sum() == num_draws * num_batches
    statistic, degrees = stats.chisquare(count[1::2]).statistic, num_leaves // 2 - 1
    assert abs(statistic - degrees) < 6 * np.sqrt(2 * degrees)


@pytest.mark.covers("per")
def test_sums_do_not_drift():
    """After 500 batches of changes by eight orders of magnitude every node is still the sum of its children."""

    def change(tree, key):
        leaf_key, key = jax.random.split(key)
        leaf = jax.random.randint(leaf_key, (64,), 0, 3000)
        return priorities.update(tree, leaf, 10 ** jax.random.uniform(key, (64,), minval=-4, maxval=4)), None

    keys = jax.random.split(jax.random.key(4), 500)
    check_sums(
        jax.jit(lambda tree: jax.lax.scan(change, tree, keys)[0])(priorities.empty(3000, 8, 64, widest_summed=0))
    )
