"""Monte Carlo, TD and n-step advantages: what each has for its mean."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.returns import n_step_returns, td_errors
from tests.oracles import mdp as oracle
from tests.support.estimators import discounts, expected_gradient, returns_to_go

pytestmark = pytest.mark.usefixtures("x64")


def conditional_mean(paths: oracle.Trajectories, x: np.ndarray) -> np.ndarray:
    """``E[x | s_0 = s, a_0 = a]`` of ``x [K]``, ``[S, A]``."""
    first = (paths.state[0], paths.action[0])
    shape = (paths.state.max() + 1, paths.action.max() + 1)
    total, mass = np.zeros(shape), np.zeros(shape)
    np.add.at(total, first, paths.probability * x)
    np.add.at(mass, first, paths.probability)
    return total / mass


def problem(seed: int):
    """A random process of 3 states and 2 actions, and a policy for it."""
    mdp = oracle.random_mdp(seed, num_states=3, num_actions=2)
    theta = oracle.random_logits(seed, mdp)
    return mdp, theta, oracle.softmax(theta)


@pytest.mark.covers("adv-est")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_td_error_of_the_true_value_has_the_advantage_as_mean(seed):
    """E[delta | s, a] = A(s, a) and E[delta | s] = 0 when V = V_pi, and neither when V is off."""
    mdp, _, policy = problem(seed)
    exact, paths = oracle.values(mdp, policy), oracle.trajectories(mdp, policy, 1)
    never = np.zeros(paths.reward.shape, bool)

    def mean_delta(value: np.ndarray) -> np.ndarray:
        delta = td_errors(paths.reward, value[paths.state[:-1]], value[paths.state[1:]], never, mdp.gamma)
        return conditional_mean(paths, np.asarray(delta)[0])

    np.testing.assert_allclose(mean_delta(exact.state), exact.advantage, atol=1e-12)
    np.testing.assert_allclose((policy * mean_delta(exact.state)).sum(-1), 0, atol=1e-12)
    wrong = mean_delta(exact.state + np.array([0.5, -0.5, 0.0])) - exact.advantage
    assert np.abs(wrong).max() > 0.1


@pytest.mark.covers("adv-est", "baseline")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_monte_carlo_advantage_is_unbiased_for_any_critic(seed):
    """As a gradient weight G - V has no bias whatever V is, while the TD error has one unless V = V_pi."""
    horizon = 3
    mdp, theta, policy = problem(seed)
    paths = oracle.trajectories(mdp, policy, horizon)
    exact = oracle.finite_policy_gradient(mdp, theta, horizon)
    value = np.random.default_rng(seed).normal(size=3)
    critic, next_critic = value[paths.state[:-1]], value[paths.state[1:]]
    discount = discounts(mdp.gamma, horizon)
    monte_carlo = discount * (returns_to_go(paths, mdp.gamma) - critic)
    np.testing.assert_allclose(expected_gradient(theta, paths, monte_carlo), exact, atol=1e-12)
    terminated = np.broadcast_to(np.arange(horizon)[:, None] == horizon - 1, paths.reward.shape)
    one_step = discount * np.asarray(td_errors(paths.reward, critic, next_critic, terminated, mdp.gamma))
    assert np.abs(expected_gradient(theta, paths, one_step) - exact).max() > 0.01


@pytest.mark.covers("adv-est")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_bias_of_the_n_step_advantage(n):
    """E[A^(n) | s, a] - A = g^n E[(V - V_pi)(s_n) | s, a] - (V - V_pi)(s), for an arbitrary critic V."""
    mdp, _, policy = problem(3)
    exact, paths = oracle.values(mdp, policy), oracle.trajectories(mdp, policy, n)
    value = np.random.default_rng(3).normal(size=3)
    never = jnp.zeros(paths.reward.shape, bool)
    returns = n_step_returns(jnp.asarray(paths.reward), jnp.asarray(value[paths.state[1:]]), never, never, mdp.gamma, n)
    bias = conditional_mean(paths, np.asarray(returns)[0] - value[paths.state[0]]) - exact.advantage
    error = value - exact.state
    arrival = mdp.transition @ np.linalg.matrix_power(oracle.state_transition(mdp, policy), n - 1)
    np.testing.assert_allclose(bias, mdp.gamma**n * arrival @ error - error[:, None], atol=1e-12)
