"""Trials and the blocks they are spread over, against lists."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.driver import grid
from purerl.driver.running import program
from purerl.driver.running.trials import Blocks, Trials
from tests.support.toy import KEY, ToyHypers, assert_same


def test_trials_are_the_product_of_points_and_seeds():
    """Point-major: trial m has the hyperparameters of point m // S and the key of seed m mod S."""
    sweep = grid(ToyHypers(), rate=[0.5, 2.0], calm=[1, 2, 3])
    trials = Trials.of(sweep, KEY, num_seeds=4)
    seeds = jax.random.key_data(program.seed_keys(KEY, 4))
    assert trials.num_trials == 24
    for m, ((rate, calm), seed) in enumerate(itertools.product(itertools.product([0.5, 2.0], [1, 2, 3]), range(4))):
        hypers = jax.tree.map(lambda leaf, m=m: leaf[m], trials.hypers)
        assert (hypers.rate, hypers.calm, hypers.limit) == (rate, calm, math.inf)
        np.testing.assert_array_equal(jax.random.key_data(trials.keys)[m], seeds[seed])
        assert trials.columns.prefix(m) == (m // 4, rate, calm, seed)
    assert_same(trials.base, sweep.point(0))


def test_a_run_without_a_sweep_has_one_point():
    """Every seed has the hyperparameters as they are, as arrays that are not weakly typed."""
    trials = Trials.of(ToyHypers(rate=0.5), KEY, num_seeds=3)
    assert (trials.num_trials, trials.columns.num_points, trials.columns.swept) == (3, 1, {})
    np.testing.assert_array_equal(trials.hypers.rate, [0.5] * 3)
    for leaf in jax.tree.leaves((trials.hypers, trials.base)):
        assert not getattr(leaf, "weak_type", False)
    assert trials.hypers.calm.dtype == jnp.int32


@pytest.mark.parametrize("num_trials", range(1, 9))
@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100, None])
def test_blocks_hold_every_trial_once(num_trials, at_once):
    """As few equal blocks as the limit allows, none larger than needed, every trial in its place."""
    blocks = Blocks.of(num_trials, at_once, None)
    limit = at_once or num_trials
    assert blocks.num_blocks == math.ceil(num_trials / limit)
    assert blocks.size == math.ceil(num_trials / blocks.num_blocks) <= limit
    indices = [i for block in range(blocks.num_blocks) for i in blocks.indices(block).tolist()]
    assert indices[:num_trials] == list(range(num_trials))
    assert set(indices[num_trials:]) <= {num_trials - 1}  # what fills the last block up


@pytest.mark.parametrize("at_once", [1, 2, 3, None])
def test_joining_undoes_splitting(at_once):
    """Arrays and typed keys of 5 trials come back from blocks that fit and from those that do not."""
    tree = {"x": jnp.arange(10.0).reshape(5, 2), "key": jax.random.split(KEY, 5)}
    blocks = Blocks.of(5, at_once, None)
    parts = blocks.split(tree)
    assert [len(part["x"]) for part in parts] == [blocks.size] * blocks.num_blocks
    assert_same(blocks.join(parts), tree)
