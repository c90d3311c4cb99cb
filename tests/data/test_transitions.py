"""n-step transitions against loops over the steps that a replay holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.data.replay import ReplayConfig, SampleIndices, uniform
from purerl.data.transitions import n_step_transitions
from purerl.kernels import returns
from tests.oracles import replay as oracle
from tests.support.replay_cases import item_of, transitions

ROWS, B, GAMMA = 11, 3, 0.9
read = jax.jit(n_step_transitions, static_argnums=2)


def value(obs):
    """Any function of what was observed."""
    return jnp.sin(obs["label"].astype(jnp.float32))


def kept(num_steps):
    """A replay after rollouts of four steps, and what all its steps were, by time."""
    rng = np.random.default_rng(0)
    replay = uniform(ReplayConfig(capacity=ROWS * B, num_envs=B, batch_size=4))
    rollouts = [transitions(rng, 4, B, first) for first in range(0, num_steps, 4)]
    state = replay.init(item_of(rollouts[0]))
    for rollout in rollouts:
        state = replay.add(state, rollout)
    return state.ring, jax.tree.map(lambda *x: np.concatenate(x), *rollouts)


@pytest.mark.covers("replay", "nstep-dqn")
@pytest.mark.parametrize(
    ("n", "num_steps"),
    [(3, 8), (3, 28), (20, 28), *(pytest.param(*case, marks=pytest.mark.deep) for case in [(1, 8), (1, 28), (20, 8)])],
    ids=lambda x: str(x),
)
def test_n_step_transitions_against_loops(n, num_steps):
    """From every step kept: discounted reward, discount by the actual number of steps, 0 after a termination, and the
    observation before any reset, against a walk that stops at a termination, a truncation, or the newest step."""
    ring, all_steps = kept(num_steps)
    times = np.arange(max(num_steps - ROWS, 0), num_steps)
    names = ("reward", "terminated", "truncated")
    steps = {int(t): {name: getattr(all_steps, name)[t] for name in names} for t in times}
    time, env = np.repeat(times, B), np.tile(np.arange(B), len(times))
    indices = SampleIndices(row=jnp.asarray(time % ROWS), env=jnp.asarray(env), weight=jnp.ones(len(env)))
    batch = read(ring, indices, n, GAMMA)
    walks = [oracle.n_step(steps, t, b, n, GAMMA) for t, b in zip(time, env, strict=True)]
    reward, discount, last = np.array(walks).T
    np.testing.assert_allclose(batch.reward, reward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch.discount, discount, rtol=1e-6)
    np.testing.assert_array_equal(batch.obs["label"], 100 * time + env)
    np.testing.assert_array_equal(batch.action, (100 * time + env) % 7)
    np.testing.assert_array_equal(batch.next_obs["label"], -(100 * last + env))
    assert batch.next_obs["frame"].dtype == np.uint8


@pytest.mark.covers("replay", "nstep-dqn")
def test_n_step_transitions_have_the_n_step_return_of_a_rollout():
    """What is kept, put in order, is a rollout: reward + discount V(next_obs) is its n-step return by the kernel."""
    ring, all_steps = kept(28)
    last = jax.tree.map(lambda x: jnp.asarray(x[-ROWS:]), all_steps)
    expected = returns.n_step_returns(last.reward, value(last.next_obs), last.terminated, last.truncated, GAMMA, 3)
    row = jnp.repeat((28 - ROWS + jnp.arange(ROWS)) % ROWS, B)
    indices = SampleIndices(row=row, env=jnp.tile(jnp.arange(B), ROWS), weight=jnp.ones(row.shape))
    batch = read(ring, indices, 3, GAMMA)
    target = batch.reward + batch.discount * value(batch.next_obs)
    np.testing.assert_allclose(target.reshape(ROWS, B), expected, rtol=1e-5, atol=1e-6)


def test_discount_is_traced_and_n_is_checked():
    """One program for every gamma, 0 and 1 among them; n = 0 is refused with what to use instead."""
    ring, _ = kept(8)
    indices = SampleIndices(row=jnp.zeros(2, jnp.int32), env=jnp.arange(2), weight=jnp.ones(2))
    rewards = [read(ring, indices, 4, gamma).reward for gamma in (0.0, 1.0)]
    np.testing.assert_array_equal(rewards[0], ring.items.reward[0, :2])
    swept = jax.vmap(lambda gamma: n_step_transitions(ring, indices, 4, gamma).reward)(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(swept, rewards, rtol=1e-6)
    with pytest.raises(ValueError, match="n = 0 must be at least 1; n = 1 is the one-step target"):
        n_step_transitions(ring, indices, 0, 0.9)
