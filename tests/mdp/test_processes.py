"""Finite processes: every form of reward, and random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from tests.oracles import mdp as oracle
from tests.support.processes import GAMMA, random_pair


@pytest.mark.covers("mdp")
def test_every_reward_form_gives_the_same_values(x64):
    """R(s), R(s, a), R(s, a, s') and a reward for arriving, against loops; the mean of the last form decides V, while
    its noise is lost for good."""
    theirs, _, policy = random_pair()
    rng = np.random.default_rng(3)
    full = rng.normal(size=theirs.transition.shape)
    forms = {
        "every step": (2.0, np.full_like(full, 2.0)),
        "leaving": (full[:, 0, 0], np.repeat(full[:, 0, 0], 12).reshape(full.shape)),
        "pair": (full[..., 0], np.repeat(full[..., 0], 4).reshape(full.shape)),
        "step": (full, full),
        "arriving": (full[:1, :1], np.tile(full[0, 0], 12).reshape(full.shape)),
    }
    for name, (reward, whole) in forms.items():
        ours = kernel.make(theirs.transition, reward, gamma=GAMMA)
        np.testing.assert_array_equal(ours.reward, whole, err_msg=name)
        mean = (theirs.transition * whole).sum(-1)
        np.testing.assert_allclose(kernel.expected_reward(ours), mean, rtol=1e-12, err_msg=name)
        want = oracle.values(theirs._replace(reward=mean), policy).state
        np.testing.assert_allclose(kernel.state_value(ours, policy), want, rtol=1e-9, err_msg=name)
        averaged = kernel.make(theirs.transition, mean, gamma=GAMMA)
        np.testing.assert_allclose(kernel.state_value(averaged, policy), want, rtol=1e-9, err_msg=name)
    square = kernel.make(theirs.transition, full, gamma=GAMMA)
    variance = kernel.expected_reward(square.replace(reward=square.reward**2)) - kernel.expected_reward(square) ** 2
    assert (variance > 0.05).all()


def test_terminal_states_absorb_whatever_was_given():
    """Rows and rewards of a terminal state are ignored, NaN included; the start is uniform over the others."""
    transition = np.array([[[0.0, 1.0]], [[np.nan, 7.0]]])
    mdp = kernel.make(transition, [[1.0], [np.nan]], gamma=1.0, terminal=[False, True])
    np.testing.assert_array_equal(mdp.transition[1], [[0, 1]])
    np.testing.assert_array_equal(mdp.reward[1], [[0, 0]])
    np.testing.assert_array_equal(mdp.start, [1, 0])
    np.testing.assert_array_equal(kernel.state_value(mdp, jnp.ones((2, 1))), [1, 0])


def test_random_processes():
    """Garnet draws: rows are distributions over exactly `branching` states, terminal states absorb, keys differ."""

    def draw(key):
        return kernel.random_mdp(key, 6, 2, gamma=GAMMA, branching=3, num_terminal=2)

    mdps = jax.vmap(draw)(jax.random.split(jax.random.key(0), 16))
    np.testing.assert_allclose(mdps.transition.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal((mdps.transition[:, :4] > 0).sum(-1), 3)
    np.testing.assert_array_equal(mdps.transition[:, 4:], np.broadcast_to(np.eye(6)[4:, None], (16, 2, 2, 6)))
    np.testing.assert_array_equal(mdps.reward[:, 4:], 0)
    np.testing.assert_array_equal(mdps.start[0], [0.25] * 4 + [0] * 2)
    assert len(np.unique(mdps.transition[:, 0, 0, 0])) > 4
    assert ((mdps.transition[:, :4] > 0).any((0, 1, 2))).all()
    with pytest.raises(ValueError, match=r"branching=7 must lie in \[1, num_states\] = \[1, 6\]"):
        kernel.random_mdp(jax.random.key(0), 6, 2, gamma=GAMMA, branching=7)
    with pytest.raises(ValueError, match=r"num_terminal=6 must lie"):
        kernel.random_mdp(jax.random.key(0), 6, 2, gamma=GAMMA, num_terminal=6)
