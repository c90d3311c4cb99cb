"""Population-based training: invariants of a selection, and a problem that no fixed setting solves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl.driver.hypers.population import PBT, check, exploit, exploit_and_explore, explore
from purerl.ranges import check_hypers, hyper


class Hypers(struct.PyTreeNode):
    """Two numbers that may evolve, and two fields that may not."""

    rate: jax.Array
    coef: jax.Array
    gamma: jax.Array
    count: jax.Array


class State(struct.PyTreeNode):
    """Leaves of several shapes and dtypes, a typed key among them."""

    weights: jax.Array  # [P, 2]
    flag: jax.Array  # [P]
    key: jax.Array  # [P]


def population(num_members):
    """Members that all differ in everything."""
    members = jnp.arange(num_members)
    hypers = Hypers(rate=1.0 + members / 7, coef=3.0 + members / 3, gamma=members / 100, count=members)
    weights = jax.random.normal(jax.random.key(1), (num_members, 2))
    return hypers, State(weights=weights, flag=members % 2 == 0, key=jax.random.split(jax.random.key(2), num_members))


def plain(tree):
    """Leaves as NumPy arrays, keys as their data."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in jax.tree.leaves(tree)]


@functools.cache
def selection(**fields):
    """A compiled selection with everything else as by default."""
    return jax.jit(functools.partial(exploit_and_explore, PBT(**{"every": 1, "names": ("rate", "coef"), **fields})))


SCORES = {
    "distinct": np.array([3, 9, -1, 4, 0, 8, 2, 7, 5, 6], np.float32),
    "diverged": np.array([3, np.nan, -1, 4, 0, -np.inf, 2, np.nan, 5, 6], np.float32),
    "equal": np.zeros(10, np.float32),
    "whole": np.array([3, 9, -1, 4, 0, 8, 2, 7, 5, 6], np.int32),
}
WORST_AND_BEST = {  # by hand, three of ten
    "distinct": ({2, 4, 6}, {1, 5, 7}),
    "diverged": ({1, 7, 5}, {9, 8, 3}),
    "equal": ({7, 8, 9}, {0, 1, 2}),  # ties go to the lower index
    "whole": ({2, 4, 6}, {1, 5, 7}),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_worst_copy_the_best_and_nobody_else_changes(name):
    """Over 40 keys: survivors keep every bit, losers have a parent's state and perturbed hypers, all parents occur."""
    worst, best = WORST_AND_BEST[name]
    hypers, states = population(10)
    seen = {loser: set() for loser in worst}
    for seed in range(40):
        new_hypers, new_states, parents = selection(fraction=0.3)(SCORES[name], hypers, states, jax.random.key(seed))
        assert parents.dtype == jnp.int32
        parents = np.asarray(parents)
        stays = np.array([i not in worst for i in range(10)])
        np.testing.assert_array_equal(parents[stays], np.flatnonzero(stays))
        for loser in worst:
            seen[loser].add(int(parents[loser]))
        for new, old in zip(plain(new_states), plain(states), strict=True):
            np.testing.assert_array_equal(new, old[parents])
        for new, old in zip(plain(new_hypers), plain(hypers), strict=True):
            np.testing.assert_array_equal(new[stays], old[stays])
            assert new.dtype == old.dtype
        np.testing.assert_array_equal(new_hypers.gamma, np.asarray(hypers.gamma)[parents])  # copied, not perturbed
        np.testing.assert_array_equal(new_hypers.count, np.asarray(hypers.count)[parents])
        for field in ("rate", "coef"):
            before, after = (np.asarray(getattr(h, field)) for h in (hypers, new_hypers))
            options = before[parents[~stays], None] * np.array([0.8, 1.25], np.float32)
            assert np.all(np.any(after[~stays, None] == options, axis=1))
    assert all(parents == best for parents in seen.values())


def test_perturbations_are_independent_and_uniform():
    """Over 400 keys the four combinations of two factors on two hyperparameters of a loser occur alike."""
    hypers, states = population(5)
    keys = jax.random.split(jax.random.key(3), 400)
    new, _, parents = jax.vmap(selection(), (None, None, None, 0))(jnp.arange(5.0), hypers, states, keys)
    assert set(np.asarray(parents[:, 0]).tolist()) == {4}
    up = np.stack([new.rate[:, 0] > hypers.rate[4], new.coef[:, 0] > hypers.coef[4]])
    counts = np.bincount(2 * up[0] + up[1], minlength=4)
    assert np.all(np.abs(counts - 100) < 40), counts  # 4.6 standard deviations


def test_bounds_hold():
    """A factor that would leave the bounds stops there; survivors outside them are not touched."""
    hypers, states = population(4)
    select = jax.jit(
        functools.partial(
            exploit_and_explore,
            PBT(every=1, names=("rate", "coef"), fraction=0.5, factors=(0.01, 100.0), bounds={"rate": (1.1, 1.2)}),
        )
    )
    new, _, _ = select(-jnp.arange(4.0), hypers, states, jax.random.key(0))
    np.testing.assert_array_equal(new.rate[:2], hypers.rate[:2])
    assert set(np.asarray(new.rate[2:])) <= {np.float32(1.1), np.float32(1.2)}
    assert np.all((new.coef[2:] < 0.1) | (new.coef[2:] > 100))


@pytest.mark.parametrize(
    ("scores", "parents"),
    [
        ([np.nan] * 4, {(0, 1, 2, 3)}),
        ([np.nan, np.nan, -5.0, np.nan], {(0, 2, 2, 2)}),
        ([np.nan, 1.0, np.nan, 0.0], {(1, 1, 1, 3), (1, 1, 3, 3), (3, 1, 1, 3), (3, 1, 3, 3)}),
    ],
)
def test_diverged_members_are_never_parents(scores, parents):
    """With half replaced: all diverged, all but one, and half of them; over 60 keys exactly the possible parents."""
    keys = jax.random.split(jax.random.key(0), 60)
    found = jax.vmap(lambda key: exploit(jnp.array(scores), 2, key))(keys)
    assert {tuple(row) for row in found.tolist()} == parents


def test_a_seed_axis_is_one_more_vmap():
    """Each seed's population evolves as it would alone, bit for bit."""
    hypers, states = population(6)
    scores = jax.random.normal(jax.random.key(5), (3, 6))
    keys = jax.random.split(jax.random.key(6), 3)
    together = jax.jit(jax.vmap(selection(), (0, None, None, 0)))(scores, hypers, states, keys)
    for seed in range(3):
        alone = selection()(scores[seed], hypers, states, keys[seed])
        for leaf, expected in zip(plain(jax.tree.map(lambda x: x[seed], together)), plain(alone), strict=True):  # noqa: B023
            np.testing.assert_array_equal(leaf, expected)


def test_no_key_is_used_twice():
    """JAX's own check of key reuse accepts a selection."""
    hypers, states = population(3)
    with jax.debug_key_reuse(True):
        _, _, parents = jax.jit(selection())(jnp.arange(3.0), hypers, states, jax.random.key(0))
    assert parents[0] == 2


@pytest.mark.parametrize(
    ("fraction", "num_members", "num_replaced"), [(0.2, 10, 2), (0.2, 9, 1), (0.2, 2, 1), (0.5, 5, 2), (0.29, 100, 29)]
)
def test_number_replaced(fraction, num_members, num_replaced):
    """floor(fraction P), but at least one, whatever 0.29 * 100 is in floating point."""
    assert PBT(every=1, names=("a",), fraction=fraction).num_replaced(num_members) == num_replaced


def test_solves_what_fixed_settings_do_not():
    """The toy of figure 2: Q = 1.2 - |theta|^2 is climbed through a surrogate that weighs one coordinate at a time.

    Each setting of the initial population all but ignores one coordinate, and ends near the 0.4 that it starts from
    there; members that copy and perturb each other come to weigh both, and reach the maximum, 1.2.
    """
    pbt = PBT(every=4, names=("h0", "h1"), fraction=0.25, factors=(0.5, 2.0), bounds={"h0": (0, 5), "h1": (0, 5)})

    class Surrogate(struct.PyTreeNode):
        h0: jax.Array
        h1: jax.Array

    def climb(hypers, theta):
        gradient = -2 * jnp.stack([hypers.h0, hypers.h1], axis=-1) * theta
        return theta + 0.05 * gradient

    def best_score(evolve):
        def segment(carry, key):
            hypers, theta = carry
            for _ in range(pbt.every):
                theta = climb(hypers, theta)
            scores = 1.2 - jnp.sum(theta**2, axis=-1)
            if evolve:
                hypers, theta, _ = exploit_and_explore(pbt, scores, hypers, theta, key)
            return (hypers, theta), jnp.max(scores)

        odd = jnp.arange(8) % 2 == 1
        hypers = Surrogate(h0=jnp.where(odd, 1.0, 1e-3), h1=jnp.where(odd, 1e-3, 1.0))
        keys = jax.random.split(jax.random.key(0), 40)
        return jax.jit(lambda: jax.lax.scan(segment, (hypers, jnp.full((8, 2), 0.9)), keys)[1][-1])()

    assert best_score(evolve=False) < 0.45
    assert best_score(evolve=True) > 1.19


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"every": 0}, "PBT.every = 0: it must be at least 1 environment step"),
        ({"names": ()}, r"PBT.names = \(\): give a tuple of different names"),
        ({"names": "rate"}, "PBT.names = 'rate': give a tuple"),
        ({"names": ("rate", "rate")}, "different names"),
        ({"fraction": 0.6}, r"PBT.fraction = 0.6: it must be in \(0, 0.5\]"),
        ({"fraction": 0.0}, "PBT.fraction = 0.0"),
        ({"factors": ()}, r"PBT.factors = \(\): give at least one"),
        ({"factors": (0.0, 1.0)}, "each finite and above 0"),
        ({"bounds": {"gamma": (0, 1)}}, "PBT.bounds has 'gamma', which is not in names"),
        ({"bounds": {"rate": (1, 0)}}, r"PBT.bounds\['rate'\] = \(1, 0\): low must not be above high"),
        ({"bounds": {"rate": (float("nan"), 0)}}, "low must not be above high"),
    ],
)
def test_wrong_settings_are_refused(fields, message):
    """At construction, naming the field and its range."""
    with pytest.raises(ValueError, match=message):
        PBT(**{"every": 1, "names": ("rate",), **fields})


class Shares(struct.PyTreeNode):
    """Hyperparameters that declare their ranges."""

    gamma: float = hyper(0.9, low=0, high=1)
    rate: float = hyper(1.0, above=0)
    steps: float = hyper(float("inf"), above=0, infinite=True)


def test_declared_ranges_hold():
    """A factor that would leave the range of a field stops at its end, above 0 and at 1; infinity stays."""
    pbt = PBT(every=1, names=("gamma", "rate", "steps"), factors=(2e-38, 1e30))
    members = Shares(*(jnp.full(64, value) for value in (0.9, 1e-3, jnp.inf)))
    new = jax.vmap(functools.partial(explore, pbt))(members, jax.random.split(jax.random.key(0), 64))
    check_hypers(new)
    assert set(np.unique(new.gamma > 0.5)) == {True, False} and new.gamma.max() == 1
    assert new.rate.min() == np.finfo(np.float32).tiny and np.isinf(new.steps).all()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"gamma": (0.5, 1.5)}, r"Shares.gamma, .* = 1.5: it must be in \[0, 1\]"),
        ({"rate": (0.0, 1.0)}, r"Shares.rate, .* = 0.0: it must be above 0"),
        ({"rate": (1.0, np.inf)}, r"Shares.rate, .* = inf: it must be finite, above 0"),
    ],
)
def test_bounds_only_narrow_a_declared_range(bounds, message):
    """Ends inside the range of the field are accepted, others refused by name."""
    check(PBT(every=1, names=("gamma",), bounds={"gamma": (0.5, 1.0)}), Shares(), 2)
    with pytest.raises(ValueError, match=message):
        check(PBT(every=1, names=("gamma", "rate"), bounds=bounds), Shares(), 2)


@pytest.mark.parametrize(
    ("names", "num_members", "message"),
    [
        (("rate",), 1, "A population of 1 cannot evolve: give it at least 2 members"),
        (("rat",), 4, "Hypers has no field 'rat'. Near: 'rate'"),
        (("count",), 4, "Hypers.count is int32: only floating-point numbers evolve"),
    ],
)
def test_wrong_populations_are_refused(names, num_members, message):
    """By ``check`` before anything runs, and by the selection."""
    hypers, states = population(num_members)
    pbt = PBT(every=1, names=names)
    with pytest.raises(ValueError, match=message):
        check(pbt, hypers, num_members)
    with pytest.raises(ValueError, match=message):
        exploit_and_explore(pbt, jnp.zeros(num_members), hypers, states, jax.random.key(0))


def test_missing_axes_are_refused():
    """Scores of two axes, and a leaf that has no axis of members, by its name."""
    hypers, states = population(4)
    pbt, key = PBT(every=1, names=("rate",)), jax.random.key(0)
    with pytest.raises(ValueError, match=r"scores has shape \(4, 1\): it must be \[P\]"):
        exploit_and_explore(pbt, jnp.zeros((4, 1)), hypers, states, key)
    with pytest.raises(ValueError, match=r"hypers.rate has shape \(\), but there are 4 scores"):
        exploit_and_explore(pbt, jnp.zeros(4), hypers.replace(rate=1.0), states, key)
