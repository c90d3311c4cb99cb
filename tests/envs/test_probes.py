"""The probes' answers, recomputed by walking through the environments."""

import jax
import numpy as np
import pytest

from purerl.envs import PROBES, check_env, frame_stack, make
from purerl.envs.probes import memory, termination, truncation
from purerl.spaces import Box, Discrete

GAMMA = 0.9
NUM_STARTS = 16  # random starts: each probe has one or two
MARKOV = [name for name in PROBES if name not in ("memory", "continuous-action")]


def walk(env):
    """Every transition that can happen, as ``{(obs, action): {(reward, terminated, next_obs), ...}}``."""

    def as_key(obs):
        return tuple(np.asarray(obs).tolist())

    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(env.step)
    obs, states = reset(jax.random.split(jax.random.key(0), NUM_STARTS))
    starts = {as_key(o): jax.tree.map(lambda x, i=i: x[i], states) for i, o in enumerate(obs)}
    table, frontier = {}, list(starts.items())
    while frontier:
        seen, state = frontier.pop()
        for action in range(env.action_space.n):
            next_obs, after, reward, terminated, truncated, _ = step(jax.random.key(1), state, action)
            outcome = (float(reward), bool(terminated), as_key(next_obs))
            table.setdefault((seen, action), set()).add(outcome)
            if not terminated | truncated:
                frontier.append((as_key(next_obs), after))
    return table


def optimal_q(table, gamma):
    """Value iteration on what was walked: only termination stops the bootstrap."""
    actions = sorted({action for _, action in table})
    q = dict.fromkeys(table, 0.0)
    for _ in range(400):
        v = {obs: max(q[obs, a] for a in actions) for obs, _ in table}
        q = {
            pair: np.mean([r + (0.0 if ended else gamma * v[after]) for r, ended, after in outcomes])
            for pair, outcomes in table.items()
        }
    return q


@pytest.mark.parametrize("name", MARKOV)
def test_answers_equal_value_iteration_over_all_transitions(name):
    """Each probe is walked exhaustively; value iteration on what was seen gives the answer's V and Q."""
    table, answer = walk(PROBES[name].env()), PROBES[name].answer(GAMMA)
    assert {obs for obs, _ in table} == {tuple(obs) for obs in answer.obs.tolist()}
    assert all(len(outcomes) == 1 for outcomes in table.values())  # deterministic, hence Markov
    q = optimal_q(table, GAMMA)
    ours = [[q[tuple(obs), a] for a in answer.actions.tolist()] for obs in answer.obs.tolist()]
    np.testing.assert_allclose(answer.q, ours, rtol=1e-9)
    np.testing.assert_allclose(answer.v, np.max(ours, axis=1), rtol=1e-9)


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_keeps_the_protocol(name):
    """check_env finds no error in any probe, and make() knows it by its own name."""
    env = make(f"probe/{name}")
    assert env.name == f"probe/{name}"
    assert check_env(env, num_steps=20).errors == ()


def test_truncation_and_termination_differ_in_one_flag_alone():
    """The two chains pay and last alike; one is truncated and never terminated, the other the reverse."""
    ends = {}
    for env in (truncation(3), termination(3)):
        _, state = env.reset(jax.random.key(0))
        for _ in range(3):
            _, state, reward, terminated, truncated, _ = env.step(jax.random.key(1), state, 0)
            ends.setdefault(env.name, []).append((float(reward), bool(terminated), bool(truncated)))
    running = [(1.0, False, False)] * 2
    assert ends == {
        "probe/truncation": [*running, (1.0, False, True)],
        "probe/termination": [*running, (1.0, True, False)],
    }


def test_merged_flags_give_the_wrong_value_that_the_docstring_names():
    """TD fixed points of one episode: 10 if only termination stops the bootstrap, 3.08 if both do."""
    env = truncation()
    _, state = env.reset(jax.random.key(0))
    steps = []
    for _ in range(4):
        _, state, reward, terminated, truncated, _ = env.step(jax.random.key(1), state, 0)
        steps.append((float(reward), float(terminated), float(truncated)))
    reward, terminated, truncated = np.array(steps).T
    # the observation is constant, so V = mean(r) + gamma mean(1 - stop) V
    stops = terminated, np.maximum(terminated, truncated)
    right, wrong = (reward.mean() / (1 - GAMMA * (1 - stop).mean()) for stop in stops)
    assert right == pytest.approx(PROBES["truncation"].answer(GAMMA).v.item()) == pytest.approx(10.0)
    assert wrong == pytest.approx(3.08, abs=0.01)


def test_continuous_action_pays_the_squared_distance():
    """Rewards at the listed actions equal the answer's Q, from both observations; V* = 0 at a = o/2."""
    env, answer = PROBES["continuous-action"].env(), PROBES["continuous-action"].answer(GAMMA)
    obs, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), NUM_STARTS))
    for row, q in zip(answer.obs, answer.q, strict=True):
        i = int(np.flatnonzero(np.asarray(obs)[:, 0] == row[0])[0])
        steps = jax.vmap(env.step, in_axes=(None, None, 0))(jax.random.key(1), state[i], answer.actions)
        np.testing.assert_array_equal(steps[2], q.astype(np.float32))
        assert steps[3].all()
    assert (answer.v == 0).all()


@pytest.mark.covers("framestack")
def test_memory_is_not_markov_until_frames_are_stacked():
    """At the question one observation has two rewards; with two frames each has one, and V(cue) = gamma."""
    raw = walk(memory())
    asked = (0.0, 1.0)
    assert {r for r, _, _ in raw[asked, 0]} == {r for r, _, _ in raw[asked, 1]} == {-1.0, 1.0}
    assert all(q == 0.0 for q in optimal_q(raw, GAMMA).values())  # without memory nothing can be earned

    stacked = walk(frame_stack(memory(), 2))
    assert all(len(outcomes) == 1 for outcomes in stacked.values())
    q = optimal_q(stacked, GAMMA)
    answer = PROBES["memory"].answer(GAMMA)
    for cue, values in zip(answer.obs.tolist(), answer.q, strict=True):
        assert [q[(*cue, *cue), a] for a in range(2)] == pytest.approx(values.tolist())
        assert max(q[(*cue, *asked), a] for a in range(2)) == 1.0


def test_memory_waits_as_long_as_asked():
    """delay=3: the cue shows at step 0 only, rewards are 0 until the question, and that ends the episode."""
    env = memory(delay=3)
    obs, state = env.reset(jax.random.key(0))
    cue = float(obs[0])
    action = int(cue > 0)
    seen, rewards, ends = [obs.tolist()], [], []
    for _ in range(4):
        obs, state, reward, terminated, _, _ = env.step(jax.random.key(1), state, action)
        seen.append(obs.tolist())
        rewards.append(float(reward))
        ends.append(bool(terminated))
    assert seen == [[cue, 0], [0, 0], [0, 0], [0, 1], [0, 0]]
    assert rewards == [0, 0, 0, 1]
    assert ends == [False, False, False, True]
    with pytest.raises(ValueError, match="delay=0"):
        memory(delay=0)


def test_discrete_probes_have_two_actions():
    """All probes but the continuous one, which takes [1] in [-1, 1], are controlled by two actions."""
    spaces = {name: probe.env().action_space for name, probe in PROBES.items()}
    assert spaces.pop("continuous-action") == Box(-1.0, 1.0, (1,))
    assert all(space == Discrete(2) for space in spaces.values())


def test_what_is_not_legal_would_pay_and_is_in_no_answer():
    """The masked probe, walked through: 10 for what is not legal, twice, and of the legal actions 1 for the last."""
    env = make("probe/masked")
    obs, state = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    first = [step(jax.random.key(1), state, action) for action in range(3)]
    second = [step(jax.random.key(1), first[0][1], action) for action in range(3)]
    assert obs.legal.tolist() == [True, True, False] and first[0][0].legal.tolist() == [False, True, True]
    assert [float(s[2]) for s in first] == [0, 0, 10] and [float(s[2]) for s in second] == [10, 0, 1]
    assert [bool(s[3]) for s in first + second] == [False] * 3 + [True] * 3
    assert check_env(env, num_steps=0).errors == ()


def test_each_of_several_integers_pays_by_itself():
    """The probe of two integers, over all six pairs and both observations."""
    env = make("probe/multi-discrete")
    step = jax.jit(env.step)
    for sign, wanted in ((-1.0, (0, 2)), (1.0, (1, 1))):
        for pair in np.ndindex(2, 3):
            reward = step(jax.random.key(0), np.array([sign], np.float32), np.array(pair))[2]
            assert float(reward) == sum(np.equal(pair, wanted))
    assert check_env(env, num_steps=0).errors == ()
