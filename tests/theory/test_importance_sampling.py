"""Importance sampling is unbiased, and how much variance it has, by enumeration."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.importance import ordinary, per_decision, trajectory_ratio
from tests.oracles import mdp as oracle

T = 3

pytestmark = pytest.mark.usefixtures("x64")


def mean_and_variance(probability: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Mean and variance of ``x [K]`` under ``probability [K]``."""
    mean = float(probability @ x)
    return mean, float(probability @ x**2 - mean**2)


def off_policy_trajectories(seed: int):
    """A process, a new policy, all trajectories of an old one, and the per-step ratios new/old ``[T, K]``."""
    mdp = oracle.random_mdp(seed, num_states=3, num_actions=2)
    old, new = (oracle.softmax(oracle.random_logits(seed + k, mdp)) for k in (1, 2))
    paths = oracle.trajectories(mdp, old, T)
    ratio = (new / old)[paths.state[:-1], paths.action]
    return mdp, new, paths, ratio


@pytest.mark.covers("is")
def test_importance_identity_and_variance():
    """E_q[(p/q) f] = E_p[f] with variance E_p[f^2 p/q] - (E_p f)^2, by the library's one-step estimate."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, q, f = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5)), rng.normal(size=5)
        estimate = np.asarray(ordinary(jnp.asarray(f)[None], jnp.asarray(p / q)[None], 1.0))
        mean, variance = mean_and_variance(q, estimate)
        np.testing.assert_allclose(mean, p @ f, atol=1e-12)
        np.testing.assert_allclose(variance, p @ (f**2 * p / q) - (p @ f) ** 2, atol=1e-12)


@pytest.mark.covers("is")
def test_importance_sampling_can_lower_the_variance():
    """For f > 0 and q proportional to p f the estimate is constant: no variance, unlike sampling from p."""
    rng = np.random.default_rng(0)
    p, f = rng.dirichlet(np.ones(5)), rng.uniform(1, 2, size=5)
    q = p * f / (p @ f)
    estimate = np.asarray(ordinary(jnp.asarray(f)[None], jnp.asarray(p / q)[None], 1.0))
    np.testing.assert_allclose(mean_and_variance(q, estimate), (p @ f, 0), atol=1e-12)
    assert mean_and_variance(p, f)[1] > 0.01


@pytest.mark.covers("is")
def test_variance_of_the_ratio_grows_geometrically():
    """E_old[ratio] = 1, Var_old(ratio) = chi2(new;old), and (1 + chi2)^T - 1 for T independent steps."""
    rng = np.random.default_rng(0)
    old, new = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3))
    chi2 = ((new - old) ** 2 / old).sum()
    np.testing.assert_allclose(mean_and_variance(old, new / old), (1, chi2), atol=1e-12)
    for num_steps in (2, 4):
        actions = np.indices((3,) * num_steps).reshape(num_steps, -1)
        # A reward of one on the last step alone turns the estimate into the ratio of the whole trajectory.
        reward = np.zeros(actions.shape)
        reward[-1] = 1
        ratio = np.asarray(ordinary(jnp.asarray(reward), jnp.asarray((new / old)[actions]), 1.0))
        expected = (1, (1 + chi2) ** num_steps - 1)
        np.testing.assert_allclose(mean_and_variance(old[actions].prod(0), ratio), expected, atol=1e-12)


@pytest.mark.covers("is")
def test_trajectory_ratio_is_the_product_of_policy_ratios():
    """p_new(tau)/p_old(tau), start and dynamics included, equals the product over steps of pi_new/pi_old."""
    mdp, new, paths, ratio = off_policy_trajectories(0)
    new_paths = oracle.trajectories(mdp, new, T)  # the same trajectories in the same order
    np.testing.assert_array_equal(new_paths.state, paths.state)
    whole = trajectory_ratio(jnp.log(jnp.asarray(ratio)))
    np.testing.assert_allclose(whole, new_paths.probability / paths.probability, rtol=1e-10)


@pytest.mark.covers("is")
@pytest.mark.parametrize("estimator", [ordinary, per_decision])
def test_off_policy_evaluation_is_unbiased(estimator):
    """Over all trajectories of the old policy, ordinary and per-decision estimates both average to J(new)."""
    for seed in range(3):
        mdp, new, paths, ratio = off_policy_trajectories(seed)
        estimate = np.asarray(estimator(jnp.asarray(paths.reward), jnp.asarray(ratio), mdp.gamma))
        expected = oracle.finite_objective(mdp, new, T)
        np.testing.assert_allclose(paths.probability @ estimate, expected, atol=1e-12)


@pytest.mark.covers("is")
def test_per_decision_has_less_variance_where_future_ratios_are_noise():
    """Per-decision estimates, which drop the ratios after a reward, vary less on three processes."""
    for seed in range(3):
        mdp, _, paths, ratio = off_policy_trajectories(seed)
        reward, ratio = jnp.asarray(paths.reward), jnp.asarray(ratio)
        whole = mean_and_variance(paths.probability, np.asarray(ordinary(reward, ratio, mdp.gamma)))[1]
        stepwise = mean_and_variance(paths.probability, np.asarray(per_decision(reward, ratio, mdp.gamma)))[1]
        assert stepwise < whole
