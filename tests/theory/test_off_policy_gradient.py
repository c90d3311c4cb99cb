"""The exact off-policy policy gradient, and what each of its factors is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import mdp as oracle
from tests.support.estimators import expected_surrogate, importance_weighted

pytestmark = pytest.mark.usefixtures("x64")


def gradient_from_old_data(theta, old_theta, state_weight, advantage):
    """``sum_s w[s] E_{a~old}[ratio score A]`` by differentiating the library's objective, ``[S, A]``."""
    weight = state_weight[:, None] * oracle.softmax(old_theta)
    advantage = jnp.asarray(advantage)
    loss = expected_surrogate(lambda log_ratio: importance_weighted(log_ratio, advantage), old_theta, weight)
    return np.asarray(jax.grad(loss)(jnp.asarray(theta)))


@pytest.mark.covers("offpg")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exact_off_policy_gradient(seed):
    """grad J = E_{d_old, old}[(d_new/d_old) ratio score A_new] / (1-g); each factor left out leaves a gap."""
    mdp = oracle.random_mdp(seed)
    theta, old_theta = oracle.random_logits(seed, mdp), oracle.random_logits(seed + 10, mdp)
    new, old = oracle.softmax(theta), oracle.softmax(old_theta)
    d_old = oracle.visitation(mdp, old)
    state_ratio = oracle.visitation(mdp, new) / d_old
    a_new, a_old = oracle.values(mdp, new).advantage, oracle.values(mdp, old).advantage
    scale, exact = 1 / (1 - mdp.gamma), oracle.policy_gradient(mdp, theta)

    full = gradient_from_old_data(theta, old_theta, scale * state_ratio * d_old, a_new)
    np.testing.assert_allclose(full, exact, atol=1e-12)
    for state_weight, advantage in [
        (state_ratio * d_old, a_new),  # without 1/(1-g)
        (scale * d_old, a_new),  # without the state ratio
        (scale * state_ratio * d_old, a_old),  # with the advantage of the old policy
    ]:
        gap = gradient_from_old_data(theta, old_theta, state_weight, advantage) - exact
        assert np.linalg.norm(gap) > 0.01 * np.linalg.norm(exact)


@pytest.mark.covers("offpg")
def test_state_ratio_tends_to_one_with_the_step():
    """At the old policy both corrections vanish; max |d_new/d_old - 1| halves when the step is halved."""
    mdp = oracle.random_mdp(0)
    theta, direction = oracle.random_logits(0, mdp), oracle.random_logits(10, mdp)
    d_old = oracle.visitation(mdp, oracle.softmax(theta))
    advantage = oracle.values(mdp, oracle.softmax(theta)).advantage
    at_old = gradient_from_old_data(theta, theta, d_old / (1 - mdp.gamma), advantage)
    np.testing.assert_allclose(at_old, oracle.policy_gradient(mdp, theta), atol=1e-12)
    steps = (2e-3, 1e-3)
    moved = [oracle.visitation(mdp, oracle.softmax(theta + step * direction)) for step in steps]
    far, near = (np.abs(d / d_old - 1).max() for d in moved)
    np.testing.assert_allclose(far / near, 2, rtol=0.05)
