"""Mixers grow with each agent's value, so that what is best for each is best for all; nobody needs another's eyes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.mixers import MonotoneMixer, TeamQNetwork
from purerl.nets.value import make_q_network

NUM_AGENTS, NUM_ACTIONS, NUM_FEATURES = 2, 3, 2


@pytest.fixture(scope="module", params=["sum", "monotone"])
def teams(request):
    """Of 20 random networks of two agents: what they see, their values ``[N, I, A]``, the value of each joint action
    ``[N, A A]``, and the gradient by each agent's value."""
    own = make_q_network((NUM_FEATURES + NUM_AGENTS,), NUM_ACTIONS, hidden_sizes=(4,))
    net = TeamQNetwork(own, MonotoneMixer(3) if request.param == "monotone" else None)
    pairs = jnp.array(list(itertools.product(range(NUM_ACTIONS), repeat=2)))

    @jax.jit
    @jax.vmap
    def make(key):
        obs = jax.random.normal(key, (NUM_AGENTS, NUM_FEATURES))
        params = net.init(key, obs)
        q = net.apply(params, obs)[..., 0]
        moved = net.apply(params, obs.at[1].add(1.0))[..., 0]
        chosen = jax.vmap(lambda pair: q[jnp.arange(2), pair])(pairs)
        mix = jax.vmap(jax.value_and_grad(lambda value: net.apply(params, value, obs, method="mix")))
        return q, moved, *mix(chosen)

    return request.param, jax.tree.map(np.asarray, make(jax.random.split(jax.random.key(0), 20)))


@pytest.mark.covers("ctde")
def test_what_is_best_for_each_is_best_for_all(teams):
    """Individual-global-max: of the nine joint actions the best is that of each agent's best; no gradient is negative,
    and with a mixer that is not the sum, they differ."""
    name, (q, _, joint, gradient) = teams
    best = q.argmax(axis=-1)
    np.testing.assert_array_equal(joint.argmax(axis=-1), best[:, 0] * NUM_ACTIONS + best[:, 1])
    assert gradient.min() >= 0
    if name == "sum":
        np.testing.assert_allclose(joint.reshape(-1, 3, 3), q[:, 0, :, None] + q[:, 1, None], rtol=1e-5, atol=1e-6)
    else:
        assert np.ptp(gradient) > 0.1


@pytest.mark.covers("ctde")
def test_an_agents_values_depend_on_what_it_sees_alone(teams):
    """Another observation of the second agent changes its values and not those of the first; of the same observation
    the two would make different things, for each is told who it is."""
    _, (q, moved, _, _) = teams
    np.testing.assert_array_equal(q[:, 0], moved[:, 0])
    assert np.abs(q[:, 1] - moved[:, 1]).max(axis=-1).min() > 0
