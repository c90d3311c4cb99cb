"""Bandit problems: the protocol, the laws of means and rewards, the regret."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from purerl.envs import bandits, check_env
from tests.oracles import mdp as oracle

ENVS = {
    "gaussian": bandits.gaussian(),
    "bernoulli": bandits.bernoulli(4),
    "walk": bandits.random_walk(),
    "linear": bandits.linear(3, 5),
}


def play(env, action, keys):
    """One game per key, ``action`` pulled once: problem, reward, info, next problem."""

    def game(key):
        reset_key, step_key = jax.random.split(key)
        _, problem = env.reset(reset_key)
        _, after, reward, _, _, info = env.step(step_key, problem, jnp.int32(action))
        return problem, reward, info, after

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(game))(keys))


@pytest.mark.parametrize("name", ENVS)
def test_keeps_the_protocol(name):
    """The checker has nothing against it."""
    assert not check_env(ENVS[name], num_steps=20).errors


@pytest.mark.covers("bandit")
def test_best_of_ten_normal_means():
    """E max of ten standard normals is 1.538753 by quadrature, and that of 20,000 resets within four errors."""
    exact = integrate.quad(lambda x: 10 * x * stats.norm.pdf(x) * stats.norm.cdf(x) ** 9, -8, 8)[0]
    assert exact == pytest.approx(1.538753, abs=1e-6)
    problem, *_ = play(ENVS["gaussian"], 0, jax.random.split(jax.random.key(0), 20_000))
    best = problem.theta[..., 0].max(-1)
    assert abs(best.mean() - exact) < 4 * best.std() / np.sqrt(20_000)


@pytest.mark.covers("bandit")
def test_a_bandit_is_a_process_of_one_state():
    """With gamma = 0 the action values of a one-state MDP are the arms' means, and regret is max Q - Q(a)."""
    means = (0.2, 0.9, 0.9, 0.5)
    mdp = oracle.MDP(np.ones((1, 4, 1)), np.array([means]), np.ones(1), gamma=0.0)
    action_value = oracle.values(mdp, np.full((1, 4), 0.25)).action[0]
    env = bandits.bernoulli(means=means)
    for arm in range(4):
        problem, reward, info, _ = play(env, arm, jax.random.split(jax.random.key(arm), 20_000))
        np.testing.assert_allclose(problem.theta[:, :, 0], np.broadcast_to(action_value, (20_000, 4)), rtol=1e-6)
        np.testing.assert_allclose(info["regret"], action_value.max() - action_value[arm], atol=1e-6)
        assert np.all(info["optimal"] == (arm in (1, 2)))
        assert set(np.unique(reward)) == {0.0, 1.0}
        assert abs(reward.mean() - action_value[arm]) < 4 * np.sqrt(0.25 / 20_000)


def test_rewards_contexts_and_walks_have_their_laws():
    """Noise, contexts on the sphere and steps of the walk, over 20,000 games: means, deviations, independent arms."""
    keys = jax.random.split(jax.random.key(1), 20_000)
    problem, reward, _, _ = play(bandits.gaussian(means=(0.0, 3.0), noise=0.5), 1, keys)
    assert abs(reward.mean() - 3) < 0.015 and abs(reward.std() - 0.5) < 0.015
    problem, _, info, after = play(bandits.random_walk(3, drift=0.1), 0, keys)
    assert np.all(problem.theta == 0) and np.all(info["optimal"])
    np.testing.assert_allclose(np.cov(after.theta[..., 0].T), 0.01 * np.eye(3), atol=5e-4)
    problem, reward, info, after = play(ENVS["linear"], 2, keys)
    for x in (problem.context, problem.theta, after.context):
        np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, rtol=1e-5)
    assert np.array_equal(problem.theta, after.theta) and not np.array_equal(problem.context, after.context)
    means = np.einsum("nad,nd->na", problem.theta, problem.context)
    np.testing.assert_allclose(info["regret"], means.max(-1) - means[:, 2], atol=1e-6)
    assert abs((reward - means[:, 2]).std() - 0.1) < 0.003


def test_impossible_coins_are_refused():
    """A mean outside [0, 1]."""
    with pytest.raises(ValueError, match=r"means = \(0\.5, 1\.5\) are probabilities"):
        bandits.bernoulli(means=(0.5, 1.5))
