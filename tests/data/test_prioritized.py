"""Prioritised replay: frequencies, importance weights, ranks, and the priorities of new items."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl.data.prioritized import importance_weights, proportional, rank_based
from purerl.data.replay import ReplayConfig, SampleIndices, uniform
from tests.oracles import replay as oracle
from tests.support.replay_cases import labels

ROWS, B = 10, 4
N = ROWS * B
CONFIG = ReplayConfig(capacity=N, num_envs=B, batch_size=16)
EVERYTHING = SampleIndices(
    row=jnp.repeat(jnp.arange(ROWS), B), env=jnp.tile(jnp.arange(B), ROWS), weight=jnp.ones(N, jnp.float32)
)


@functools.cache
def filler(kind):
    """A compiled function that fills a replay."""
    return jax.jit(lambda priority, alpha: fill(kind(CONFIG), priority, alpha))


def filled(kind, priority, alpha=0.6):
    """A full replay with these priorities ``[N]``."""
    return filler(kind)(jnp.asarray(priority, jnp.float32), alpha)


def fill(replay, priority, alpha):
    state = replay.add(replay.init(jnp.int32(0), alpha), jnp.int32(labels(0, ROWS, B)))
    return replay.update_priorities(state, EVERYTHING, priority)


def items(indices):
    return np.ravel(indices.row * B + indices.env)


def scaled_priorities(state):
    return np.asarray(state.priorities.scaled_priorities.levels[0][:N])


def some_priorities():
    """Of very different sizes, in no order, some 0."""
    priority = np.random.default_rng(0).permutation(np.geomspace(1e-3, 30, N))
    priority[[3, 20]] = 0
    return priority


sample_often = jax.jit(jax.vmap(proportional(CONFIG).sample, (None, 0, None)))


@pytest.mark.covers("per")
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_proportional_frequencies_and_weights(alpha):
    """Counts of 64,000 draws by chi-square against p^alpha / sum p^alpha, weights of every batch against
    (N P)^-beta / max; alpha = 0 is uniform, but for items of priority 0, which are never drawn."""
    priority, beta = some_priorities(), 0.7
    draws = sample_often(filled(proportional, priority, alpha), jax.random.split(jax.random.key(0), 4000), beta)
    probability, weight = oracle.prioritized(priority, alpha, beta)
    count = np.bincount(items(draws), minlength=N)
    assert np.all(count[priority == 0] == 0)
    drawn = (probability * count.sum()) > 5
    pooled = [np.append(x[drawn], x[~drawn].sum() + 1e-9) for x in (count, probability * count.sum())]
    assert stats.chisquare(*pooled, sum_check=False).pvalue > 1e-3
    expected = weight[items(draws)].reshape(draws.weight.shape)
    np.testing.assert_allclose(draws.weight, expected / expected.max(axis=1, keepdims=True), rtol=1e-4)


@pytest.mark.covers("per")
def test_full_correction_makes_draws_unbiased():
    """With beta = 1, P times weight is the same for all items, so that E_P[w f] is the mean of f up to a scale."""
    scaled = np.geomspace(1e-3, 30, N)
    weight = importance_weights(jnp.asarray(scaled), 1.0)
    np.testing.assert_allclose(scaled * weight, scaled.min(), rtol=1e-5)
    assert float(weight.max()) == 1
    np.testing.assert_array_equal(importance_weights(jnp.asarray(scaled), 0.0), 1)
    np.testing.assert_array_equal(importance_weights(jnp.array([0.0, 2.0, 8.0]), 0.5), [0.0, 1.0, 0.5])


@pytest.mark.covers("per")
def test_new_items_get_the_largest_priority_of_late():
    """1 at first, then the largest reported, less a tenth of it with every batch; of what is reported for one item
    twice the larger."""
    replay = proportional(CONFIG)
    state = replay.init(jnp.int32(0), 1.0)
    state = replay.add(state, jnp.int32(labels(0, 2, B)))
    np.testing.assert_array_equal(scaled_priorities(state).reshape(ROWS, B)[:3, 0], [1, 1, 0])
    twice = SampleIndices(row=jnp.array([0, 0, 1]), env=jnp.array([2, 2, 0]), weight=jnp.ones(3))
    state = replay.update_priorities(state, twice, jnp.array([9.0, 4.0, 0.5]))
    np.testing.assert_array_equal(scaled_priorities(state)[: 2 * B], [1, 1, 9, 1, 0.5, 1, 1, 1])
    full = replay.add(state, jnp.int32(labels(2, ROWS, B)))
    np.testing.assert_array_equal(scaled_priorities(full), 9)
    for number, largest in ((0.5, 8.1), (7.0, 7.29), (8.0, 8.0)):
        state = replay.update_priorities(state, twice, jnp.full(3, number))
        assert float(state.priorities.highest) == pytest.approx(largest)


@pytest.mark.covers("per")
@pytest.mark.parametrize("kind", [proportional, rank_based])
def test_one_outlier_does_not_starve_the_rest(kind):
    """300 batches of errors of 0.1 after one of 10^6, whose item was overwritten: new items have the priority of all
    others, and a batch of 64 has almost as many different items as a uniform one."""
    replay = kind(ReplayConfig(capacity=1000, batch_size=64))
    state = replay.add(replay.init(jnp.zeros(()), 1.0), jnp.zeros((1000, 1)))

    def step(state, i):
        errors = jnp.full(64, 0.1).at[0].set(jnp.where(i == 0, 1e6, 0.1))
        state = replay.update_priorities(state, replay.sample(state, jax.random.key(i)), errors)
        state = replay.add(state, jnp.zeros((4, 1)))
        return state, state.priorities.highest

    state, highest = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(300)))(state)
    assert highest[0] == 1e6
    np.testing.assert_allclose(highest[160:], 0.1, rtol=1e-5)
    drawn = np.unique(replay.sample(replay.refresh(state), jax.random.key(300)).row)
    assert len(drawn) > (55 if kind is proportional else 40)


@pytest.mark.covers("per")
def test_another_exponent_holds_from_then_on():
    """Priorities that are set after it have the new exponent, the others keep theirs; a uniform replay has none."""
    replay = proportional(CONFIG)
    state = replay.with_alpha(filled(proportional, np.full(N, 4.0), 0.5), 1.0)
    two = SampleIndices(row=jnp.array([0, 1]), env=jnp.array([1, 0]), weight=jnp.ones(2))
    state = replay.update_priorities(state, two, jnp.array([4.0, 9.0]))
    np.testing.assert_allclose(scaled_priorities(state)[:6], [2, 4, 2, 2, 9, 2], rtol=1e-6)
    plain = uniform(CONFIG).init(jnp.int32(0))
    assert uniform(CONFIG).with_alpha(plain, 0.3) is plain


@pytest.mark.covers("per")
def test_rank_based_probabilities():
    """Sorted: scaled priorities are rank^-alpha by SciPy's ranks, at any scale of priorities. Between two sortings: a
    changed priority gets the rank it would have had, a new item the first, and one of priority 0 is never drawn."""
    replay, priority, alpha = rank_based(CONFIG), some_priorities(), 0.7

    def expected(priority):
        return np.where(priority > 0, stats.rankdata(-priority, "ordinal") ** -alpha, 0)

    refresh = jax.jit(replay.refresh)
    state = refresh(filled(rank_based, priority, alpha))
    np.testing.assert_allclose(scaled_priorities(state), expected(priority), rtol=1e-5)
    larger = refresh(filled(rank_based, 1000 * priority, alpha))
    np.testing.assert_allclose(scaled_priorities(larger), scaled_priorities(state), rtol=1e-5)

    changed = SampleIndices(row=jnp.array([0, 1, 2]), env=jnp.array([1, 1, 1]), weight=jnp.ones(3))
    report = np.array([1.0, 0.0, 100.0], np.float32)
    state = replay.update_priorities(state, changed, jnp.asarray(report))
    rank = 1 + np.array([np.sum(priority > p) for p in report])
    np.testing.assert_allclose(scaled_priorities(state)[[1, 5, 9]], [rank[0] ** -alpha, 0, 1], rtol=1e-5)

    priority[[1, 5, 9]] = report
    np.testing.assert_allclose(scaled_priorities(refresh(state)), expected(priority), rtol=1e-5)
    np.testing.assert_array_equal(scaled_priorities(replay.add(state, jnp.int32(labels(ROWS, 1, B))))[:B], 1)


@pytest.mark.covers("per")
def test_exponents_are_traced():
    """One compiled program serves every alpha and beta, and vmap sweeps both."""
    replay, priority = proportional(CONFIG), jnp.asarray(some_priorities(), jnp.float32)

    @jax.jit
    def run(alpha, beta):
        return replay.sample(fill(replay, priority, alpha), jax.random.key(0), beta).weight

    values = jnp.array([[0.3, 0.4], [0.6, 0.7], [1.0, 1.0]])
    alone = [run(alpha, beta) for alpha, beta in values]
    assert run._cache_size() == 1
    np.testing.assert_allclose(jax.vmap(run)(*values.T), alone, rtol=1e-6)
    assert not np.allclose(alone[0], alone[2])
