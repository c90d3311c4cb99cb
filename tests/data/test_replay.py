"""Replay: which items are sampled and how often, an empty replay, and that it is written in place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl.data.prioritized import proportional
from purerl.data.replay import ReplayConfig, num_drawable, uniform
from purerl.data.transitions import first_steps, n_step_transitions, sequences
from tests.oracles.replay import StepDeque
from tests.support.replay_cases import KINDS, item_of, labels, transitions

B = 3


@pytest.mark.covers("replay")
@pytest.mark.parametrize(
    ("kind", "length", "period"),
    [
        ("uniform", 1, 1),
        ("uniform", 4, 2),
        ("proportional", 3, 1),
        *(
            pytest.param(*case, marks=pytest.mark.deep)
            for case in [
                ("uniform", 3, 1),
                ("uniform", 3, 3),
                ("proportional", 1, 1),
                ("proportional", 4, 2),
                ("proportional", 3, 3),
            ]
        ),
    ],
)
def test_draws_are_the_complete_items(kind, length, period):
    """After every addition, across several laps, the starts drawn are exactly those of the complete sequences that a
    deque holds, and a sequence read is consecutive: the newest step is never crossed."""
    config = ReplayConfig(capacity=12 * B, num_envs=B, batch_size=8, length=length, period=period)
    replay = KINDS[kind](config)
    state = replay.init(jnp.int32(0))
    add = jax.jit(replay.add)

    @jax.jit
    def sample(state, keys):
        draws = jax.vmap(replay.sample, (None, 0))(state, keys)
        return draws, jax.vmap(lambda indices: sequences(state.ring, indices, length))(draws)

    steps = StepDeque(12)
    for turn in range(9):
        label = labels(steps.num_steps, 5, B)
        state = add(state, jnp.int32(label))
        steps.add(label)
        starts = steps.starts(length, period)
        assert int(num_drawable(config, state.ring)) == len(starts) * B
        assert bool(replay.can_sample(state)) == (len(starts) * B >= 8)
        draws, read = sample(state, jax.random.split(jax.random.key(turn), 64))
        expected = {(t % 12, b): 100 * t + b for t in starts for b in range(B)}
        places = list(zip(np.ravel(draws.row).tolist(), np.ravel(draws.env).tolist(), strict=True))
        assert set(places) == set(expected)
        first = np.moveaxis(read, 1, 0).reshape(length, -1)
        np.testing.assert_array_equal(first, [[expected[p] + 100 * k for p in places] for k in range(length)])
        np.testing.assert_array_equal(draws.weight, 1)


@pytest.mark.covers("replay")
def test_uniform_frequencies():
    """Counts of 40,000 draws from a ring that has wrapped, by chi-square against equal ones."""
    replay = uniform(ReplayConfig(capacity=7 * B, num_envs=B, batch_size=20))
    state = replay.init(jnp.int32(0))
    state = replay.add(replay.add(state, jnp.int32(labels(0, 5, B))), jnp.int32(labels(5, 5, B)))
    draws = jax.jit(jax.vmap(replay.sample, (None, 0)))(state, jax.random.split(jax.random.key(1), 2000))
    count = np.bincount(np.ravel(draws.row * B + draws.env), minlength=7 * B)
    assert stats.chisquare(count).pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_empty_replay(kind):
    """Drawing from nothing is no error, as it cannot be one in a compiled program: the first item, zeros, weight 0.
    Nor does a priority that is reported for it make it an item."""
    replay = KINDS[kind](ReplayConfig(capacity=8, batch_size=4))
    state = replay.init(jnp.float32(0))
    indices = replay.sample(state, jax.random.key(0), 0.5)
    assert not replay.can_sample(state)
    for zeros in (indices.row, indices.env, indices.weight, first_steps(state.ring, indices)):
        np.testing.assert_array_equal(zeros, 0)
    state = replay.refresh(replay.update_priorities(state, indices, jnp.ones(4)))
    np.testing.assert_array_equal(replay.sample(state, jax.random.key(1), 0.5).weight, 0)


def learner(replay):
    """``(state, rollout, keys) -> state``, as a value-based agent goes on: add, sample, read, report priorities."""

    def iterate(state, rollout, keys):
        def body(carry, key):
            state, total = carry
            state = replay.add(state, rollout)
            indices = replay.sample(state, key, 0.5)
            batch = n_step_transitions(state.ring, indices, 3, 0.9)
            state = replay.update_priorities(state, indices, jnp.abs(batch.reward) + 0.1)
            return (state, total + jnp.sum(indices.weight * batch.reward) + jnp.sum(batch.obs["frame"])), None

        return jax.lax.scan(body, (state, jnp.float32(0)), keys)[0]

    return iterate


@pytest.mark.covers("replay", "per")
@pytest.mark.parametrize(
    "kind", ["proportional", *(pytest.param(kind, marks=pytest.mark.deep) for kind in ("uniform", "rank-based"))]
)
def test_written_in_place(kind):
    """Of a compiled, scanned, donated loop: all of the state is aliased to the input, working storage is a small part
    of it, no instruction copies an array as large as the storage, and 300 additions need no more memory than 3."""
    rollout = transitions(np.random.default_rng(0), 3, 8)
    replay = KINDS[kind](ReplayConfig(capacity=2**15, num_envs=8, batch_size=32))
    state = jax.eval_shape(replay.init, item_of(rollout))
    num_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    working = []
    for num_iterations in (3, 300):
        keys = jax.random.split(jax.random.key(0), num_iterations)
        program = jax.jit(learner(replay), donate_argnums=0).lower(state, rollout, keys).compile()
        memory = program.memory_analysis()
        assert memory.alias_size_in_bytes >= num_bytes
        copies = [line for line in program.as_text().splitlines() if " copy(" in line]
        assert not [line for line in copies if "32768" in line or "4096" in line]
        working.append(memory.temp_size_in_bytes)
    assert working[0] == working[1] < num_bytes / 20


@pytest.mark.covers("replay", "per")
@pytest.mark.parametrize("kind", [pytest.param("proportional", marks=pytest.mark.deep), "rank-based"])
def test_a_seed_of_many_is_the_seed_alone(kind):
    """Vmapped over four seeds, every leaf of the state is bit for bit that of the lone run."""
    rollout = transitions(np.random.default_rng(0), 3, 4)
    replay = KINDS[kind](ReplayConfig(capacity=32, num_envs=4, batch_size=8))
    run = learner(replay)
    keys = jax.random.split(jax.random.key(0), (4, 7))
    many = jax.jit(jax.vmap(run, (None, None, 0)))(replay.init(item_of(rollout)), rollout, keys)
    alone = jax.jit(run)(replay.init(item_of(rollout)), rollout, keys[2])
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x: x[2], many), alone)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"capacity": 0}, "capacity = 0: it must be in [1, 2147483647]"),
        ({"capacity": 2**31}, "capacity = 2147483648: it must be in [1, 2147483647]"),
        ({"capacity": 64.0}, "capacity = 64.0: it must be a whole number"),
        ({"batch_size": 0}, "batch_size = 0: it must be at least 1"),
        ({"capacity": 100, "num_envs": 8}, "capacity = 100 must be a multiple of num_envs = 8: 96 or 104 is one"),
        ({"capacity": 16, "batch_size": 17}, "batch_size = 17 is more than the 16 items of length 1"),
        ({"capacity": 16, "length": 4, "batch_size": 14}, "batch_size = 14 is more than the 13 items of length 4"),
        ({"length": 2, "period": 3}, "period = 3 must be at most length = 2"),
        (
            {"capacity": 20, "num_envs": 2, "length": 4, "period": 4},
            "not a multiple of period = 4: make it a multiple of 8",
        ),
    ],
    ids=["zero", "huge", "float", "none", "envs", "batch", "sequences", "gaps", "period"],
)
def test_a_bad_config_says_what_to_do(settings, message):
    """Each error names the field, the numbers and the remedy."""
    with pytest.raises(ValueError, match="ReplayConfig") as error:
        ReplayConfig(**{"batch_size": 4, **settings})
    assert message in str(error.value)


def test_a_rollout_that_overlaps_its_sequences_is_refused():
    """Where a sequence would touch a rollout at both its ends, prioritised replay says so."""
    replay = proportional(ReplayConfig(capacity=8, batch_size=1, length=4))
    with pytest.raises(ValueError, match="rollout of 6 steps and a sequence of 4 overlap in a replay of 8 steps"):
        replay.add(replay.init(jnp.float32(0)), jnp.zeros((6, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_replay_can_be_donated(kind):
    """No two of its counters are one array, which a compiled loop would refuse to take over twice."""
    replay = KINDS[kind](ReplayConfig(capacity=8 * B, num_envs=B, batch_size=2))
    state = jax.jit(replay.add, donate_argnums=0)(replay.init(jnp.int32(0)), jnp.int32(labels(0, 3, B)))
    assert int(state.ring.size) == 3
