"""Wrappers, on environments small enough to follow by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import (
    Environment,
    check_env,
    clip_reward,
    episode_statistics,
    flatten_observation,
    frame_stack,
    make,
    map_reward,
    one_hot_observation,
    scale_reward,
    select_observation,
    sticky_actions,
    time_limit,
)
from purerl.envs.wrappers import scale_to_box
from purerl.spaces import Box, Discrete


def counter(end=10, shape=(1,)):
    """Observes the step number, pays the action, terminates at ``end``."""

    def show(time):
        return jnp.full(shape, time, jnp.float32)

    def reset(key):
        return show(0), jnp.int32(0)

    def step(key, time, action):
        time = time + 1
        return show(time), time, jnp.float32(action), time >= end, jnp.array(False), {"time": time}

    return Environment("counter", reset, step, Box(0.0, float(end), shape), Discrete(5))


def play(env, actions, key=0):
    """First observation, and lists of what each step gave (an episode's steps, whatever the flags)."""
    first, state = env.reset(jax.random.key(key))

    def body(state, inputs):
        key, action = inputs
        obs, state, *rest = env.step(key, state, action)
        return state, (obs, *rest)

    keys = jax.random.split(jax.random.key(key + 1), len(actions))
    return first, *jax.device_get(jax.lax.scan(body, state, (keys, jnp.asarray(actions)))[1])


def test_wrapped_environments_keep_the_protocol():
    """check_env finds no error where all wrappers are nested, of continuous and of integer observations."""
    vector = flatten_observation(frame_stack(clip_reward(scale_reward(counter(9, (2, 3)), 0.5)), 2))
    integer = one_hot_observation(make("FrozenLake-misc"))
    for env in (vector, integer):
        assert check_env(episode_statistics(time_limit(sticky_actions(env, 0.1), 5)), num_steps=20).errors == ()


def test_episode_statistics_are_running_sums_that_restart_with_reset():
    """Returns 1, 3, 3, 7 and lengths 1..4 for actions 1, 2, 0, 4; reset starts again; info is kept."""
    env = episode_statistics(counter(4))
    for key in (0, 7):
        *_, terminated, _, info = play(env, [1, 2, 0, 4], key)
        np.testing.assert_array_equal(info["episode_return"], [1, 3, 3, 7])
        np.testing.assert_array_equal(info["episode_length"], [1, 2, 3, 4])
        np.testing.assert_array_equal(info["time"], [1, 2, 3, 4])
        np.testing.assert_array_equal(terminated, [False, False, False, True])


def test_episode_statistics_report_the_rewards_below_them():
    """Applied before scale_reward they show true returns, applied after it the scaled ones."""
    inside = play(scale_reward(episode_statistics(counter()), 0.5), [2, 4])
    outside = play(episode_statistics(scale_reward(counter(), 0.5)), [2, 4])
    np.testing.assert_array_equal(inside[2], outside[2])
    np.testing.assert_array_equal(inside[-1]["episode_return"], [2, 6])
    np.testing.assert_array_equal(outside[-1]["episode_return"], [1, 3])


def test_reward_wrappers_report_true_returns():
    """Whatever is done to the reward, and however often; unless statistics are asked for further out."""
    for wrap in (clip_reward, lambda env: scale_reward(clip_reward(env), 0.1), lambda env: map_reward(env, jnp.sign)):
        wrapped = play(wrap(counter()), [2, 4])
        np.testing.assert_array_equal(wrapped[-1]["episode_return"], [2, 6])
        np.testing.assert_array_equal(wrapped[-1]["episode_length"], [1, 2])
    kept = play(episode_statistics(clip_reward(counter()), replace=False), [2, 4])
    np.testing.assert_array_equal(kept[-1]["episode_return"], [2, 6])


SIDES = [
    (Box(0.0, np.inf, (3,)), [0, 0, 2]),
    (Box(-np.inf, 0.5, (3,)), [-2, 0, 0.5]),
    (Box(-3e38, 3e38, (3,)), [-3e38, 0, 3e38]),
    (Box(-np.inf, np.inf, (3,)), [-2, 0, 2]),
    (Box(np.array([0.0, -np.inf, 1.0]), np.array([np.inf, np.inf, 3.0]), (3,)), [0, 0, 3]),
    (Box(-2, 5, (3,), np.int8), [-2, 2, 5]),
    (Box(0, 255, (3,), np.uint8), [0, 128, 255]),
    (Box(-(2**31), 2**31 - 1, (3,), np.int32), [-(2**31), 0, 2**31 - 128]),
]


@pytest.mark.parametrize(("space", "expected"), SIDES, ids=str)
def test_scaled_actions_lie_in_their_box(space, expected):
    """Clipped to a lone finite side, stretched between two, of the dtype of the space; finite in the widest box."""
    action = jnp.array([-2.0, 0.0, 2.0])
    scaled = scale_to_box(action, space)
    assert scaled.dtype == space.dtype and space.contains(scaled)
    np.testing.assert_array_equal(scaled, np.asarray(expected, space.dtype))
    extremes = jnp.array([[jnp.inf] * 3, [-jnp.inf] * 3, [1e30] * 3, [-1.0] * 3, [1.0] * 3])
    assert jax.vmap(lambda a: space.contains(scale_to_box(a, space)))(extremes).all()


def test_time_limit_truncates_and_leaves_termination_alone():
    """Limit 3 on an episode of 10 truncates at 3, on one of 3 both flags are up; 5 on 3 does nothing."""
    flags = {}
    for end, limit in ((10, 3), (3, 3), (3, 5)):
        *_, terminated, truncated, _ = play(time_limit(counter(end), limit), [0, 0, 0])
        flags[end, limit] = (terminated.tolist(), truncated.tolist())
    last, never = [False, False, True], [False] * 3
    assert flags == {(10, 3): (never, last), (3, 3): (last, last), (3, 5): (last, never)}


def test_time_limit_is_the_limit_of_gymnax():
    """CartPole with gymnax's own limit of 9 equals CartPole without one under time_limit(9), step by step."""
    actions = [0, 1] * 6
    theirs = play(make("CartPole-v1", max_steps_in_episode=9), actions)
    ours = play(time_limit(make("CartPole-v1", max_steps_in_episode=10**6), 9), actions)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert ours[4].tolist() == [False] * 8 + [True] * 4


def test_rewards_are_scaled_and_clipped():
    """Actions 0, 1, 4 pay 0, .5, 2 scaled by one half, and 0, 1, 1 clipped to [-1, 1], in float32."""
    scaled = play(scale_reward(counter(), 0.5), [0, 1, 4])[2]
    clipped = play(clip_reward(counter()), [0, 1, 4])[2]
    np.testing.assert_array_equal(scaled, [0, 0.5, 2])
    np.testing.assert_array_equal(clipped, [0, 1, 1])
    assert scaled.dtype == clipped.dtype == np.float32


def test_sticky_actions_repeat_what_was_executed():
    """Probability 0 changes nothing, 1 repeats the first action for ever, as the reward shows."""
    actions = [3, 1, 4, 0, 2]
    np.testing.assert_array_equal(play(sticky_actions(counter(), 0.0), actions)[2], actions)
    np.testing.assert_array_equal(play(sticky_actions(counter(), 1.0), actions)[2], [3] * 5)


def test_sticky_actions_stick_as_often_as_asked_and_to_the_executed_one():
    """4000 steps at 0.25, actions 0..4 in turn: each executes the chosen or the last executed; 25 % stick."""
    actions = np.arange(4000) % 5
    executed = play(sticky_actions(counter(10**6), 0.25), actions)[2]
    assert executed[0] == actions[0]
    stuck = executed[1:] != actions[1:]
    np.testing.assert_array_equal(executed[1:][stuck], executed[:-1][stuck])
    # a repeated action that equals the chosen one is not seen: only after 4, 8, ... sticks in a row
    assert abs(stuck.mean() - 0.25 * (1 - 0.25**4)) < 4 * np.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.covers("framestack")
@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_frame_stack_holds_the_last_k_observations_oldest_first(shape):
    """k=3 over steps 0..4: [000], [001], [012], ..., along the last axis; reset fills with the first."""
    env = frame_stack(counter(shape=shape), 3)
    first, obs, *_ = play(env, [0] * 4)
    stacks = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    width = shape[-1] if shape else 1
    for seen, frames in zip([first, *obs], stacks, strict=True):
        wanted = np.broadcast_to(np.repeat(frames, width), (*shape[:-1], 3 * width))
        np.testing.assert_array_equal(seen, wanted)
    assert env.observation_space == Box(0.0, 10.0, (*shape[:-1], 3 * width))


def test_array_bounds_follow_the_observation():
    """Bounds given entry by entry are stacked and flattened with the entries they bound."""
    low = np.array([[0.0, 1.0], [2.0, 3.0]])
    env = counter(shape=(2, 2))._replace(observation_space=Box(low, np.inf, (2, 2)))
    np.testing.assert_array_equal(frame_stack(env, 2).observation_space.low, [[0, 1, 0, 1], [2, 3, 2, 3]])
    flat = flatten_observation(env).observation_space
    np.testing.assert_array_equal(flat.low, [0, 1, 2, 3])
    assert (flat.high, flat.shape) == (np.inf, (4,))


def test_observations_are_flattened_and_encoded():
    """Flattening keeps row-major order; one-hot of FrozenLake's start 0 is e_0 in R^16."""
    grid = Environment(
        "grid", lambda key: (jnp.arange(6.0).reshape(2, 3), ()), None, Box(0.0, 5.0, (2, 3)), Discrete(2)
    )
    np.testing.assert_array_equal(flatten_observation(grid).reset(jax.random.key(0))[0], np.arange(6.0))
    env = one_hot_observation(make("FrozenLake-misc", is_slippery=False))
    obs, state = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(obs, np.eye(16)[0])
    np.testing.assert_array_equal(env.step(jax.random.key(1), state, 1)[0], np.eye(16)[4])


def test_select_observation_hides_the_rest():
    """CartPole's positions: entries 0 and 2 of each observation, with their bounds; the process is the same."""
    bare, env = make("CartPole-v1"), select_observation(make("CartPole-v1"), (0, 2))
    check_env(env)
    assert env.observation_space.shape == (2,)
    np.testing.assert_array_equal(env.observation_space.high, np.asarray(bare.observation_space.high)[[0, 2]])
    (obs, state), (shown, same) = bare.reset(jax.random.key(0)), env.reset(jax.random.key(0))
    for _ in range(3):
        np.testing.assert_array_equal(shown, obs[jnp.array([0, 2])])
        obs, state, *rest = bare.step(jax.random.key(1), state, 1)
        shown, same, *others = env.step(jax.random.key(1), same, 1)
        jax.tree.map(np.testing.assert_array_equal, (state, rest), (same, others))


def test_an_environment_may_be_of_any_type():
    """A user's class with the five attributes can be wrapped."""

    class Mine:
        name, observation_space, action_space = "mine", Box(0.0, 10.0, (1,)), Discrete(5)
        reset, step = staticmethod(counter().reset), staticmethod(counter().step)

    assert time_limit(Mine(), 3).name == "mine"
    assert play(time_limit(Mine(), 3), [0, 0, 0])[4].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("wrap", "error", "message"),
    [
        (lambda: time_limit(counter(), 0), ValueError, "max_steps=0"),
        (lambda: sticky_actions(counter(), 1.5), ValueError, "probability=1.5"),
        (lambda: frame_stack(counter(), 0), ValueError, "k=0"),
        (lambda: frame_stack(make("FrozenLake-misc"), 2), TypeError, "one_hot_observation first"),
        (lambda: select_observation(counter(), (0, 1)), ValueError, r"\(0, 1\)\): counter has observations \[1\]"),
        (lambda: select_observation(counter(), ()), ValueError, "at least one index below 1"),
        (lambda: one_hot_observation(counter()), TypeError, "needs Discrete"),
    ],
)
def test_bad_arguments_are_refused(wrap, error, message):
    """Arguments out of range and observations of the wrong kind raise, and say what to do."""
    with pytest.raises(error, match=message):
        wrap()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 5.0, [-1, -1, 0.5, 2, 5, 5]),
        (0.0, np.inf, [0, 0, 0, 0, 1, 7]),
        (-np.inf, 0.25, [-7, -1, -0.5, 0, 0.25, 0.25]),
        (-np.inf, np.inf, [-7, -1, -0.5, 0, 1, 7]),
        (-3e38, 3e38, [-3e38, -3e38, -1.5e38, 0, 3e38, 3e38]),
        (3e38, 3.1e38, [3e38, 3e38, 3.025e38, 3.05e38, 3.1e38, 3.1e38]),
    ],
    ids=str,
)
def test_scaled_actions_are_finite_and_inside_the_box(low, high, expected):
    """Stretched between two bounds, even if further apart than the largest number; clipped at a lone one."""
    space = Box(low, high, (6,))
    action = scale_to_box(jnp.array([-7, -1, -0.5, 0, 1, 7]), space)
    np.testing.assert_allclose(action, expected, rtol=1e-6)
    assert space.contains(action) and np.isfinite(action).all()
    mixed = Box(np.array([low] * 3 + [-1.0] * 3), np.array([high] * 3 + [1.0] * 3), (6,))
    both = scale_to_box(jnp.array([-7, -1, -0.5, 0, 1, 7]), mixed)
    np.testing.assert_allclose(both, [*expected[:3], 0, 1, 1], rtol=1e-6)
