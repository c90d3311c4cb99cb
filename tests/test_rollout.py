"""The rollout against a Python loop over the same keys; episodes against what they must add up to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import rollout
from purerl.envs import Environment, clip_reward
from purerl.envs.wrappers import time_limit
from purerl.spaces import Box
from purerl.types import Mean

T, B = 9, 3
START = np.int32(0)  # the carry of a fresh episode


def noisy_env() -> Environment:
    """Random starts, random rewards, episodes of 2 to 4 steps, odd lengths truncated; observations are a dict."""

    def observe(state):
        return {"start": state["start"], "time": state["time"]}

    def reset(key):
        start_key, length_key = jax.random.split(key)
        start, length = jax.random.normal(start_key, (2,)), jax.random.randint(length_key, (), 2, 5)
        state = {"start": start, "length": length, "time": jnp.int32(0)}
        return observe(state), state

    def step(key, state, action):
        state = {**state, "time": state["time"] + 1}
        ended = state["time"] >= state["length"]
        odd = state["length"] % 2 == 1
        reward = action + jax.random.normal(key)
        return observe(state), state, reward, ended & ~odd, ended & odd, {"length": state["length"]}

    unit = Box(-jnp.inf, jnp.inf, ())
    return Environment("noisy", reset, step, unit, unit)


def counting_env(length: int = 4) -> Environment:
    """Step t of an episode gives reward t + 1. A state is (time, length), so that a test can choose where to start."""

    def reset(key):
        return jnp.zeros(()), (jnp.int32(0), jnp.int32(length))

    def step(key, state, action):
        time, length = state[0] + 1, state[1]
        return time.astype(jnp.float32), (time, length), time.astype(jnp.float32), time >= length, jnp.array(False), {}

    return Environment("counting", reset, step, Box(0.0, jnp.inf, ()), Box(-1.0, 1.0, ()))


def policy(carry, seen, noise):
    """The carry counts the steps of the episode; remembered are the carry before the step, and the state seen."""
    return carry + 1, seen.obs["start"][:, 0] + noise, {"carry": carry, "time": seen.env_state["time"]}


@functools.cache
def played(small_reset_bytes: int):
    """A rollout of the noisy environment by one of the two reset strategies."""
    env = noisy_env()
    noise = jax.random.normal(jax.random.key(2), (T, B))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "_SMALL_RESET_BYTES", small_reset_bytes)

        def run(reset_key, key):
            return rollout.rollout(env, policy, rollout.reset(env, reset_key, B, START), key, noise, T, START)

        return noise, jax.jit(run)(jax.random.key(0), jax.random.key(1))


def test_equals_a_python_loop():
    """Every field of every transition, the last environments and the metrics, against one env.step after another."""
    noise, (envs, transitions, metrics) = jax.device_get(played(10**6))
    env = noisy_env()
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    step_key, reset_key = jax.random.split(jax.random.key(1))
    step_keys, reset_keys = (jax.random.split(key, (T, B)) for key in (step_key, reset_key))
    returns, lengths, ends = [], [], set()
    for i in range(B):
        obs, state = reset(jax.random.split(jax.random.key(0), B)[i])
        total, length = 0.0, 0
        for t in range(T):
            action = np.asarray(obs["start"])[0] + noise[t, i]
            next_obs, state, reward, terminated, truncated, info = step(step_keys[t, i], state, action)
            now = jax.tree.map(lambda x, t=t, i=i: x[t, i], transitions)
            expected = (obs, action, reward, terminated, truncated, next_obs, info)
            actual = (now.obs, now.action, now.reward, now.terminated, now.truncated, now.next_obs, now.info)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, expected)
            assert now.extras["carry"] == now.extras["time"] == length  # the carry began anew with its episode
            total, length, obs = total + float(reward), length + 1, next_obs
            if terminated | truncated:
                ends.add(("terminated" if terminated else "truncated", length))
                returns.append(total)
                lengths.append(length)
                total, length = 0.0, 0
                obs, state = reset(reset_keys[t, i])
        after = jax.tree.map(lambda x, i=i: x[i], envs)
        jax.tree.map(np.testing.assert_array_equal, (after.obs, after.state), (obs, state))
        np.testing.assert_allclose(after.episode_return, total, rtol=1e-5, atol=1e-5)
        assert after.episode_length == after.carry == length
    assert ends >= {("terminated", 2), ("truncated", 3), ("terminated", 4)}  # the loop has seen every kind of end
    np.testing.assert_allclose(metrics["episode_return"].total, sum(returns), rtol=1e-5)
    assert metrics["episode_length"] == Mean(sum(lengths), len(lengths))


def test_next_obs_is_from_before_the_reset():
    """At an end ``next_obs`` shows the end and the next ``obs`` a new start; elsewhere the two are the same."""
    _, (_, transitions, _) = played(10**6)
    ended = np.asarray(transitions.terminated | transitions.truncated)
    assert ended.any() and not ended.all()
    np.testing.assert_array_equal(transitions.next_obs["time"][ended], transitions.info["length"][ended])
    following, after = transitions.obs["time"][1:], transitions.next_obs["time"][:-1]
    np.testing.assert_array_equal(following[ended[:-1]], 0)
    np.testing.assert_array_equal(following[~ended[:-1]], after[~ended[:-1]])


def test_both_ways_to_reset_agree():
    """Resets drawn before the loop and inside it give the same rollout, bit for bit."""
    before, inside = played(10**6)[1], played(0)[1]
    jax.tree.map(np.testing.assert_array_equal, before, inside)


def test_episode_metrics_over_two_rollouts():
    """Known lengths: nothing ended is a mean over nothing; a part of an episode counts in the rollout where it ends."""
    env = counting_env(length=4)
    envs = rollout.Envs(
        obs=jnp.zeros(2),
        state=(jnp.zeros(2, jnp.int32), jnp.array([4, 3])),
        episode_return=jnp.zeros(2),
        episode_length=jnp.zeros(2),
    )
    play = jax.jit(
        lambda envs, key: rollout.rollout(
            env, lambda carry, seen, _: (carry, jnp.zeros(2), ()), envs, key, jnp.zeros(2), num_steps=2
        )
    )
    first, _, metrics = play(envs, jax.random.key(0))
    assert metrics == {"episode_return": Mean(0, 0), "episode_length": Mean(0, 0)}
    np.testing.assert_array_equal(first.episode_return, [1 + 2, 1 + 2])

    # The episode of 3 steps ends in the third step, the one of 4 in the fourth; both began before this rollout.
    second, _, metrics = play(first, jax.random.key(1))
    assert metrics == {"episode_return": Mean(6 + 10, 2), "episode_length": Mean(3 + 4, 2)}
    np.testing.assert_array_equal(second.episode_return, [0, 1])
    np.testing.assert_array_equal(second.episode_length, [0, 1])


def random_length_env(max_length: int) -> Environment:
    """Episodes of 1 to ``max_length`` steps; the reward is the action."""

    def reset(key):
        return jnp.zeros(()), (jnp.int32(0), jax.random.randint(key, (), 1, max_length + 1))

    def step(key, state, action):
        time, length = state[0] + 1, state[1]
        return jnp.zeros(()), (time, length), action, time >= length, jnp.array(False), {}

    return Environment("random-length", reset, step, Box(0.0, 0.0, ()), Box(0.0, jnp.inf, ()))


def test_episodes_are_whole_and_carry():
    """The action counts the steps in the policy's carry, so a return is L (L - 1) / 2: nothing is lost, and an
    environment that has finished stays as it was while others go on, whether it terminated or met a time limit."""
    env = time_limit(random_length_env(6), 4)

    def count(carry, seen, key):
        return carry + 1.0, carry, ()

    result = jax.jit(lambda key: rollout.episodes(env, count, key, 40, jnp.zeros(())))(jax.random.key(3))
    lengths = np.asarray(result.lengths)
    assert set(lengths) == {1, 2, 3, 4}
    np.testing.assert_array_equal(result.returns, lengths * (lengths - 1) / 2)
    assert not result.cut.any()


def test_episodes_that_never_end_are_cut():
    """``max_steps`` ends the loop; the return until then stands, and the episode is marked."""
    env = counting_env(length=10**6)
    result = rollout.episodes(
        env, lambda carry, seen, key: (carry, jnp.zeros(2), ()), jax.random.key(0), 2, max_steps=3
    )
    np.testing.assert_array_equal(result.lengths, 3)
    np.testing.assert_array_equal(result.returns, 1 + 2 + 3)
    assert result.cut.all()


def test_episodes_give_each_step_a_key_of_its_own():
    """A policy that carries its last sample, with reward 1 where it samples the same again in another step or
    environment, has a return of 0."""

    def sample(last, seen, key):
        now = jax.random.normal(key, seen.obs.shape)
        return now, jnp.any(now[:, None] == last, axis=1) + jnp.sum(now[:, None] == now, axis=1) - 1.0, ()

    returns = jax.jit(lambda key: rollout.episodes(random_length_env(6), sample, key, 8, jnp.zeros(())).returns)
    np.testing.assert_array_equal(returns(jax.random.key(0)), 0.0)


def test_true_returns_are_reported_under_reward_wrappers():
    """Rewards 1 to 4, clipped at 1: rollouts and evaluations report 10, learners read 1; integer rewards are floats."""
    whole = counting_env()._replace(
        step=lambda key, state, action: (
            *(out := counting_env().step(key, state, action))[:2],
            out[2].astype(jnp.int32),
            *out[3:],
        )
    )
    for env, total, largest in ((clip_reward(counting_env()), 10.0, 1.0), (whole, 10.0, 4.0)):

        def still(carry, seen, noise):
            return carry, noise, ()

        start = rollout.reset(env, jax.random.key(0), 2)
        after, transitions, metrics = rollout.rollout(env, still, start, jax.random.key(1), jnp.zeros((6, 2)), 6)
        assert metrics["episode_return"] == Mean(2 * total, 2) and metrics["episode_length"] == Mean(8, 2)
        assert transitions.reward.dtype == jnp.float32 and transitions.reward.max() == largest
        np.testing.assert_array_equal(after.episode_return, [3, 3])
        played = rollout.episodes(env, lambda carry, seen, key: (carry, jnp.zeros(3), ()), jax.random.key(2), 3)
        np.testing.assert_array_equal(played.returns, total)
        np.testing.assert_array_equal(played.lengths, 4)


def test_a_reward_that_is_not_finite_stays_in_its_episode():
    """The next episode of the same environment, the other environments and the means have the bits of a clean run."""

    def step(poison):
        def poisoned(key, state, action):
            obs, state, reward, *rest = counting_env(3).step(key, state, action[0])
            return obs, state, jnp.where(action[1] > 0, poison, reward), *rest

        return counting_env(3)._replace(step=poisoned, action_space=Box(-1.0, 1.0, (2,)))

    inputs = jnp.zeros((8, B, 2)).at[1, 1, 1].set(1)

    def run(poison, marked):
        env = step(poison)
        start = rollout.reset(env, jax.random.key(0), B)
        first, _, metrics = rollout.rollout(
            env, lambda carry, seen, noise: (carry, noise, ()), start, jax.random.key(1), marked, 8
        )
        return first, metrics

    (clean, all_of_them), (after, metrics) = run(jnp.nan, inputs * 0), run(jnp.nan, inputs)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all_of_them["episode_return"] == Mean(2 * B * 6, 2 * B)
    assert metrics["episode_return"] == Mean((2 * B - 1) * 6, 2 * B - 1)
