"""The compiled programs: keys, updates in pieces, metrics as sums, states with NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.driver.running import program
from tests.support.toy import KEY, ToyHypers, assert_same, toy

NUM = 6


@pytest.fixture(scope="module")
def trials():
    """Trials of the toy at their start, and their keys."""
    keys = program.seed_keys(KEY, NUM)
    hypers = jax.tree.map(lambda leaf: jnp.full(NUM, leaf), ToyHypers())
    return program.init(toy(), hypers, keys), keys


@pytest.fixture(scope="module")
def run():
    """``(trials, keys, start, stop, fresh) -> (trials, reading)``, compiled once."""
    return jax.jit(lambda carry, keys, start, stop, fresh: program.run(toy(), carry, keys, start, stop, fresh))


def test_keys_of_seeds_do_not_depend_on_their_number():
    """Keys of seeds are distinct, the first ones of any number are the same, and another root gives others."""
    few, many = (jax.random.key_data(program.seed_keys(KEY, n)) for n in (2, 50))
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(many, axis=0)) == 50
    assert not np.any(np.all(jax.random.key_data(program.seed_keys(jax.random.key(1), 2)) == few, axis=1))


def test_updates_in_pieces_are_the_updates_in_one(trials, run):
    """Updates 0 to 7 in one call and in two: states, sums and what is read of them, bit for bit."""
    carry, keys = trials
    whole = run(carry, keys, 0, 8, False)
    assert_same(run(run(carry, keys, 0, 3, False)[0], keys, 3, 8, False), whole)
    np.testing.assert_array_equal(whole[0].states.num_updates, [8] * NUM)


def test_fresh_sums_begin_at_zero(trials, run):
    """The metric ``number`` is that of the update: its sum over updates 3 and 4 alone, or over all five."""
    carry, keys = trials
    first, _ = run(carry, keys, 0, 3, False)
    for fresh, total, count in ((True, 3 + 4, 2), (False, 0 + 1 + 2 + 3 + 4, 5)):
        sums = run(first, keys, 3, 5, fresh)[0].sums["number"]
        assert (sums.total.tolist(), sums.number.tolist()) == ([total] * NUM, [count] * NUM)


def test_what_is_read_is_in_the_order_of_names(trials, run):
    """Totals and counts of the metrics, in the order of their names; nobody has diverged."""
    carry, reading = run(*trials, 0, 5, False)
    for i, name in enumerate(sorted(carry.sums)):
        np.testing.assert_array_equal(reading.sums[:, i], np.stack(carry.sums[name], axis=1))
    assert reading.diverged_at.tolist() == [program.NEVER] * NUM


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"a": jnp.ones(2)}, False),
        ({"a": jnp.array([1.0, jnp.nan]), "n": jnp.array(3)}, True),
        ({"n": jnp.array(3)}, False),
    ]
    + [({"a": jnp.array(jnp.inf), "key": KEY}, False), ({}, False)],
)
def test_nan_of_a_state_is_found(state, expected):
    """In any floating-point leaf; an infinity, integers and keys are none."""
    assert bool(program.has_nan(state)) is expected


def test_a_lone_trial_is_not_batched():
    """The function of one trial sees it without the axis; of several as lanes of a vmap."""
    shapes = []

    def function(trial, shared):
        shapes.append((type(trial).__name__, trial.shape))
        return trial + shared

    for num in (1, 3):
        assert program.over_trials(function, None)(jnp.ones((num, 2)), 1.0).tolist() == [[2.0, 2.0]] * num
    assert [shape for _, shape in shapes] == [(2,), (2,)]
    assert "Tracer" not in shapes[0][0] and "Tracer" in shapes[1][0]
