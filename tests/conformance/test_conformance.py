"""What every algorithm must do, whatever it learns. One suite over the list in ``algorithms.py``."""

import functools
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithm import Algorithm
from purerl.kernels.moments import Compensated
from purerl.train import checkpoint, loop
from tests.conformance.algorithms import CASES

NUM_SEEDS = 3


@pytest.fixture(params=sorted(CASES), scope="module")
def name(request) -> str:
    return request.param


@functools.cache
def algorithm_of(name: str) -> Algorithm:
    return CASES[name].make()


@functools.cache
def runner(name: str):
    """``(hypers, states, keys, start, stop) -> (states, metrics)``, compiled, and a list that grows per trace."""
    traces = []

    def run(hypers, states, keys, start, stop):
        traces.append(None)
        return loop.run_updates(algorithm_of(name), hypers, states, keys, start, stop)

    return jax.jit(run), traces


@functools.cache
def start(name: str):
    """Keys and initial states of all seeds."""
    keys = loop.seed_keys(jax.random.key(7), NUM_SEEDS)
    return keys, jax.jit(functools.partial(loop.init_states, algorithm_of(name)))(CASES[name].hypers, keys)


def assert_same(a, b) -> None:
    """Equal bit for bit, also in structure and dtype."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype, jax.tree_util.keystr(path)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path))


def joined(state):
    """The state with every compensated sum as one number: alone, its low part is nothing but rounding."""
    return jax.tree.map(
        lambda x: x.high + x.low if isinstance(x, Compensated) else x,
        state,
        is_leaf=lambda x: isinstance(x, Compensated),
    )


def test_chunks_equal_the_whole(name):
    """20 updates and then 40 leave the state of 60, bit for bit."""
    run, _ = runner(name)
    hypers, (keys, states) = CASES[name].hypers, start(name)
    whole, _ = run(hypers, states, keys, 0, 60)
    half, _ = run(hypers, states, keys, 0, 20)
    chunks, _ = run(hypers, half, keys, 20, 60)
    assert_same(whole, chunks)


def test_resumes_in_a_new_process(name, tmp_path):
    """20 updates, saved; a new process loads them and runs 40 more: the state of 60, bit for bit."""
    run, _ = runner(name)
    hypers, (keys, states) = CASES[name].hypers, start(name)
    half, _ = run(hypers, states, keys, 0, 20)
    checkpoint.save(tmp_path / "half", half)
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.conformance.resume", name, str(tmp_path / "half"), str(tmp_path / "whole")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, _ = run(hypers, states, keys, 0, 60)
    assert_same(whole, checkpoint.load(tmp_path / "whole", whole))


def test_vmapped_seed_equals_lone_seed(name):
    """Seed 1 run alone is row 1 of the vmapped run. Integers exactly, floats up to the rounding of batched products."""
    run, _ = runner(name)
    hypers, (keys, states) = CASES[name].hypers, start(name)
    together, _ = run(hypers, states, keys, 0, 3)
    alone, _ = jax.jit(functools.partial(loop.run_updates, algorithm_of(name)))(
        hypers, jax.tree.map(lambda x: x[1:2], states), keys[1:2], 0, 3
    )
    for row, lone in zip(jax.tree.leaves(joined(together)), jax.tree.leaves(joined(alone)), strict=True):
        np.testing.assert_allclose(np.asarray(row[1:2]), np.asarray(lone), rtol=2e-4, atol=2e-5)


def test_new_hypers_do_not_recompile(name):
    """Changing every hyperparameter and the number of updates traces nothing anew."""
    run, traces = runner(name)
    hypers, (keys, states) = CASES[name].hypers, start(name)
    run(hypers, states, keys, 0, 1)
    count = len(traces)
    same, _ = run(hypers, states, keys, 0, 2)
    other, _ = run(CASES[name].other_hypers, states, keys, 0, 2)
    assert len(traces) == count
    assert any(
        not np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(other), strict=True)
    )


def test_seeds_differ(name):
    """N seeds are N different runs, from their initial parameters on."""
    run, _ = runner(name)
    keys, states = start(name)
    for state in (states, run(CASES[name].hypers, states, keys, 0, 2)[0]):
        flat = np.concatenate(
            [
                np.asarray(x, np.float64).reshape(NUM_SEEDS, -1)
                for x in jax.tree.leaves(state)
                if jnp.issubdtype(x.dtype, jnp.number)
            ],
            axis=1,
        )
        for i in range(NUM_SEEDS):
            for j in range(i):
                assert not np.array_equal(flat[i], flat[j]), (i, j)


def test_keys_are_used_once(name):
    """``init``, ``update`` and ``act`` never consume a key twice."""
    algorithm, hypers = algorithm_of(name), CASES[name].hypers
    with jax.debug_key_reuse(True):
        init_key, update_key = jax.random.split(jax.random.key(0))
        state = jax.jit(algorithm.init)(hypers, init_key)
        jax.jit(algorithm.update)(hypers, state, update_key)


def test_state_keeps_its_types(name):
    """The state after an update has the structure, shapes, dtypes and weak types of the one before."""
    algorithm, hypers = algorithm_of(name), CASES[name].hypers
    before = jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
    after, _ = jax.eval_shape(algorithm.update, hypers, before, jax.random.key(0))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for (path, x), y in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype), jax.tree_util.keystr(path)
        assert not x.weak_type, f"{jax.tree_util.keystr(path)} starts with a weak type"


def test_memory_does_not_grow_with_steps(name):
    """A thousand updates need the memory of ten."""
    hypers, (keys, states) = CASES[name].hypers, start(name)

    def temporary_bytes(num_updates: int) -> int:
        def run(states):
            return loop.run_updates(algorithm_of(name), hypers, states, keys, 0, num_updates)

        return jax.jit(run).lower(states).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(1000) <= temporary_bytes(10) * 1.01 + 4096


def test_metrics_are_finite(name):
    """Every metric of every seed is finite, and counts are not negative."""
    run, _ = runner(name)
    keys, states = start(name)
    _, metrics = run(CASES[name].hypers, states, keys, 0, 60)
    assert metrics
    for metric, (total, count) in metrics.items():
        assert np.all(np.isfinite(total)), metric
        assert np.all(count >= 0), metric


def test_acts_and_evaluates(name):
    """``act`` answers one observation and a batch alike; evaluation returns so many finished episodes."""
    algorithm, hypers = algorithm_of(name), CASES[name].hypers
    state = jax.tree.map(lambda x: x[0], start(name)[1])
    episodes = jax.jit(algorithm.spec.evaluate, static_argnums=3)(hypers, state, jax.random.key(1), 5)
    assert episodes.returns.shape == episodes.lengths.shape == (5,)
    assert np.all(np.isfinite(episodes.returns)) and np.all(np.asarray(episodes.lengths) > 0)
