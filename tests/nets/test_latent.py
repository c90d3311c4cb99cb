"""Latent models: states between 0 and 1, and that planning needs to tell apart what matters alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.nets.latent import unit_range

KEY = jax.random.key(0)


@pytest.mark.covers("latent-model")
def test_latent_states_lie_between_0_and_1():
    """Smallest entry 0 and largest 1, whatever the scale; of equal entries zeros, and a gradient that is finite."""
    latent = jnp.array([[1.0, 3.0, 2.0], [-5e3, 5e3, 0.0], [4.0, 4.0, 4.0]])
    np.testing.assert_allclose(unit_range(latent), [[0, 1, 0.5], [0, 1, 0.5], [0, 0, 0]])
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(unit_range(x) ** 2))(latent)))


def random_latent_process(key, num_latent, num_actions):
    """A process on latent states, and one of twice as many states of which pairs mean the same."""
    model = mdp.random_mdp(key, num_latent, num_actions, gamma=0.9)
    meaning = np.arange(2 * num_latent) % num_latent
    share = jax.random.uniform(jax.random.fold_in(key, 1), (2 * num_latent, num_actions, num_latent))
    halves = jnp.concatenate([share, 1 - share], axis=-1)  # how the mass of a latent state falls to its pair
    transition = model.transition[meaning][:, :, meaning] * halves
    reward = model.reward[meaning][:, :, meaning]
    return model, mdp.make(transition, reward, gamma=0.9), meaning


@pytest.mark.covers("latent-model")
def test_planning_with_what_matters_is_planning_with_everything():
    """States in pairs that mean the same, moves between pairs otherwise at random: optimal values are the quotient's.

    Also the values after any policy of what matters, by exact solution, so nothing is lost; where the meaning of two
    states is confused, something is.
    """
    model, world, meaning = random_latent_process(KEY, 4, 3)
    np.testing.assert_allclose(value_iteration(world).value, value_iteration(model).value[meaning], atol=1e-3)
    policy = jax.random.dirichlet(KEY, jnp.ones(3), (4,))
    exact = mdp.state_value(model, policy)
    np.testing.assert_allclose(mdp.state_value(world, policy[meaning]), exact[meaning], atol=1e-4)
    assert np.abs(exact[meaning] - exact[(meaning + 1) % 4]).max() > 0.1
