"""The linear-quadratic regulator: its steps by hand, its end, and the answer it has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.envs.lqr import problem
from purerl.kernels.linear_quadratic import riccati


@pytest.mark.covers("ddpg")
def test_a_step_is_that_of_the_matrices():
    """The reward of the state and the action, the next state without noise, truncation and no termination."""
    env = envs.make("lqr", noise=0.0, max_steps=2)
    a, b, q, r = map(np.asarray, problem())
    obs, state = env.reset(jax.random.key(0))
    for t in range(2):
        action = jnp.array([0.5 - t])
        after, state, reward, terminated, truncated, _ = env.step(jax.random.key(t), state, action)
        x, u = np.asarray(obs), np.asarray(action)
        np.testing.assert_allclose(after, a @ x + b @ u, rtol=1e-6)
        np.testing.assert_allclose(reward, -(x @ q @ x + u @ r @ u), rtol=1e-6)
        assert not terminated and truncated == (t == 1)
        obs = after
    assert not envs.check_env(env).errors


@pytest.mark.covers("ddpg", "sac")
def test_the_answer_lies_within_the_bounds():
    """From any start the optimal action is well inside the box, and following it without noise costs ``x'P x``."""
    env = envs.make("lqr", noise=0.0, max_steps=1000)
    gamma = 0.9
    answer = riccati(problem(), gamma)
    assert np.abs(np.asarray(answer.gain)).sum() < 0.8 * env.action_space.high
    obs, _ = env.reset(jax.random.key(3))
    start, a_minus_bk = np.asarray(obs, np.float64), np.asarray(problem().a - problem().b @ answer.gain)
    total, x = 0.0, start
    for t in range(400):
        u = -np.asarray(answer.gain) @ x
        total += gamma**t * -(x @ np.asarray(problem().q) @ x + u @ np.asarray(problem().r) @ u)
        x = a_minus_bk @ x
    np.testing.assert_allclose(total, -start @ np.asarray(answer.value) @ start, rtol=1e-4)
