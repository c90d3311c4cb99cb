"""The surrogate objective, what PPO's variants make of it, and how far it can be trusted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import categorical
from purerl.kernels.surrogates import policy_gradient, ppo_clip, ppo_kl
from tests.oracles import mdp as oracle
from tests.support.estimators import expected_surrogate, importance_weighted, log_policy

SEEDS = [0, 1, 2]


def surrogate(mdp: oracle.MDP, old: np.ndarray, new: np.ndarray) -> float:
    """``L(new) = E_{s~d_old, a~new}[A_old] = E_{d_old, old}[ratio A_old]``, exactly."""
    weight = oracle.visitation(mdp, old)[:, None] * new
    return float((weight * oracle.values(mdp, old).advantage).sum())


def expectation_at_old(seed: int):
    """A random process, old logits, the weights ``d_old pi_old [S, A]`` and ``A_old [S, A]``."""
    mdp = oracle.random_mdp(seed)
    theta = oracle.random_logits(seed, mdp)
    policy = oracle.softmax(theta)
    weight = oracle.visitation(mdp, policy)[:, None] * policy
    return mdp, theta, weight, jnp.asarray(oracle.values(mdp, policy).advantage)


def kl_per_action(old: np.ndarray, new: jax.Array) -> jax.Array:
    """``KL(old;new)`` of each state, repeated for each of its actions, ``[S, A]``."""
    return jnp.broadcast_to(categorical.kl(jnp.asarray(old), new)[:, None], new.shape)


@pytest.mark.covers("surrogate", "ppo-kl")
@pytest.mark.parametrize("seed", SEEDS)
def test_surrogate_touches_the_objective_at_the_old_policy(seed, x64):
    """L(old) = 0 and grad L = (1-g) grad J at the old policy, by the library's ratio objective (beta = 0)."""
    mdp, theta, weight, advantage = expectation_at_old(seed)
    loss = expected_surrogate(lambda log_ratio: importance_weighted(log_ratio, advantage), theta, weight)
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(theta))
    np.testing.assert_allclose(value, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, (1 - mdp.gamma) * oracle.policy_gradient(mdp, theta), atol=1e-12)
    # Away from the old policy it is the surrogate by direct summation, and no longer zero.
    new = oracle.random_logits(seed + 10, mdp)
    expected = surrogate(mdp, oracle.softmax(theta), oracle.softmax(new))
    np.testing.assert_allclose(loss(jnp.asarray(new)), expected, atol=1e-12)
    assert abs(expected) > 1e-3


@pytest.mark.covers("ppo-clip", "ppo-kl", "pg")
@pytest.mark.parametrize("seed", SEEDS)
def test_all_objectives_have_one_gradient_at_ratio_one(seed, x64):
    """At the old policy PPO-Clip and PPO-KL (beta = 3) have the plain policy gradient, that of log pi * A."""
    mdp, theta, weight, advantage = expectation_at_old(seed)

    def plain(theta_new: jax.Array) -> jax.Array:
        return jnp.sum(weight * policy_gradient(log_policy(theta_new), advantage))

    def penalised(theta_new: jax.Array) -> jax.Array:
        log_ratio = log_policy(theta_new) - log_policy(jnp.asarray(theta))
        return jnp.sum(weight * ppo_kl(log_ratio, advantage, kl_per_action(theta, theta_new), 3.0))

    clipped = expected_surrogate(lambda log_ratio: ppo_clip(log_ratio, advantage, 0.2), theta, weight)
    exact = (1 - mdp.gamma) * oracle.policy_gradient(mdp, theta)
    for objective in (plain, clipped, penalised):
        np.testing.assert_allclose(jax.grad(objective)(jnp.asarray(theta)), exact, atol=1e-12)


@pytest.mark.covers("ppo-clip")
def test_clip_is_a_lower_bound_of_the_surrogate(x64):
    """PPO-Clip is ratio * A while the ratio is within the range, and never above it, for both signs of A."""
    log_ratio = jnp.linspace(-1.0, 1.0, 41)
    inside = np.abs(np.exp(log_ratio) - 1) < 0.2
    for advantage in (jnp.full(41, 2.0), jnp.full(41, -2.0)):
        clipped, plain = ppo_clip(log_ratio, advantage, 0.2), importance_weighted(log_ratio, advantage)
        np.testing.assert_allclose(clipped[inside], plain[inside], atol=1e-12)
        assert np.all(clipped <= plain)
        assert np.any(clipped < plain)


@pytest.mark.covers("ppo-kl")
def test_kl_penalty_acts_away_from_the_old_policy(x64):
    """With A = 0, PPO-KL is -beta E[KL(old;new)]: zero at the old policy and below zero elsewhere."""
    mdp, theta, weight, _ = expectation_at_old(0)
    new = oracle.random_logits(10, mdp)
    log_ratio = log_policy(jnp.asarray(new)) - log_policy(jnp.asarray(theta))
    kl = kl_per_action(theta, jnp.asarray(new))
    value = jnp.sum(weight * ppo_kl(log_ratio, jnp.zeros_like(log_ratio), kl, 3.0))
    exact = oracle.kl(oracle.softmax(theta), oracle.softmax(new))
    expected = -3.0 * oracle.visitation(mdp, oracle.softmax(theta)) @ exact
    np.testing.assert_allclose(value, expected, atol=1e-12)
    assert expected < 0


@pytest.mark.covers("surrogate")
def test_surrogate_error_is_second_order():
    """J(new) - J(old) - L/(1-g) shrinks by four when the step in the logits is halved."""
    for seed in SEEDS:
        mdp = oracle.random_mdp(seed)
        theta, direction = oracle.random_logits(seed, mdp), oracle.random_logits(seed + 10, mdp)
        old = oracle.softmax(theta)
        errors = []
        for step in (2e-3, 1e-3):
            new = oracle.softmax(theta + step * direction)
            difference = oracle.objective(mdp, new) - oracle.objective(mdp, old)
            errors.append(difference - surrogate(mdp, old, new) / (1 - mdp.gamma))
        np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.05)


@pytest.mark.covers("surrogate")
def test_surrogate_error_bound():
    """abs(J' - J - L/(1-g)) <= c g eps max_s KL(old;new)/(1-g)^2 on 1000 processes: c = 2, and so 4."""
    rng, worst = np.random.default_rng(0), 0.0
    for seed in range(1000):
        mdp = oracle.random_mdp(seed, num_states=3, num_actions=2, gamma=rng.uniform(0.3, 0.99))
        theta = oracle.random_logits(seed, mdp, scale=2.0)
        step = oracle.random_logits(seed + 5000, mdp, scale=10 ** rng.uniform(-2, 0.5))
        old, new = oracle.softmax(theta), oracle.softmax(theta + step)
        difference = oracle.objective(mdp, new) - oracle.objective(mdp, old)
        error = difference - surrogate(mdp, old, new) / (1 - mdp.gamma)
        largest_advantage = np.abs(oracle.values(mdp, old).advantage).max()
        bound = 2 * mdp.gamma * largest_advantage / (1 - mdp.gamma) ** 2 * oracle.kl(old, new).max()
        worst = max(worst, abs(error) / bound)
    assert 0.05 < worst <= 1  # not vacuous, never violated


@pytest.mark.covers("surrogate", "trpo")
def test_small_mean_kl_does_not_guarantee_improvement():
    """A step with L > 0 and mean KL <= 0.01 lowers J: it turns bad where the old policy hardly goes."""
    # State 0 stays for nothing, or by action 1 goes to state 1 for 0.8. State 1 leads back, by action 1
    # for -1. The old policy hardly ever goes to state 1, so neither L nor the mean KL sees much of what
    # happens there. The new one goes three times as often, and pays.
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, :, 0] = 1
    mdp = oracle.MDP(transition, np.array([[0.0, 0.8], [0.0, -1.0]]), np.array([1.0, 0.0]), 0.9)
    old = np.array([[0.999, 0.001], [0.99, 0.01]])
    new = np.array([[0.997, 0.003], [0.1, 0.9]])
    kl = oracle.kl(old, new)
    assert surrogate(mdp, old, new) > 0
    assert oracle.visitation(mdp, old) @ kl <= 0.01
    assert oracle.objective(mdp, new) < oracle.objective(mdp, old)
    # The penalised objective, which does guarantee improvement, refuses the step.
    largest_advantage = np.abs(oracle.values(mdp, old).advantage).max()
    penalty = 2 * mdp.gamma * largest_advantage / (1 - mdp.gamma) ** 2 * kl.max()
    assert surrogate(mdp, old, new) / (1 - mdp.gamma) - penalty < 0
