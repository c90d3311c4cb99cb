"""What every algorithm must do, whatever it learns. One suite over the list in ``algorithms.py``."""

import functools
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl.algorithm import Algorithm
from purerl.driver.hypers import sweep
from purerl.driver.running import program
from purerl.driver.storage.checkpoint import Checkpoints
from purerl.kernels.moments import Compensated
from tests.conformance.algorithms import CASES
from tests.conformance.members import HALF, KEY, NUM_SEEDS, WHOLE, compiled, members_of
from tests.support.toy import assert_same


@pytest.fixture(params=sorted(CASES), scope="module")
def name(request):
    """The algorithms one after another: the programs of one are let go of before the next."""
    yield request.param
    for cached in (algorithm_of, starter, start, runner, lone_runner, after):
        cached.cache_clear()
    jax.clear_caches()


@functools.cache
def algorithm_of(name: str) -> Algorithm:
    return CASES[name].make()


@functools.cache
def starter(name: str):
    """``(hypers, keys) -> carry``, compiled for each number of members."""
    return jax.jit(functools.partial(program.init, algorithm_of(name)))


@functools.cache
def start(name: str) -> program.Carry:
    """All seeds at their start."""
    return starter(name)(*members_of(CASES[name].hypers))


@functools.cache
def runner(name: str):
    """The program of all seeds."""
    return compiled(algorithm_of(name), start(name), members_of(CASES[name].hypers)[1])


@functools.cache
def lone_runner(name: str):
    """:func:`runner` for one member, whose program is not vmapped, on its own."""
    return compiled(algorithm_of(name), member(start(name), 0), members_of(CASES[name].hypers)[1][:1])


def run(name: str, carry: program.Carry, begin: int, end: int) -> program.Carry:
    """All seeds from one number of updates to another."""
    return runner(name)(carry, members_of(CASES[name].hypers)[1], begin, end)


def run_alone(name: str, carry: program.Carry, keys: jax.Array, num_updates: int) -> program.Carry:
    """One member from its start."""
    return lone_runner(name)(carry, keys, 0, num_updates)


@functools.cache
def after(name: str, num_updates: int) -> program.Carry:
    """All seeds after so many updates."""
    return run(name, start(name), 0, num_updates)


def member(tree, i: int):
    """One of the members, its axis kept."""
    return jax.tree.map(lambda x: x[i : i + 1], tree)


def assert_near(a, b) -> None:
    """Equal up to the rounding of batched products."""
    for (path, x), y in zip(jax.tree.leaves_with_path(joined(a)), jax.tree.leaves(joined(b)), strict=True):
        np.testing.assert_allclose(
            np.asarray(x), np.asarray(y), rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path)
        )


def joined(state):
    """The state with every compensated sum as one number: alone, its low part is nothing but rounding."""
    return jax.tree.map(
        lambda x: x.high + x.low if isinstance(x, Compensated) else x,
        state,
        is_leaf=lambda x: isinstance(x, Compensated),
    )


def differ(a, b) -> bool:
    """Whether any numbers of two trees are not the same."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(
        not np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs if jnp.issubdtype(x.dtype, jnp.number)
    )


def test_chunks_equal_the_whole(name):
    """Half of the updates and then the others leave the state of all, bit for bit, sums of metrics included."""
    assert_same(run(name, after(name, HALF), HALF, WHOLE), after(name, WHOLE))


def test_resumes_in_a_new_process(name, tmp_path):
    """Half of the updates, saved; a new process loads them and runs the others: the state of all, bit for bit."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(HALF, after(name, HALF), {})
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.conformance.resume", name, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert_same(checkpoints.load(after(name, WHOLE), step=WHOLE).state, after(name, WHOLE))


def test_a_fork_goes_on_with_other_hypers(name, tmp_path):
    """Saved half-way, loaded, and every hyperparameter changed: the other half is that of a run whose numbers were
    changed in its midst, and not that of the run that was saved."""
    others, _ = members_of(CASES[name].other_hypers)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(HALF, after(name, HALF), {})
        loaded = checkpoints.load(after(name, HALF)).state
    fork = run(name, loaded.replace(hypers=others), HALF, WHOLE)
    assert_same(fork, run(name, after(name, HALF).replace(hypers=others), HALF, WHOLE))
    assert differ(fork.states, after(name, WHOLE).states)


def test_vmapped_seed_equals_lone_seed(name):
    """Seed 1 run alone is row 1 of the vmapped run. Integers exactly, floats up to the rounding of batched products."""
    keys = members_of(CASES[name].hypers)[1]
    alone = run_alone(name, member(start(name), 1), keys[1:2], 3)
    assert_near(member(after(name, 3).states, 1), alone.states)


def test_a_member_of_a_sweep_equals_a_lone_run(name):
    """Members that differ in every hyperparameter and in their seeds, side by side: each is the lone run of its own, up
    to the rounding of batched products."""
    (hypers, keys), (others, _) = members_of(CASES[name].hypers), members_of(CASES[name].other_hypers)
    mixed = jax.tree.map(lambda a, b: jnp.stack([a[0], b[0], a[0]]), hypers, others)
    initial = starter(name)(mixed, keys)
    together = run(name, initial, 0, 3)
    for i in range(NUM_SEEDS):
        alone = run_alone(name, member(initial, i), keys[i : i + 1], 3)
        assert_near(member(together.states, i), alone.states)
    assert differ(member(together.states, 0), member(together.states, 1))


def test_a_sweep_through_the_driver_is_its_lone_runs(name):
    """Two points in every finite number, one at a time: the driver's states are the lone program's, bit for bit."""
    case, spec = CASES[name], algorithm_of(name).spec
    points = [{field: getattr(hypers, field) for field in swept_fields(case)} for hypers in case[1:]]
    result = purerl.train(
        algorithm_of(name),
        sweep.points(case.hypers, points),
        KEY,
        num_env_steps=spec.env_steps_of_init + 3 * spec.env_steps_per_update,
        members_at_once=1,
        eval_every=0,
        progress=False,
    )
    for i, point in enumerate(points):
        hypers, keys = member(members_of(case.hypers.replace(**point)), 0)
        alone = run_alone(name, starter(name)(hypers, keys), keys, 3)
        assert_same(jax.tree.map(lambda x, i=i: x[i], result.states), alone.states)


def swept_fields(case) -> list[str]:
    """Hyperparameters that are finite numbers in both sets: what a sweep can hold."""
    return [
        name
        for name, value in vars(case.hypers).items()
        if np.ndim(value) == 0 and np.isfinite(value) and np.isfinite(getattr(case.other_hypers, name))
    ]


def test_new_hypers_do_not_recompile(name):
    """The program that was compiled for one set of hyperparameters takes another in which every number differs."""
    others, _ = members_of(CASES[name].other_hypers)
    assert differ(run(name, start(name).replace(hypers=others), 0, 10).states, run(name, start(name), 0, 10).states)


def test_seeds_differ(name):
    """N seeds are N different runs, from their initial parameters on."""
    for carry in (start(name), after(name, 2)):
        flat = np.concatenate(
            [
                np.asarray(x, np.float64).reshape(NUM_SEEDS, -1)
                for x in jax.tree.leaves(carry.states)
                if jnp.issubdtype(x.dtype, jnp.number)
            ],
            axis=1,
        )
        for i in range(NUM_SEEDS):
            for j in range(i):
                assert not np.array_equal(flat[i], flat[j]), (i, j)


def test_keys_are_used_once(name):
    """``init`` and ``update`` never consume a key twice: tracing them is enough to see it."""
    algorithm, hypers, key = algorithm_of(name), CASES[name].hypers, jax.random.key(0)
    state = jax.eval_shape(algorithm.init, hypers, key)
    with jax.debug_key_reuse(True):
        jax.jit(algorithm.init).trace(hypers, key)
        jax.jit(algorithm.update).trace(hypers, state, key)


def test_a_key_used_twice_is_found_by_tracing():
    """What :func:`test_keys_are_used_once` rests on."""
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key)).trace(jax.random.key(0))


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
    """One program serves any number of updates, so its scratch memory is the same for all; and what it leaves behind
    is as large after many as it was before the first."""

    def sizes(carry):
        return [(jax.tree_util.keystr(path), x.shape, x.dtype) for path, x in jax.tree.leaves_with_path(carry)]

    assert sizes(start(name)) == sizes(after(name, 2)) == sizes(after(name, WHOLE))


def test_metrics_are_finite(name):
    """Every metric of every seed is finite, counts are not negative, and no seed is held to have diverged."""
    carry = after(name, WHOLE)
    assert carry.sums
    for metric, (total, count) in carry.sums.items():
        assert np.all(np.isfinite(total)), metric
        assert np.all(count >= 0), metric
    np.testing.assert_array_equal(carry.diverged_at, [program.NEVER] * NUM_SEEDS)


def test_acts_and_evaluates(name):
    """``act`` answers one observation; evaluation, where there is any, returns so many finished episodes."""
    algorithm, hypers = algorithm_of(name), CASES[name].hypers
    state = jax.tree.map(lambda x: x[0], start(name).states)
    if algorithm.spec.evaluate is None:
        assert int(jax.jit(algorithm.act)(hypers, state, state.obs, jax.random.key(1))) in range(3)
        return
    episodes = jax.jit(algorithm.spec.evaluate, static_argnums=3)(hypers, state, jax.random.key(1), 5)
    assert episodes.returns.shape == episodes.lengths.shape == (5,)
    assert np.all(np.isfinite(episodes.returns)) and np.all(np.asarray(episodes.lengths) > 0)
