"""Policies from action values: exact probabilities, exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import exploration
from tests.oracles import mdp as oracle
from tests.support import draws

pytestmark = pytest.mark.usefixtures("x64")

VALUE = np.array([[0.0, 2.0, 1.0, 2.0], [3.0, -np.inf, 0.0, 1.0]])


@pytest.mark.covers("eps-greedy")
def test_epsilon_greedy_among_legal_actions():
    """Uniform actions are those that are legal, A being their number; where none is, all are."""
    legal = np.array([[True, False, True, True], [False, False, False, False]])
    np.testing.assert_allclose(exploration.uniform(legal), [[1 / 3, 0, 1 / 3, 1 / 3], [1 / 4] * 4], rtol=1e-12)
    value = np.array([[0.0, -np.inf, 1.0, 2.0], [3.0, 2.0, 0.0, 1.0]])
    found = exploration.epsilon_greedy(value, 0.3, legal)
    np.testing.assert_allclose(found, [[0.1, 0, 0.1, 0.8], [0.775, 0.075, 0.075, 0.075]], rtol=1e-12)


@pytest.mark.covers("eps-greedy")
def test_epsilon_greedy_probabilities():
    """By hand: best actions share 1 - eps, all share eps; eps = 0 is greedy and eps = 1 uniform; rows sum to one."""
    for epsilon in (0.0, 0.2, 1.0):
        policy = np.asarray(exploration.epsilon_greedy(jnp.asarray(VALUE), epsilon))
        best = np.array([[0, 0.5, 0, 0.5], [1.0, 0, 0, 0]])
        np.testing.assert_allclose(policy, (1 - epsilon) * best + epsilon / 4, atol=1e-15)
        np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-15)
    np.testing.assert_array_equal(exploration.greedy(jnp.asarray(VALUE)), best)


@pytest.mark.covers("eps-greedy")
@pytest.mark.parametrize("seed", range(5))
def test_epsilon_greedy_improves_any_soft_policy(seed):
    """On random MDPs V of the policy that is epsilon-greedy in Q_pi is nowhere below V_pi, for an epsilon-soft pi."""
    epsilon, mdp = 0.3, oracle.random_mdp(seed)
    policy = epsilon / 3 + (1 - epsilon) * oracle.softmax(oracle.random_logits(seed, mdp))
    before = oracle.values(mdp, policy)
    improved = np.asarray(exploration.epsilon_greedy(jnp.asarray(before.action), epsilon))
    gain = oracle.values(mdp, improved).state - before.state
    assert gain.min() > -1e-12 and gain.max() > 1e-3


@pytest.mark.covers("eps-greedy")
def test_power_decay():
    """Exponent 0 stays, exponent 1 is eps0 / t, and 1/N sums the harmonic series."""
    t = jnp.arange(1, 6)
    np.testing.assert_allclose(exploration.power_decay(0.5, t, 0.0), 0.5)
    np.testing.assert_allclose(exploration.power_decay(0.5, t, 1.0), 0.5 / np.arange(1, 6))
    np.testing.assert_allclose(jnp.sum(exploration.power_decay(1.0, t, 1.0)), 137 / 60)


@pytest.mark.covers("eps-greedy")
def test_linear_decay_stays_between_its_ends():
    """A straight line over the duration and its end from there on, whatever the count: also one that has wrapped."""
    count = jnp.array([0, 5, 10, 11, 2**24, 2**31 - 1, -(2**31), -1], jnp.int32)
    expected = [1.0, 0.6, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    np.testing.assert_allclose(exploration.linear_decay(1.0, 0.2, count, 10.0), expected, rtol=1e-12)
    assert exploration.linear_decay(1.0, 0.0, jnp.int32(2**31 - 2) + 4, 20_000.0) == 0
    np.testing.assert_allclose(exploration.linear_decay(1.0, 0.2, count, 0.0), 0.2, rtol=1e-12)


def test_boltzmann_tends_to_greedy_and_to_uniform():
    """Odds are exp of differences over temperature; cold is greedy, hot is uniform, -inf is never chosen."""
    value = jnp.asarray(VALUE)
    policy = exploration.boltzmann(value, 0.5)
    np.testing.assert_allclose(policy[0, 1] / policy[0, 2], np.exp(2), rtol=1e-12)
    np.testing.assert_allclose(exploration.boltzmann(value, 1e-3), exploration.greedy(value), atol=1e-12)
    np.testing.assert_allclose(exploration.boltzmann(value[0], 1e6), 0.25, atol=1e-5)
    assert policy[1, 1] == 0


@pytest.mark.covers("eps-greedy")
def test_ape_x_epsilons_fall_from_actor_to_actor():
    """Eight from 0.4 with the exponent 7: its powers from 1 to 8. With exponent 0, or alone, epsilon itself."""
    np.testing.assert_allclose(exploration.spread(0.4, 7.0, 8), 0.4 ** np.arange(1, 9), rtol=1e-12)
    np.testing.assert_allclose(exploration.spread(0.3, 0.0, 3), 0.3, rtol=1e-12)
    np.testing.assert_allclose(exploration.spread(0.3, 7.0, 1), [0.3], rtol=1e-12)
    np.testing.assert_array_equal(exploration.spread(0.0, 7.0, 2), 0)


@pytest.mark.covers("eps-greedy")
def test_samples_have_the_probabilities():
    """Evenly spaced uniforms draw each action as often as its probability says, to within one draw."""
    policy, number = jnp.array([0.0, 0.25, 0.0, 0.7, 0.05, 0.0]), 10_000
    uniforms = (jnp.arange(number) + 0.5) / number
    drawn = jax.vmap(exploration.sample, (None, 0))(policy, uniforms)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6), number * np.asarray(policy), atol=1)


def test_actions_of_probability_zero_are_never_sampled():
    """In single precision, at both ends of the uniform and at every step of the distribution, no draw is impossible."""
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(0), 200)
        policies = jax.vmap(lambda key: jax.random.dirichlet(key, jnp.ones(7)))(keys).at[:, jnp.array([0, 3, 6])].set(0)
        last = np.float32(1 - 2**-24)
        cumulative = jnp.cumsum(policies, axis=-1) / jnp.sum(policies, axis=-1, keepdims=True)
        for uniform in (0.0, last, *jnp.minimum(cumulative, last).T):
            drawn = exploration.sample(policies, jnp.broadcast_to(uniform, 200))
            assert drawn.dtype == jnp.int32
            assert np.all(np.take_along_axis(np.asarray(policies), np.asarray(drawn)[:, None], -1) > 0)


@pytest.mark.parametrize("way", draws.SUMS)
def test_no_uniform_samples_what_a_long_sparse_policy_forbids(monkeypatch, way):
    """Every float32 uniform at which a draw changes, over policies of 9 to 1500 actions, however the sum is computed.

    Prefix sums that are computed in parallel fall now and then, and rise where nothing is added.
    """
    with jax.enable_x64(False):
        monkeypatch.setattr(jnp, "cumsum", draws.SUMS[way])
        for length in (9, 40, 441, 1500):
            policies = draws.sparse_distributions(length)
            assert draws.impossible_draws(exploration.sample, policies, draws.SUMS[way]) == 0


@pytest.mark.covers("ddpg")
def test_coloured_noise_keeps_its_deviation_and_forgets():
    """Variance and correlation by the exact recursion of second moments: the deviation in the long run is the one asked
    for at any rate of forgetting, values k steps apart have correlation ``(1 - theta)^k``, and 1 is white noise."""
    for theta in (0.1, 0.5, 1.0):
        step = jax.jacfwd(lambda v, theta=theta: exploration.coloured_noise(v[0], v[1], theta, 0.7))(jnp.zeros(2))
        variance = 0.0
        for _ in range(400):
            variance = step[0] ** 2 * variance + step[1] ** 2
        np.testing.assert_allclose(variance, 0.49, rtol=1e-12)
        np.testing.assert_allclose(step[0], 1 - theta, rtol=1e-12)
    np.testing.assert_allclose(exploration.coloured_noise(jnp.float64(5.0), jnp.float64(1.0), 1.0, 0.7), 0.7)
