"""The opponent pool: sampling frequencies, overwritten entries, and why the latest opponent alone is too few."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl.games import pool as pools

RPS = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])  # of the row; paper beats rock
KINDS = ("uniform", "latest", "hard", "even")


def self_(number) -> dict[str, jax.Array]:
    """Parameters that say which self they are."""
    return {"weight": jnp.full((2, 3), number, float), "steps": jnp.int32(number)}


def filled(size: int, number: int, games=(), score=()) -> pools.Pool:
    """A pool to which entries 0, 1, ... were added, with results against the first slots."""
    pool = pools.init(self_(0), size)
    for i in range(1, number):
        pool = pools.add(pool, self_(i))
    slots = jnp.arange(len(games))
    results = pool.replace(games=pool.games.at[slots].add(jnp.array(games, float)))
    return results.replace(score=pool.score.at[slots].add(jnp.array(score, float)))


@pytest.mark.covers("opponent-pool")
def test_the_oldest_makes_way_and_its_statistics_go():
    """After 1 to 9 additions to 4 slots the last 4 entries are kept, each in slot i modulo 4; only the slot that was
    overwritten forgets its games."""
    pool = pools.init(self_(0), 4)
    for newest in range(1, 9):
        before = pool = pools.record(pool, jnp.arange(4), jnp.full(4, 0.5))
        pool = pools.add(pool, self_(newest))
        kept = range(max(0, newest - 3), newest + 1)
        slots = np.array([i % 4 for i in kept])
        np.testing.assert_array_equal(pool.params["steps"][slots], kept)
        np.testing.assert_array_equal(pool.params["weight"][slots, 1, 2], kept)
        others = np.arange(4) != newest % 4
        np.testing.assert_array_equal(pool.games, np.where(others, before.games, 0))
        np.testing.assert_array_equal(pool.score, np.where(others, before.score, 0))
        assert pool.num_added == newest + 1
    assert pool.params["steps"].dtype == jnp.int32


@pytest.mark.covers("opponent-pool")
def test_results_are_counted_where_they_belong():
    """A batch of results, several against one self, equals one after the other; win rates are means, 1/2 unplayed."""
    index, score = jnp.array([2, 0, 2, 2]), jnp.array([1.0, 0.5, 0.0, 1.0])
    together = pools.record(filled(4, 4), index, score)
    single = filled(4, 4)
    for i, s in zip(index, score, strict=True):
        single = pools.record(single, i, s)
    np.testing.assert_array_equal(together.games, [1, 0, 3, 0])
    np.testing.assert_array_equal(together.score, [0.5, 0, 2, 0])
    np.testing.assert_array_equal(single.games, together.games)
    np.testing.assert_array_equal(single.score, together.score)
    np.testing.assert_allclose(pools.win_rate(together), [0.5, 0.5, 2 / 3, 0.5])


@pytest.mark.covers("opponent-pool")
def test_probabilities_are_those_of_the_closed_forms():
    """Win rates 3/4, 1/4, 1 and 1/2 (unplayed) in 4 of 6 slots: each kind by hand; exponent 0 is uniform, always
    beaten entries are all alike, and the latest follows the ring round."""
    pool = filled(6, 4, games=[4, 8, 5], score=[3, 2, 5])

    def found(kind, exponent=1.0, pool=pool):
        return np.asarray(pools.probabilities(pool, kind, exponent))

    np.testing.assert_allclose(found("uniform"), [0.25, 0.25, 0.25, 0.25, 0, 0])
    np.testing.assert_array_equal(found("latest"), [0, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(found("hard"), np.array([1, 3, 0, 2, 0, 0]) / 6, rtol=1e-6)
    np.testing.assert_allclose(found("hard", 2.0), np.array([1, 9, 0, 4, 0, 0]) / 14, rtol=1e-6)
    np.testing.assert_allclose(found("even"), np.array([3, 3, 0, 4, 0, 0]) / 10, rtol=1e-6)
    np.testing.assert_allclose(found("even", 2.0), np.array([9, 9, 0, 16, 0, 0]) / 34, rtol=1e-6)
    for kind in ("hard", "even"):
        np.testing.assert_allclose(found(kind, 0.0), found("uniform"))
        np.testing.assert_allclose(found(kind, pool=filled(3, 2, [2, 1], [2, 1])), [0.5, 0.5, 0])
    np.testing.assert_array_equal(found("latest", pool=filled(3, 8)), [0, 1, 0])
    np.testing.assert_array_equal(found("latest", pool=filled(1, 5)), [1])


@pytest.mark.covers("opponent-pool")
def test_draws_occur_as_often_as_they_should():
    """20000 draws of every kind from a pool with empty slots: by chi-square as its probabilities say, never an empty
    slot nor one of weight 0, and the parameters are those of the slot."""
    pool = filled(6, 4, games=[4, 8, 5], score=[3, 2, 5])

    @jax.jit
    def draw(keys):
        return [jax.vmap(lambda key, kind=kind: pools.sample(pool, key, kind, 1.5))(keys) for kind in KINDS]

    for kind, (index, params) in zip(KINDS, draw(jax.random.split(jax.random.key(0), 20_000)), strict=True):
        chances = np.asarray(pools.probabilities(pool, kind, 1.5), np.float64)
        count = np.bincount(index, minlength=6)
        assert count[chances == 0].sum() == 0
        assert (
            stats.chisquare(count[chances > 0], 20_000 * chances[chances > 0] / chances.sum()).pvalue > 1e-3
            or kind == "latest"
        )
        np.testing.assert_array_equal(params["steps"], index)
        np.testing.assert_array_equal(params["weight"][:, 0, 0], index)


@pytest.mark.covers("opponent-pool")
def test_a_scan_of_members_writes_in_place():
    """A scanned and vmapped loop of draw, record and add equals the same steps one at a time; compiled, it needs no
    second copy of the pool."""
    score = jnp.array([1.0, 0.0, 0.5, 1.0, 0.0])

    def step(pool, inputs):
        key, score, number = inputs
        index, _ = pools.sample(pool, key, "hard")
        return pools.add(pools.record(pool, index, score), self_(number)), index

    def run(pool, key):
        return jax.lax.scan(step, pool, (jax.random.split(key, 5), score, jnp.arange(4, 9)))

    keys, start = jax.random.split(jax.random.key(0)), filled(3, 4)
    together, drawn = jax.jit(jax.vmap(run, (None, 0)))(start, keys)
    for member, key in enumerate(keys):
        pool = start
        for t, step_key in enumerate(jax.random.split(key, 5)):
            pool, index = step(pool, (step_key, score[t], 4 + t))
            assert index == drawn[member, t]
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[member], y), together, pool)  # noqa: B023

    big = pools.init(jnp.zeros(1000), 64)

    def adds(pool, params):
        return jax.lax.scan(lambda pool, one: (pools.add(pool, one), None), pool, params)[0]

    memory = jax.jit(adds, donate_argnums=0).lower(big, jnp.ones((8, 1000))).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= 64 * 1000 * 4
    assert memory.temp_size_in_bytes < 64 * 1000 * 4 / 4


def best_responses(kind: str, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Self-play on rock, paper, scissors: each self is the best response to those of the pool ``[T, 3]``, and the
    exploitability of each side that plays the average of all so far ``[T]``."""

    def step(carry, _):
        pool, total = carry
        against = pools.probabilities(pool, kind) @ pool.params
        answer = jax.nn.one_hot(jnp.argmax(RPS @ against), 3)
        total = total + answer
        average = total / total.sum()
        # The value is 0: a side is exploited by the reward of the best response to it.
        return (pools.add(pool, answer), total), (answer, jnp.max(RPS @ average))

    rock = jnp.array([1.0, 0.0, 0.0])
    _, (answers, exploitability) = jax.jit(
        lambda: jax.lax.scan(step, (pools.init(rock, num_steps + 1), rock), length=num_steps)
    )()
    return np.asarray(answers), np.asarray(exploitability)


@pytest.mark.covers("opponent-pool", "self-play")
def test_the_latest_self_is_chased_in_circles_and_the_pool_is_not():
    """Best responses to the latest self go round paper, scissors, rock for ever, each fully exploitable. Against the
    pool of all past opponents (fictitious play) the average comes as close to equilibrium as Robinson's theorem says:
    its exploitability falls below 1e-2, and every move to 1/3."""
    answers, _ = best_responses("latest", 30)
    np.testing.assert_array_equal(answers.argmax(1), np.tile([1, 2, 0], 10))
    assert np.all(np.max(RPS @ answers.T, axis=0) == 1)

    answers, exploitability = best_responses("uniform", 6000)
    assert exploitability[9] > 0.1
    assert exploitability[-1000:].max() < 1e-2
    np.testing.assert_allclose(answers.mean(0), 1 / 3, atol=1e-2)


@pytest.mark.covers("opponent-pool")
def test_what_cannot_be_is_refused():
    """A pool without room, and a kind of draw that there is not."""
    with pytest.raises(ValueError, match="size = 0"):
        pools.init(self_(0), 0)
    with pytest.raises(ValueError, match="kind = 'oldest': choose one of uniform, latest, hard, even"):
        pools.probabilities(filled(2, 1), "oldest")
