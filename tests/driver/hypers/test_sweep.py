"""Grids, random searches and their command-line form, against hand results and SciPy's distributions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from scipy import stats

from purerl.driver.hypers import sweep
from purerl.driver.hypers.sweep import choice, grid, log_uniform, parse, random_search, split, uniform
from tests.support.toy import ToyHypers


class Inner(struct.PyTreeNode):
    """A record within a record."""

    scale: float = 1.0


class Hypers(struct.PyTreeNode):
    """Every kind of field: numbers of three types, an array, and a record."""

    learning_rate: float = 3e-4
    gamma: float = 0.99
    horizon: int = 5
    flag: bool = False
    weights: jax.Array = struct.field(default_factory=lambda: jnp.arange(3.0))
    inner: Inner = struct.field(default_factory=Inner)
    name: str = struct.field(pytree_node=False, default="fixed")


def assert_same(tree, expected):
    """Equal structure, values, shapes and dtypes, none weakly typed."""
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        assert (leaf.shape, leaf.dtype) == (jnp.shape(other), jnp.asarray(other).dtype)
        assert not getattr(leaf, "weak_type", False)
        np.testing.assert_array_equal(leaf, jnp.asarray(other))


def test_grid_is_the_product_with_the_last_field_fastest():
    """Six points equal nested loops by hand; every leaf has the axis P and keeps its dtype and its value."""
    made = grid(Hypers(), learning_rate=[1e-3, 1e-4], horizon=[1, 2, 3])
    assert made.num_points == 6
    np.testing.assert_array_equal(made.values["learning_rate"], np.repeat([1e-3, 1e-4], 3))
    np.testing.assert_array_equal(made.values["horizon"], [1, 2, 3, 1, 2, 3])
    assert list(made.values) == ["learning_rate", "horizon"]
    loops = itertools.product([1e-3, 1e-4], [1, 2, 3])
    for i, (learning_rate, horizon) in enumerate(loops):
        assert_same(made.point(i), Hypers(learning_rate=learning_rate, horizon=horizon))
    assert made.hypers.weights.shape == (6, 3) and made.hypers.inner.scale.shape == (6,)
    assert_same(made.point(-1), made.point(5))


def test_grid_takes_numpy_values_and_any_dtype():
    """Values of np.logspace, flags, and half-precision fields: the leaves are what the field's dtype makes of them."""
    rates = np.logspace(-4, -2, 3)
    made = grid(Hypers(gamma=jnp.bfloat16(0.5)), learning_rate=rates, gamma=[0.9, 1], flag=[True])
    np.testing.assert_array_equal(made.hypers.learning_rate[::2], rates.astype(np.float32))
    assert made.hypers.gamma.dtype == jnp.bfloat16 and made.hypers.flag.dtype == bool
    np.testing.assert_array_equal(made.hypers.gamma[:2], jnp.array([0.9, 1.0], jnp.bfloat16))


def test_a_point_describes_itself():
    """Fields in the order given, numbers as people write them, and different numbers differently."""
    made = grid(Hypers(), learning_rate=[1e-3, 2.5e-5], gamma=[0.9999999, 1], flag=[True])
    assert [made.describe(i) for i in range(4)] == [
        "learning_rate=0.001 gamma=0.9999999 flag=true",
        "learning_rate=0.001 gamma=1 flag=true",
        "learning_rate=2.5e-05 gamma=0.9999999 flag=true",
        "learning_rate=2.5e-05 gamma=1 flag=true",
    ]
    for i in (4, -5):
        with pytest.raises(IndexError, match=f"Point {i} of a sweep that has 4 points"):
            made.point(i)


def test_points_of_a_list():
    """Points need not be a product; their fields come in the order of the first."""
    made = sweep.points(Hypers(), [{"gamma": 0.5, "horizon": 1}, {"horizon": 2, "gamma": 0.7}])
    assert [made.describe(i) for i in range(2)] == ["gamma=0.5 horizon=1", "gamma=0.7 horizon=2"]
    with pytest.raises(ValueError, match=r"Point 1 has the fields \['horizon'\], but point 0 has \['gamma'\]"):
        sweep.points(Hypers(), [{"gamma": 0.5}, {"horizon": 1}])


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [(uniform(-1, 3), stats.uniform(-1, 4)), (log_uniform(1e-5, 1e-2), stats.loguniform(1e-5, 1e-2))],
    ids=("uniform", "log_uniform"),
)
def test_quantiles_and_draws_agree_with_scipy(distribution, expected):
    """The quantile function is SciPy's ppf, and 2000 draws pass its Kolmogorov-Smirnov test."""
    for u in np.linspace(0, 0.99, 12):
        np.testing.assert_allclose(distribution.quantile(u), expected.ppf(u), rtol=1e-9)
    draws = [point["x"] for point in sweep.draw({"x": distribution}, jax.random.key(1), 2000)]
    assert stats.kstest(draws, expected.cdf).pvalue > 0.01


def test_choice_draws_each_value_alike():
    """Counts of 3000 draws of three values pass a chi-square test; values keep their types."""
    values = (4, 0.5, "word")
    draws = [point["x"] for point in sweep.draw({"x": choice(values)}, jax.random.key(2), 3000)]
    assert stats.chisquare([draws.count(value) for value in values]).pvalue > 0.01
    assert {type(draw) for draw in draws} == {int, float, str}


def test_more_points_and_fields_leave_earlier_draws_alone():
    """Draws of a field depend on the key, its name and the point's number; two fields alike draw differently."""
    key = jax.random.key(0)
    few = random_search(Hypers(), key, 3, learning_rate=uniform(0, 1))
    many = random_search(Hypers(), key, num_points=5, gamma=uniform(0, 1), learning_rate=uniform(0, 1))
    np.testing.assert_array_equal(few.values["learning_rate"], many.values["learning_rate"][:3])
    np.testing.assert_array_equal(few.hypers.learning_rate, few.values["learning_rate"].astype(np.float32))
    assert len({*many.values["learning_rate"], *many.values["gamma"]}) == 10
    other = random_search(Hypers(), jax.random.key(1), 3, learning_rate=uniform(0, 1))
    assert not np.any(other.values["learning_rate"] == few.values["learning_rate"])


def test_draws_are_the_same_in_every_process():
    """Names are folded in by a checksum, not by Python's salted hash; gzip gives this CRC-32 for "gamma"."""
    (point,) = sweep.draw({"gamma": uniform(0, 1)}, jax.random.key(0), 1)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0xC443D071), 0)
    assert point["gamma"] == float(jax.random.uniform(key))


def test_a_sweep_vmaps_without_compiling_anew():
    """One compiled function serves a vmap over any sweep of so many points."""
    compiles = []

    @jax.jit
    @jax.vmap
    def function(hypers):
        compiles.append(1)
        return hypers.learning_rate * hypers.weights.sum()

    np.testing.assert_allclose(function(grid(Hypers(), learning_rate=[1, 2]).hypers), [3, 6])
    np.testing.assert_allclose(function(grid(Hypers(), gamma=[0.5, 0.6]).hypers), [9e-4, 9e-4], rtol=1e-6)
    assert len(compiles) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one point with at least one field"),
        ({"gama": [0.9]}, r"Hypers has no field 'gama'. Near: 'gamma'. Fields: learning_rate, gamma, "),
        ({"name": ["other"]}, "Hypers has no field 'name'"),
        ({"inner": [1.0]}, "Hypers.inner holds Inner, not a number"),
        ({"weights": [1.0]}, r"weights is an array of shape \(3,\): only scalars"),
        ({"gamma": []}, r"gamma = \[\]: there is no value"),
        ({"gamma": 0.9}, r"gamma = '0.9': give a list of values, such as gamma=\[0.1, 0.2\]"),
        ({"gamma": "0.9"}, "give a list"),
        ({"gamma": uniform(0, 1)}, "give a list"),
        ({"gamma": [0.9, 0.8, 0.9]}, "gamma: the value 0.9 comes twice"),
        ({"gamma": [0.9, float("nan")]}, "gamma = nan: it must be finite"),
        ({"gamma": [1e300]}, r"gamma = 1e\+300: it must be finite, as float32 too"),
        ({"gamma": ["high"]}, "gamma = 'high': gamma takes numbers"),
        ({"gamma": [None]}, "gamma takes numbers"),
        ({"gamma": [True]}, "gamma takes numbers"),
        ({"gamma": [(0.9, 0.8)]}, "gamma takes numbers"),
        ({"flag": [1]}, "flag = 1: flag takes True or False"),
        ({"horizon": [1.5]}, "horizon = 1.5: horizon is int32, which cannot hold that"),
    ],
)
def test_wrong_grids_are_refused(fields, message):
    """Each names the field, the value and what to give."""
    with pytest.raises(ValueError, match=message):
        grid(Hypers(), **fields)


def test_infinity_is_swept_where_the_range_has_it():
    """A limit may be infinite, and is so in its point; no number, or too large a one, it may not be."""
    swept = grid(ToyHypers(), limit=[float("inf"), 2.0])
    np.testing.assert_array_equal(swept.hypers.limit, [np.inf, 2])
    for wrong in (float("nan"), 1e300):
        with pytest.raises(ValueError, match="it must be finite"):
            grid(ToyHypers(), limit=[wrong])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(2, 1), r"uniform\(2,1\): low must be below high"),
        (lambda: uniform(1, 1), "low must be below high"),
        (lambda: uniform(0, float("inf")), "both ends must be finite numbers"),
        (lambda: uniform("0", 1), "both ends must be finite numbers"),
        (lambda: log_uniform(0, 1), r"log_uniform\(0,1\): low must be above 0.* Use uniform\(0,1\)"),
        (lambda: choice([]), "there is no value"),
        (lambda: random_search(Hypers(), jax.random.key(0), 0, gamma=uniform(0, 1)), "num_points = 0"),
        (lambda: random_search(Hypers(), jax.random.key(0), 1), "at least one field"),
        (lambda: random_search(Hypers(), jax.random.key(0), 1, gamma=[0.1]), r"gamma = \[0.1\] is no distribution"),
        (lambda: random_search(Hypers(), jax.random.key(0), 1, gama=uniform(0, 1)), "Near: 'gamma'"),
        (lambda: random_search(Hypers(), jax.random.key(0), 1, gamma=choice(["a"])), "gamma takes numbers"),
    ],
)
def test_wrong_searches_are_refused(make, message):
    """Each names the distribution or the field, and what to give."""
    with pytest.raises(ValueError, match=message):
        make()


def test_command_line_values_are_read_by_their_looks():
    """Numbers, flags, words and tuples, by item; types as the Config's fields have them."""
    items = ["learning_rate=1e-4,3e-4", "gamma=0.9", "num_envs=4, 8", "torso=mlp,cnn", "norm=true,False"]
    fields = parse([*items, "hidden_sizes=64x64,128x,32x16x8"])
    assert fields == {
        "learning_rate": (1e-4, 3e-4),
        "gamma": (0.9,),
        "num_envs": (4, 8),
        "torso": ("mlp", "cnn"),
        "norm": (True, False),
        "hidden_sizes": ((64, 64), (128,), (32, 16, 8)),
    }
    assert [type(value) for value in fields["num_envs"] + fields["norm"]] == [int, int, bool, bool]
    assert parse([]) == {}


@pytest.mark.parametrize(
    "distribution",
    [uniform(0.1, 0.3), log_uniform(1e-5, 1e-2), choice([1, 2.5, True, "cnn", (64, 64), (8,)])],
    ids=str,
)
def test_distributions_survive_the_command_line(distribution):
    """``parse`` of what ``str`` gives is the same distribution: equal, and with the same quantiles."""
    (read,) = parse([f"x={distribution}"]).values()
    assert read == distribution and hash(read) == hash(distribution)
    for u in np.linspace(0, 0.9, 7):
        assert read.quantile(u) == distribution.quantile(u)
    assert read != uniform(0, 1)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["gamma"], "Sweep item 'gamma' is not of the form FIELD=VALUES: FIELD=1,2,3 or "),
        (["=1"], "Sweep item '=1' is not of the form"),
        (["gamma="], "Sweep item 'gamma=': it has no value"),
        (["gamma=1,,2"], "Sweep item 'gamma=1,,2': a value is empty. Write"),
        (["gamma=1", "gamma=2"], "Sweep item 'gamma=2': gamma is '1' already"),
        (["gamma=uniform(0,1"], "the bracket does not close at the end. Write"),
        (["gamma=uniform(0,1),2"], "the bracket does not close at the end"),
        (["gamma=unifrom(0,1)"], "no distribution 'unifrom'. Near: 'uniform'"),
        (["gamma=uniform(1)"], "uniform takes two numbers"),
        (["gamma=uniform(a,b)"], "both ends must be finite numbers"),
        (["gamma=uniform(1,0)"], r"Sweep item 'gamma=uniform\(1,0\)': .* low must be below high. Write"),
        (["gamma=choice()"], "a value is empty"),
        (
            ["a=1,2", "b=uniform(0,1)"],
            r"grid \(a\) mixed with random draws .* with a=choice\(1,2\), or list",
        ),
    ],
)
def test_wrong_command_lines_are_refused(items, message):
    """Each quotes the item and shows the right form."""
    with pytest.raises(ValueError, match=message):
        parse(items)


def test_fields_are_split_between_hypers_and_config():
    """Each goes where its name is known, in the order given; a name known nowhere is refused with near ones of both."""
    fields = {"num_envs": (4, 8), "gamma": (0.9,), "torso": ("mlp",)}
    hypers, config = split(fields, ["gamma", "clip"], ["torso", "num_envs"])
    assert hypers == {"gamma": (0.9,)}
    assert list(config.items()) == [("num_envs", (4, 8)), ("torso", ("mlp",))]
    with pytest.raises(ValueError, match=r"no 'num_env' to sweep. Near: 'num_envs'. Fields: gamma, num_envs"):
        split({"num_env": (1,)}, ["gamma"], ["num_envs"])
