"""The fast laws: what every algorithm must do, checked for each on one small compiled program.

The runs that are compared are rows of one program (``runs.py``), so that a law costs running and not compiling.
"""

import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import purerl
from purerl import agent_file
from purerl.driver.hypers import sweep
from purerl.driver.running import program
from purerl.driver.storage.checkpoint import Checkpoints
from purerl.ranges import Range, check_hypers, initial_names, range_of
from purerl.types import PyTree
from tests.conformance import worker
from tests.conformance.algorithms import CASES, REPRESENTATIVES
from tests.conformance.case import Run
from tests.conformance.runs import (
    ALWAYS_TERMINATED,
    ALWAYS_TRUNCATED,
    CHANGED,
    COUNTERS,
    DEFAULTS,
    FIRST,
    HALF,
    INDICES,
    KEY,
    THIRD,
    TWIN,
    WHOLE,
    Runs,
    arrays,
    assert_near,
    counter,
    differ,
    row,
)
from tests.support.toy import assert_same

ALGORITHMS = pathlib.Path(__file__).parents[2] / "purerl" / "algorithms"
UNNAMED = ("dataset", "model", "teacher_model")  # arguments that a record cannot name: they are given again


@pytest.fixture(params=sorted(CASES), scope="module")
def runs(request):
    """The algorithms one after another: the programs of one are let go of before the next."""
    yield Runs(CASES[request.param], request.param)
    jax.clear_caches()


# --- the driver's promises --------------------------------------------------------------------------------


def test_chunks_equal_the_whole(runs):
    """Half of the updates and then the others leave the state of all, bit for bit, sums of metrics included."""
    assert_same(runs.run(runs.half, HALF, WHOLE), runs.whole)


def test_saved_and_loaded_state_goes_on(runs, tmp_path):
    """Half of the updates, saved, loaded, and the others: the state of all, bit for bit."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(HALF, runs.half, {})
        loaded = checkpoints.load(runs.half).state
    assert_same(runs.run(loaded, HALF, WHOLE), runs.whole)


@pytest.mark.parametrize("i", [FIRST, DEFAULTS], ids=["other-hypers", "default-hypers"])
def test_vmapped_run_equals_lone_run(runs, i):
    """Runs that differ in hyperparameters and seeds, side by side: each is the run of its own, integers exactly, floats
    up to the rounding of batched products. One lone program serves both sets of hyperparameters."""
    together = runs.run(runs.start, 0, 3)
    assert_near(row(together.states, i), runs.alone(i, 3).states)


def test_seeds_differ(runs):
    """Another seed is another run, from its initial state on, of which no two are alike; unless the case says why all
    runs begin, or also go on, as one: then they do."""
    case = runs.case
    for states, alike in (
        (runs.start.states, case.begins_alike or case.deterministic),
        (runs.half.states, case.deterministic),
    ):
        assert differ(row(states, FIRST), row(states, THIRD)) != bool(alike), alike or "seeds do not matter"


def test_same_run_twice_in_one_program_is_the_same(runs):
    """Two rows that are alike agree bit for bit: what differs between others is not rounding."""
    assert_same(row(runs.whole.states, FIRST), row(runs.whole.states, TWIN))


def test_metrics_are_finite(runs):
    """Every metric of every run is finite, counts are not negative, and no run is held to have diverged."""
    assert runs.whole.sums
    for metric, (total, count) in runs.whole.sums.items():
        assert np.all(np.isfinite(total)), metric
        assert np.all(count >= 0), metric
    assert np.all(np.asarray(runs.whole.diverged_at) == program.NEVER)


def test_nan_stays_in_its_run(runs):
    """A run whose state is NaN changes no other run of the program, bit for bit."""
    others = np.delete(np.arange(len(runs.whole.diverged_at)), THIRD)
    assert_same(*(jax.tree.map(lambda x: x[others], carry) for carry in (runs.with_nan, runs.whole)))


# --- counters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**24 - 4, 2**31 - 4], ids=["2^24", "2^31"])
def test_counters_that_run_full_do_no_harm(runs, number):
    """Counters at the end of float32's and of int32's whole numbers: metrics are finite, and those that do not wrap for
    a good reason stay there."""
    carry = runs.counted_to(number, COUNTERS)
    for metric, (total, _) in carry.sums.items():
        assert np.all(np.isfinite(total)), metric
    assert np.all(np.asarray(carry.diverged_at) == program.NEVER)
    for path, x in jax.tree.leaves_with_path(carry.states):
        if counter(path) not in (None, "target_clock", "time", "tried_at"):
            assert np.max(x) >= number, jax.tree_util.keystr(path)


def test_schedules_that_are_over_stay_so(runs):
    """Decays are at their ends after 2^24 steps as after 2^31, past which an int32 would wrap: the runs are the same,
    bit for bit, in all but their counters. Visits are counted in floats, whose powers do not end."""
    is_float = {
        counter(path)
        for path, x in jax.tree.leaves_with_path(runs.start.states)
        if jnp.issubdtype(x.dtype, jnp.floating)
    }
    names = {*COUNTERS} - {"target_clock"} - is_float
    early, late = (runs.counted_to(number, names) for number in (2**24 - 4, 2**31 - 4))
    for (path, x), y in zip(jax.tree.leaves_with_path(early.states), jax.tree.leaves(late.states), strict=True):
        if counter(path) not in names:
            assert_same(x, y)
    assert_same(early.sums, late.sums)


def test_counters_are_known(runs):
    """A whole number that has grown in both halves of every run is one of the counters that the laws above set."""
    for (path, x), y, z in zip(
        jax.tree.leaves_with_path(runs.start.states),
        jax.tree.leaves(runs.half.states),
        jax.tree.leaves(runs.whole.states),
        strict=True,
    ):
        if jnp.issubdtype(x.dtype, jnp.integer) and np.all(x < y) and np.all(y < z):
            where = jax.tree_util.keystr(path, simple=True, separator=".")
            assert counter(path) or {*INDICES, "envs", "env_state", "problem"} & {*where.split(".")}, where


# --- keys and types, of which tracing tells ---------------------------------------------------------------


def test_keys_are_used_once(runs):
    """``init`` and ``update`` never consume a key twice: tracing them is enough to see it."""
    assert runs.traced


def test_a_key_used_twice_is_found_by_tracing():
    """What :func:`test_keys_are_used_once` rests on."""
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key)).trace(jax.random.key(0))


def test_state_keeps_structure_shapes_and_types(runs):
    """The state after an update has the structure, shapes, dtypes and weak types of the one before: it can be scanned,
    and memory does not grow with the number of updates. Nothing of it is empty: XLA's compiler dies of arrays without
    numbers that are split over devices."""
    before, (after, _) = (traced.out_info for traced in runs.traced)
    _assert_same_types(before, after)
    empty = [jax.tree_util.keystr(path) for path, x in jax.tree.leaves_with_path(before) if 0 in x.shape]
    assert not empty, f"None in their place: {empty}"


@pytest.mark.filterwarnings("error::FutureWarning")  # of JAX, where it narrows a number silently
def test_state_keeps_its_types_in_64_bits(runs):
    """The same where JAX computes in 64 bits (``JAX_ENABLE_X64``), and evaluation can be traced there, too."""
    key = jax.random.key(0)
    with jax.enable_x64(True):
        algorithm, hypers = runs.case.make(), arrays(runs.case.hypers)
        before = jax.eval_shape(algorithm.init, hypers, key)
        after, _ = jax.eval_shape(algorithm.update, hypers, before, key)
        if algorithm.spec.evaluate is not None:
            jax.eval_shape(lambda *run: algorithm.spec.evaluate(*run, 2), hypers, before, key)
    _assert_same_types(before, after)


def _assert_same_types(before: PyTree, after: PyTree) -> None:
    """Structure, shapes and dtypes are those of a loop's carry."""
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for (path, x), y in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        where = jax.tree_util.keystr(path)
        assert (x.shape, x.dtype) == (y.shape, y.dtype), where
        assert not x.weak_type and not y.weak_type, f"{where} has a weak type"


# --- hyperparameters and ends of episodes -----------------------------------------------------------------


def test_every_hyperparameter_is_live(runs):
    """Each number, changed alone, changes the state, or the case says why it does not: then nothing changes."""
    unused, states = runs.case.unused, runs.whole.states
    assert set(unused) <= set(runs.names)
    for i, name in enumerate(runs.names, start=CHANGED):
        changed = differ(row(states, FIRST), row(states, i))
        assert changed or name in unused, f"{name} changes nothing"
        assert not (changed and name in unused), f"{name} changes the state, but the case says: {unused[name]}"


def test_every_hyperparameter_is_heeded_at_every_update(runs):
    """Each number, changed alone half-way, changes what follows, unless the case says that it is not used, or its
    declaration that it is ``initial``; then a schedule of it is refused. A copy of it in the state is no change."""
    initial = initial_names(runs.case.hypers)
    for i, name in enumerate(runs.names, start=CHANGED):
        runs_of_it = row(runs.whole, FIRST), row(runs.changed_half_way, i)
        leaves = zip(*(jax.tree.leaves((run.states, run.sums)) for run in runs_of_it), strict=True)
        copy = [getattr(run.hypers.hypers, name) for run in runs_of_it]
        heeded = differ(*zip(*(pair for pair in leaves if differ(pair, copy)), strict=True))
        assert heeded or name in runs.case.unused or name in initial, f"{name} is read at the beginning alone"
        assert not (heeded and name in initial), f"{name} is declared as initial, but heeded at every update"


def test_hypers_differ_in_every_number(runs):
    """What the laws about hyperparameters rest on: the two sets of the case differ in each of them."""
    same = [
        name
        for name, x, y in zip(runs.names, jax.tree.leaves(runs.hypers), jax.tree.leaves(runs.other), strict=True)
        if x == y
    ]
    assert not same
    assert jax.tree.structure(runs.hypers) == jax.tree.structure(runs.other)


def test_truncation_is_not_termination(runs):
    """Episodes that end in the same steps, all by truncation or all by termination, teach different things."""
    if runs.case.learned is None:
        assert runs.case.no_bootstrap
        return
    learned = [runs.case.learned(row(runs.half.states, i)) for i in (ALWAYS_TERMINATED, ALWAYS_TRUNCATED)]
    assert differ(*learned)


# --- acting -----------------------------------------------------------------------------------------------


def test_agent_acts_in_a_loop(runs):
    """``act`` answers one observation with an action of the environment's space, and the carry that it returns is one
    that it takes: it has the structure, shapes and dtypes of that of a fresh episode. Where nothing acts, there is no
    agent."""
    env, algorithm = runs.case.env, runs.algorithm
    state = jax.tree.map(lambda x: x[0], runs.start.states)
    if algorithm.act is None:
        with pytest.raises(ValueError, match="does not act: it has no agent"):
            algorithm.agent(runs.hypers, state)
        return
    agent = algorithm.agent(runs.hypers, state)

    def shapes(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    obs, env_state = env.reset(jax.random.key(0))
    carry = agent.start()
    after, action = jax.eval_shape(agent.act, carry, obs, jax.random.key(1), env_state)
    assert shapes(after) == shapes(jax.tree.map(jnp.asarray, carry))
    assert shapes(action) == shapes(jax.eval_shape(env.action_space.sample, jax.random.key(0)))


def test_agent_survives_a_file(runs, tmp_path):
    """Loaded by the name of its factory, it is the same program, whose numbers come back bit for bit; the file has no
    other leaf of the state than those that acting looks at."""
    case, algorithm, key = runs.case, runs.algorithm, jax.random.key(0)
    if algorithm.act is None:
        pytest.skip("nothing acts, so there is no agent")
    like = jax.eval_shape(algorithm.init, runs.hypers, key)
    leaves = [jnp.full(leaf.shape, i % 2, leaf.dtype) for i, leaf in enumerate(jax.tree.leaves(like))]
    agent = algorithm.agent(runs.hypers, jax.tree.unflatten(jax.tree.structure(like), leaves))
    agent.save(tmp_path / "agent.safetensors")
    given = {name: value for name, value in algorithm.spec.recipe.arguments if name in UNNAMED}
    read = agent_file.read(tmp_path / "agent.safetensors", given={"env": case.env, **given})
    assert_same(read.hypers, agent.source.hypers)
    seen = agent_file.example(algorithm, case.env)
    program = [
        re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(one.act)(read.hypers, like, *seen)))
        for one in (algorithm, read.algorithm)
    ]
    assert program[0] == program[1]
    names = safetensors.numpy.load_file(tmp_path / "agent.safetensors")
    for (at, saved), loaded in zip(
        jax.tree.leaves_with_path(agent.source.state), jax.tree.leaves(read.state), strict=True
    ):
        if f"state{jax.tree_util.keystr(at)}" in names:
            assert_same(loaded, saved)
    assert not any("replay" in name for name in names)


def test_evaluation_returns_finished_episodes(runs):
    """As many as were asked for, with finite returns and at least one step each; nothing where nothing is evaluated."""
    evaluate = runs.algorithm.spec.evaluate
    if evaluate is None:
        assert runs.case.kind == "bandit"
        return
    state = jax.tree.map(lambda x: x[0], runs.start.states)
    episodes = jax.jit(evaluate, static_argnums=3)(runs.hypers, state, jax.random.key(1), 2)
    assert episodes.returns.shape == episodes.lengths.shape == (2,)
    assert np.all(np.isfinite(episodes.returns)) and np.all(np.asarray(episodes.lengths) > 0)


# --- deep laws, in `make test` for one algorithm of each kind of state --------------------------------------


@pytest.fixture(scope="session")
def resumer():
    with worker.started(num_devices=1) as ask:
        yield ask


@pytest.fixture(scope="session")
def four_devices():
    with worker.started(num_devices=4) as ask:
        yield ask


@pytest.mark.deep_law
def test_resumes_in_a_new_process(runs, resumer, tmp_path):
    """Half of the updates, saved; another process loads them and runs the others: the state of all, bit for bit."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(HALF, runs.half, {})
    error = resumer("resume", runs.name, tmp_path)
    assert error is None, error
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert_same(checkpoints.load(runs.whole, step=WHOLE).state, runs.whole)


@pytest.mark.deep_law
def test_a_fork_goes_on_with_other_hypers(runs, tmp_path):
    """Saved half-way, loaded, and every hyperparameter changed: the other half is that of a run whose numbers were
    changed in its midst, and not that of the run that was saved."""
    swapped = jax.tree.map(lambda x: x.at[FIRST].set(x[DEFAULTS]), runs.half.hypers)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(HALF, runs.half, {})
        loaded = checkpoints.load(runs.half).state
    fork = runs.run(loaded.replace(hypers=swapped), HALF, WHOLE)
    assert_same(fork, runs.run(runs.half.replace(hypers=swapped), HALF, WHOLE))
    assert differ(row(fork.states, FIRST), row(runs.whole.states, FIRST))


@pytest.mark.deep_law
def test_a_sweep_through_the_driver_is_its_lone_runs(runs):
    """Two points, in each of which all numbers are given, taken one at a time: the runs of the program, which has them
    side by side, up to the rounding of batched products."""
    spec, others = runs.algorithm.spec, vars(runs.case.other_hypers)
    changed = {runs.names[0]: getattr(runs.case.hypers, runs.names[0])}
    result = purerl.train(
        runs.algorithm,
        sweep.points(runs.case.other_hypers, [others, others | changed]),
        KEY,
        num_env_steps=spec.env_steps_of_init + 3 * spec.env_steps_per_update,
        trials_at_once=1,
        eval_every=0,
        progress=False,
    )
    together = runs.run(runs.start, 0, 3)
    for point, i in enumerate((FIRST, CHANGED)):
        assert_near(jax.tree.map(lambda x, point=point: x[point], result.states), row(together.states, i))


@pytest.mark.deep_law
def test_runs_and_environments_over_a_mesh(runs, four_devices, tmp_path):
    """Two runs on a mesh of two by two devices, the environments of each over two: what they are on one device, up to
    the rounding of sums in another order."""
    together = runs.run(runs.start, 0, worker.NUM_UPDATES)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, jax.tree.map(lambda x: x[jnp.array(worker.ON_MESH)], together.states), {})
    error = four_devices("mesh", runs.name, tmp_path)
    assert error is None, error


# --- ranges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_hyperparameter_declares_its_range(name):
    """It contains the default and the case's other value, and a value outside is refused by name before anything runs,
    as is a record of another class; nothing that is not finite passes unless the range says so."""
    case, algorithm = CASES[name], CASES[name].make()
    with pytest.raises(ValueError, match=f"hypers must be {type(case.hypers).__name__}.* but they are Run"):
        purerl.train(algorithm, Run(case.hypers, jnp.int32(0)), KEY, num_env_steps=1_000)
    check_hypers(case.hypers)
    check_hypers(case.other_hypers)
    for field in dataclasses.fields(case.hypers):
        declared = range_of(field)
        assert declared is not None, f"{field.name} declares no range"
        for value in _outside(declared):
            with pytest.raises(
                ValueError, match=rf"{field.name} = {value}: it must be (finite, )?{re.escape(str(declared))}\.$"
            ):
                purerl.train(algorithm, case.hypers.replace(**{field.name: value}), KEY, num_env_steps=1_000)


def _outside(declared: Range) -> list[float]:
    """Numbers that are not in a range, one of each kind."""
    values = [
        declared.low - 1,
        declared.low if declared.is_open else np.nan,
        declared.high + 1,
        np.nan,
        np.inf,
        -np.inf,
    ]
    return [value for value in values if not declared.has(value)]


# --- the list itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        pytest.param(name, changes, message, id="-".join([name, *(f"{k}={v}" for k, v in changes.items())]))
        for name, case in CASES.items()
        for changes, message in case.refused
    ],
)
def test_bad_configs_are_refused(name, changes, message):
    """A config that cannot be is a ValueError at construction that names the field, its value and the remedy."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CASES[name].config, **changes)


def test_every_config_is_refused_somehow():
    """Every class of configs has lines in the tables of what is refused."""
    classes = {type(case.config) for case in CASES.values()}
    assert classes == {type(case.config) for case in CASES.values() if case.refused}


def test_sources_exist():
    """What the cases say of their files is true, and there is a representative of each kind of state."""
    for case in CASES.values():
        for source in case.sources:
            assert (ALGORITHMS / source).is_file(), source
    kinds = {case.kind for case in CASES.values()} - {"bandit"}
    assert {CASES[name].kind for name in REPRESENTATIVES} == kinds
