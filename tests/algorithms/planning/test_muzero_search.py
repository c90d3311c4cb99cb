"""MuZero's search: the value of its policy, and games in which the other player moves next."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.algorithms.planning.muzero_config import MuZeroHypers
from purerl.algorithms.planning.muzero_model import expected_value, network, value_support
from purerl.algorithms.planning.muzero_search import recommended_value, search_policy
from tests.support.muzero_setup import GAMMA, KEY, SMALL, disturbed
from tests.support.nim import MOST, heaps, nim
from tests.support.ppo_setup import jit

HYPERS = MuZeroHypers(gamma=GAMMA)


@pytest.mark.covers("muzero")
def test_value_of_the_policy_that_a_search_recommends():
    """By hand, of a tree whose third action was never tried: shares of the others in the policy weigh their values."""
    root = search.Root(jnp.zeros((1, 3)), jnp.array([9.0]), ())
    tree = search.init_tree(root, lambda logits: logits, 1)
    tree = tree.replace(visits=tree.visits.at[0, 0].set(jnp.array([2.0, 4.0, 0.0])))
    tree = tree.replace(value=tree.value.at[0, 0].set(jnp.array([1.0, -1.0, 0.0])))
    decision = search.Decision(jnp.zeros(1, jnp.int32), jnp.array([[0.6, 0.2, 0.2]]), jnp.zeros(1), tree)
    np.testing.assert_allclose(recommended_value(decision), (0.6 - 0.2) / 0.8, rtol=1e-6)


@pytest.mark.covers("muzero")
def test_values_after_a_move_are_the_other_players():
    """A search of as many simulations as there are moves: each move's value is r - gamma v, as the network
    predicts them.

    Where two of three moves are legal, they have all visits and all of the policy.
    """
    game, config = nim(), dataclasses.replace(SMALL, num_simulations=MOST)
    net, seen = network(game, config), heaps([5, 2])
    legal = jax.vmap(game.legal)(seen.env_state)
    np.testing.assert_array_equal(legal, [[1, 1, 1], [1, 1, 0]])

    @jit
    def both(key):
        """The decision, and the predictions of the network for the three moves from the first heap."""
        params = disturbed(net.init(key, seen.obs, jnp.zeros(2, jnp.int32)), key)
        latent = net.apply(params, jnp.tile(seen.obs[:1], (MOST, 1)), method="represent")
        reward, after = net.apply(params, latent, jnp.arange(MOST), method="follow")
        _, later = net.apply(params, after, method="predict")
        said = (expected_value(x, value_support(config), HYPERS.rescale_epsilon) for x in (reward, later))
        return search_policy(game, config)(HYPERS, params, seen, key), *said

    decision, reward, later = both(KEY)
    visits, value = decision.tree.visits[0], decision.tree.value[0]
    np.testing.assert_array_equal(visits[0], [1, 1, 1])
    assert visits[1].sum() == MOST and visits[1, 2] == 0 and decision.weights[1, 2] == 0
    assert np.all(np.abs(later) > 1e-3)
    np.testing.assert_allclose(value[0], reward - GAMMA * later, rtol=1e-4)
