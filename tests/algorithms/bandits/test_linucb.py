"""LinUCB: a ridge regression an arm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.linucb import LinUCBHypers, coefficients, linucb
from tests.support.bandit_games import KEY


@pytest.mark.covers("bandit")
def test_linucb_is_a_ridge_regression():
    """After 60 contexts each arm's coefficients are NumPy's solve of (ridge I + X'X) theta = X'r, and its index adds
    bonus times sqrt(x' (ridge I + X'X)^-1 x)."""
    rng = np.random.default_rng(0)
    xs, actions, rewards = rng.normal(size=(60, 4)), rng.integers(3, size=60), rng.normal(size=60)
    hypers = LinUCBHypers(bonus=0.7, ridge=0.5)
    models = linucb.init(hypers, 3, (4,))
    inputs = (jnp.asarray(xs, jnp.float32), jnp.asarray(actions), jnp.asarray(rewards, jnp.float32))
    models, _ = jax.lax.scan(lambda m, x: (linucb.learn(hypers, m, *x), None), models, inputs)
    x, index = rng.normal(size=4), []
    for arm, theta in enumerate(np.asarray(coefficients(models))):
        mine = actions == arm
        gram = 0.5 * np.eye(4) + xs[mine].T @ xs[mine]
        np.testing.assert_allclose(theta, np.linalg.solve(gram, xs[mine].T @ rewards[mine]), atol=1e-5)
        index.append(theta @ x + 0.7 * np.sqrt(x @ np.linalg.solve(gram, x)))
    chosen = linucb.policy(hypers, models, jnp.asarray(x, jnp.float32), KEY)
    np.testing.assert_array_equal(chosen, np.arange(3) == np.argmax(index))


def test_linucb_refuses_observations_that_are_no_vector():
    """A picture for LinUCB is named."""
    with pytest.raises(ValueError, match="observation of one axis"):
        linucb.init(LinUCBHypers(), 2, (3, 3))
