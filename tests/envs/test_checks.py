"""check_env: each fault is found, alone, and named where it is."""

import itertools
import random
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl.envs import EnvError, Environment, check_env
from purerl.spaces import Box, Dict, Discrete


class State(struct.PyTreeNode):
    time: jax.Array
    position: jax.Array


def good_reset(key):
    position = jax.random.uniform(key, (2,))
    return position, State(jnp.int32(0), position)


def good_step(key, state, action):
    position = jnp.clip(state.position + 0.1 * action, 0.0, 1.0)
    time = state.time + 1
    return position, State(time, position), jnp.sum(position), position[0] >= 1.0, time >= 7, {"time": time}


GOOD = Environment("good", good_reset, good_step, Box(0.0, 1.0, (2,)), Discrete(3))


def with_step(change):
    """GOOD, whose step's results (obs, state, reward, terminated, truncated, info) go through ``change``."""
    return GOOD._replace(step=lambda key, state, action: change(*good_step(key, state, action)))


def weak_reset(key):
    obs, state = good_reset(key)
    return obs, state.replace(time=0)


def test_a_good_environment_has_no_finding():
    """No error and no note for an environment that keeps every rule; the report says so in one line."""
    report = check_env(GOOD, num_steps=20)
    assert report == ("good", (), ())
    assert str(report) == "good: 0 errors, 0 notes"


calls = itertools.count()


def counted_info(obs, state, reward, terminated, truncated, info):
    return obs, state, reward, terminated, truncated, {f"call {next(calls)}": reward}


def callback_reward(obs, state, reward, *rest):
    drawn = jax.pure_callback(
        lambda _: np.float32(random.random()),
        jax.ShapeDtypeStruct((), jnp.float32),
        reward,
        vmap_method="sequential",
    )
    return obs, state, drawn, *rest


def unbatched_reward(obs, state, reward, *rest):
    return obs, state, jax.pure_callback(lambda x: x, reward, reward, vmap_method=None), *rest


def fixed_key_step(key, state, action):
    obs, state, reward, *rest = good_step(key, state, action)
    return obs, state, reward + jax.random.normal(jax.random.key(0)), *rest


@jax.jit
def merged_step(key, state, action):
    obs, state, reward, terminated, truncated, info = good_step(key, state, action)
    done = terminated | truncated
    return obs, state, reward, done, done, info


FAULTS = {
    "observation shape": (
        GOOD._replace(observation_space=Box(0.0, 1.0, (3,))),
        "observation of reset and step",
        r"is float32\[2\], but observation_space is float32\[3\]",
    ),
    "observation dtype": (
        with_step(lambda obs, *rest: (jnp.round(obs).astype(jnp.int32), *rest)),
        "observation of step",
        r"is int32\[2\]",
    ),
    "nested observation": (
        with_step(lambda obs, *rest: ({"x": obs}, *rest)),
        "observation of step",
        "is a dict of arrays",
    ),
    "state dtype": (
        with_step(lambda obs, s, *rest: (obs, s.replace(time=jnp.float32(s.time)), *rest)),
        "state.time",
        r"int32\[\] after reset but float32\[\] after step",
    ),
    "weak type": (
        with_step(lambda obs, s, *rest: (obs, s.replace(time=jnp.int32(s.time)), *rest))._replace(reset=weak_reset),
        "state.time",
        r"weakly typed int32\[\] after reset but int32\[\] after step",
    ),
    "state shape": (
        with_step(lambda obs, s, *rest: (obs, s.replace(position=obs[:1]), *rest)),
        "state.position",
        r"float32\[1\] after step",
    ),
    "state structure": (
        with_step(lambda obs, s, *rest: (obs, (s.time, s.position), *rest)),
        "state",
        r"is a State of \.time, \.position after reset but a tuple of \[0\], \[1\] after step",
    ),
    "vector reward": (
        with_step(lambda o, s, reward, *rest: (o, s, reward[None], *rest)),
        "reward",
        r"is float32\[1\]",
    ),
    "float flag": (
        with_step(lambda o, s, r, terminated, *rest: (o, s, r, jnp.float32(terminated), *rest)),
        "terminated",
        r"is float32\[\]",
    ),
    "vector flag": (
        with_step(lambda o, s, r, t, truncated, info: (o, s, r, t, truncated[None], info)),
        "truncated",
        r"is bool\[1\]",
    ),
    "merged flags": (GOOD._replace(step=merged_step), "terminated and truncated", "one and the same value"),
    "one done": (
        with_step(lambda o, s, r, t, tr, info: (o, s, r, t | tr, info)),
        "step",
        "returns 5 values, not 6",
    ),
    "info": (with_step(lambda *outputs: (*outputs[:5], None)), "step", "info that is not a dict"),
    "list": (GOOD._replace(reset=lambda key: list(good_reset(key))), "reset", "returns list, not a tuple"),
    "info keys": (with_step(counted_info), "info", "has the keys"),
    "python randomness": (
        with_step(lambda obs, s, reward, *rest: (obs, s, reward + random.random(), *rest)),
        "step",
        "different program",
    ),
    "numpy randomness": (
        GOOD._replace(reset=lambda key: good_reset(key)[:1] + (State(jnp.int32(0), jnp.asarray(noise())),)),
        "reset",
        "different program",
    ),
    "a callback's randomness": (with_step(callback_reward), "reset and step", "two results for the same key"),
    "a key of its own in step": (GOOD._replace(step=fixed_key_step), "step", "the same ones at every call"),
    "a key of its own in reset": (
        GOOD._replace(reset=lambda key: good_reset(jax.random.key(1))),
        "reset",
        "the same ones at every call",
    ),
    "not traceable": (
        with_step(lambda o, s, reward, *rest: (o, s, reward if reward > 0 else -reward, *rest)),
        "step",
        "TracerBoolConversionError",
    ),
    "not batchable": (
        with_step(unbatched_reward),
        "reset and step",
        "cannot be batched.*NotImplementedError",
    ),
    "infinite reward": (
        with_step(lambda o, s, reward, *rest: (o, s, reward / (s.time < 3), *rest)),
        "reward of step 2",
        "not finite",
    ),
    "infinite observation": (
        with_step(lambda obs, s, *rest: (obs / (s.time < 3), s, *rest)),
        "observation of step 2",
        "not finite",
    ),
    "observation outside": (
        with_step(lambda obs, s, *rest: (obs - (s.time == 2), s, *rest)),
        "observation of step 1",
        "outside observation_space",
    ),
    "missing attribute": (
        SimpleNamespace(name="x", reset=good_reset, step=good_step, observation_space=GOOD.observation_space),
        "env.action_space",
        "is missing",
    ),
    "not callable": (GOOD._replace(reset=3), "env.reset", "cannot be called"),
    "foreign space": (GOOD._replace(action_space=(0, 1)), "env.action_space", r"is \(0, 1\)"),
}


SEEN_BY_RUNNING = {
    "a callback's randomness",
    "infinite observation",
    "infinite reward",
    "not batchable",
    "observation outside",
    # seen by tracing; the run that follows has nothing to add
    "nested observation",
    "state structure",
    "vector flag",
}


def noise():
    return np.random.default_rng().random(2, np.float32)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone_and_in_its_place(fault):
    """An environment with one fault gets exactly one error, in its place, with the reason and a remedy."""
    env, where, what = FAULTS[fault]
    num_steps = 20 if fault in SEEN_BY_RUNNING else 0
    errors = check_env(env, num_steps=num_steps, raise_on_error=False).errors
    assert [finding.where for finding in errors] == [where]
    assert re.search(f"(?s){what}", errors[0].what)
    assert errors[0].remedy


def test_all_errors_are_raised_at_once():
    """Three faults, seen by tracing and by running, raise one EnvError whose message and report hold all."""
    env = with_step(lambda o, s, r, t, _, info: (o + 9, s, r[None], t, jnp.float32(0), info))
    with pytest.raises(EnvError, match=r"(?s)good: 3 errors.*reward: is float32.*remedy.*truncated: is fl") as error:
        check_env(env, num_steps=20)
    where = [finding.where for finding in error.value.report.errors]
    assert where == ["reward", "truncated", "observation of step 0"]
    assert all(str(finding) in str(error.value) for finding in error.value.report.errors)


def note_of(env):
    report = check_env(env, num_steps=5)
    return [(note.where, note.what) for note in report.notes]


def test_what_is_legal_and_odd_is_a_note():
    """A fixed start, flags that always agree and episodes that do not end are notes, not errors."""
    fixed = GOOD._replace(reset=lambda key: (jnp.zeros(2), State(jnp.int32(0), jnp.zeros(2))))
    assert note_of(fixed._replace(step=lambda *i: (*good_step(*i)[:3], i[1].time >= 3, i[1].time > 2, {}))) == [
        ("reset", "ignores its key: every episode starts alike"),
        ("terminated and truncated", "were equal at every step of the trial run"),
    ]
    endless = with_step(lambda o, s, r, *_: (o, s, r, jnp.array(False), jnp.array(False), {}))
    assert note_of(endless) == [("terminated and truncated", "no episode ended within 5 random steps")]


def test_what_rounding_puts_outside_is_a_note():
    """``1 - t / n`` in float32 ends a little below 0; what lies further outside is an error."""
    below = with_step(lambda obs, s, *rest: (obs * 0 - jnp.float32(1.5e-8), s, *rest))
    note = check_env(below, num_steps=5).notes[-1]
    assert note.where == "observation of step 0" and "by rounding: values from -1.49" in note.what
    whole = GOOD._replace(
        reset=lambda key: (jnp.int32(0), good_reset(key)[1]),
        step=lambda key, *a: (jnp.int32(5), *good_step(key, *a)[1:]),
        observation_space=Discrete(5),
    )
    errors = check_env(whole, num_steps=5, raise_on_error=False).errors
    assert [finding.where for finding in errors] == ["observation of step 0"]


def test_containers_are_looked_at_part_by_part():
    """The part that has another shape, is not finite or lies outside is named by its path; integer rewards are told."""
    space = Dict({"x": Box(0.0, 1.0, (2,)), "n": Discrete(3)})

    def nested(x):
        def step(key, state, action):
            _, state, _, *rest = good_step(key, state, action)
            return {"x": x, "n": jnp.int32(0)}, state, jnp.int32(1), *rest

        return Environment("nested", lambda key: (space.sample(key), good_reset(key)[1]), step, space, Discrete(3))

    nan, two = jnp.full(2, jnp.nan, jnp.float32), jnp.full(2, 2, jnp.float32)
    for x, what in (
        (jnp.zeros(3), r"\['x'\] is float32\[3\], but"),
        (nan, "finite"),
        (two, "outside"),
    ):
        report = check_env(nested(x), num_steps=5 * (x.shape == (2,)), raise_on_error=False)
        (error,) = report.errors
        assert "['x']" in str(error) and re.search(what, error.what)
        assert ("reward", "is int32[], no float") in [(note.where, note.what) for note in report.notes]


def test_a_key_in_the_state_is_legal():
    """An environment that carries a key, renews it at reset and ignores step's key is told so in a note."""

    def reset(key):
        return jnp.zeros(1), (jnp.int32(0), key)

    def step(key, state, action):
        time, (now, later) = state[0] + 1, jax.random.split(state[1])
        return jax.random.uniform(now, (1,)), (time, later), jnp.float32(0), time >= 3, jnp.array(False), {}

    assert note_of(Environment("keyed", reset, step, Box(0.0, 1.0, (1,)), Discrete(2))) == [
        ("step", "ignores its key and draws from a key in the state")
    ]
