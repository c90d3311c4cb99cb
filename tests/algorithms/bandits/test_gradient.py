"""Gradient bandit: steps by hand, and the exact gradient on average."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.gradient import GradientHypers, Preferences, gradient
from purerl.kernels.returns import discounted_returns
from purerl.kernels.surrogates import policy_gradient
from tests.support.bandit_games import NO_OBS, learned, policy_of


@pytest.mark.covers("bandit")
def test_gradient_step_by_hand():
    """Two pulls, step 0.5: the first, compared with itself, moves nothing; the second is compared with the first."""
    hypers = GradientHypers(step_size=0.5)
    first = learned(gradient, hypers, [0], [4.0], 2)
    np.testing.assert_array_equal(first.preference, [0, 0])
    second = learned(gradient, hypers, [0, 1], [4.0, 6.0], 2)
    np.testing.assert_allclose(second.preference, [-0.5, 0.5])  # 0.5 (6 - 4) (1[a] - 0.5)
    assert second.mean_reward == 5 and second.count == 2
    plain = learned(gradient, hypers.replace(baseline=0.0), [0], [4.0], 2)
    np.testing.assert_allclose(plain.preference, [1, -1])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit", "baseline")
@pytest.mark.parametrize("mean_reward", [0.0, -3.0, 10.0])
def test_gradient_bandit_ascends_the_mean_reward(mean_reward):
    """E[step] over all arms is alpha times the exact gradient of sum_a pi_a q_a, with any baseline and with none."""
    preference, means = jnp.array([0.5, -0.2, 1.0, 0.0]), jnp.array([1.0, 3.0, -1.0, 2.0])
    exact = jax.grad(lambda h: jax.nn.softmax(h) @ means)(preference)
    statistics = Preferences(preference=preference, mean_reward=jnp.asarray(mean_reward), count=jnp.asarray(7.0))
    for baseline in (0.0, 1.0):
        hypers = GradientHypers(step_size=0.3, baseline=baseline)
        steps = [gradient.learn(hypers, statistics, NO_OBS, a, means[a]).preference - preference for a in range(4)]
        expected = policy_of(gradient, hypers, statistics) @ np.stack(steps)
        np.testing.assert_allclose(expected, 0.3 * exact, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("seq-bandit")
def test_a_response_as_one_arm_has_the_gradient_of_its_tokens():
    """All 2^3 responses as arms: the gradient bandit's mean step on their log-probabilities, pulled back to the token
    logits, is token-level REINFORCE with the reward at the end, and the exact gradient of the expected reward."""
    responses = np.array(list(itertools.product(range(2), repeat=3)))  # [Y, T]
    prefix = np.array([[0, 1 + y[0], 3 + 2 * y[0] + y[1]] for y in responses])  # [Y, T] rows of the table of logits
    rng = np.random.default_rng(0)
    logits, reward = jnp.asarray(rng.normal(size=(7, 2))), jnp.asarray(rng.normal(size=8))

    def token_log_prob(logits: jax.Array) -> jax.Array:  # [Y, T]
        return jax.nn.log_softmax(logits)[prefix, responses]

    def response_log_prob(logits: jax.Array) -> jax.Array:  # [Y]
        return token_log_prob(logits).sum(-1)

    probability = jnp.exp(response_log_prob(logits))
    assert jnp.sum(probability) == pytest.approx(1, abs=1e-12)
    statistics = Preferences(response_log_prob(logits), jnp.asarray(0.4), jnp.asarray(1.0))
    hypers = GradientHypers(step_size=1.0)
    steps = jnp.stack(
        [gradient.learn(hypers, statistics, NO_OBS, y, reward[y]).preference - statistics.preference for y in range(8)]
    )
    as_arms = jax.vjp(response_log_prob, logits)[1](probability @ steps)[0]

    at_the_end = jnp.zeros((3, 8)).at[-1].set(reward)  # [T, Y]
    ends, never = jnp.zeros((3, 8), bool).at[-1].set(True), jnp.zeros((3, 8), bool)
    to_go = discounted_returns(at_the_end, jnp.zeros((3, 8)), ends, never, 1.0)
    np.testing.assert_allclose(to_go, np.broadcast_to(reward, (3, 8)))
    as_tokens = jax.grad(lambda x: jnp.sum(probability * policy_gradient(token_log_prob(x).T, to_go)))(logits)
    exact = jax.grad(lambda x: jnp.exp(response_log_prob(x)) @ reward)(logits)
    np.testing.assert_allclose(as_arms, exact, atol=1e-12)
    np.testing.assert_allclose(as_tokens, exact, atol=1e-12)
