import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.shaping import potential_shaping

pytestmark = pytest.mark.usefixtures("x64")
GAMMA = 0.9


def optimal_q(transition, reward, terminal):
    """Optimal action values by value iteration, 400 sweeps; ``transition`` and ``reward`` are ``[S, A, S]``."""
    q = np.zeros(transition.shape[:2])
    for _ in range(400):
        value = np.where(terminal, 0, q.max(axis=1))
        q = np.einsum("saz,saz->sa", transition, reward + GAMMA * value)
    return np.where(terminal[:, None], 0, q)


@pytest.mark.covers("shaping")
def test_potential_shaping_keeps_every_choice_and_lowers_action_values_by_the_potential():
    """Random process with a terminal state, large random potential: Q - Phi(s), so the same optimal actions."""
    rng = np.random.default_rng(0)
    transition, reward = rng.dirichlet(np.ones(4), (4, 3)), rng.normal(size=(4, 3, 4))
    terminal = np.array([False, False, False, True])
    potential = 10 * rng.normal(size=4)
    before, after = (np.broadcast_to(x, reward.shape) for x in (potential[:, None, None], potential))
    ends = jnp.broadcast_to(terminal, before.shape)
    shaping = potential_shaping(jnp.asarray(before), jnp.asarray(after), ends, GAMMA)
    plain = optimal_q(transition, reward, terminal)
    shaped = optimal_q(transition, reward + np.asarray(shaping), terminal)
    np.testing.assert_allclose(shaped[:3], (plain - potential[:, None])[:3], atol=1e-12)
    np.testing.assert_array_equal(shaped[:3].argmax(axis=1), plain[:3].argmax(axis=1))


@pytest.mark.covers("shaping")
def test_an_additive_bonus_can_turn_the_optimum_around():
    """Three states in a row, 1 for reaching the last: a bonus of .2 for the way back keeps the agent walking in
    circles, a potential of .2 there does not."""
    transition = np.zeros((3, 2, 3))
    transition[[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], [0, 0, 2, 1, 2, 2]] = 1  # back, forth
    reward = np.zeros((3, 2, 3))
    reward[1, 1, 2] = 1
    terminal = np.array([False, False, True])
    assert optimal_q(transition, reward, terminal).argmax(axis=1)[:2].tolist() == [1, 1]
    bonus = np.zeros_like(reward)
    bonus[1, 0, 0] = 0.2
    assert optimal_q(transition, reward + bonus, terminal).argmax(axis=1)[:2].tolist() == [1, 0]
    potential = np.array([0.2, 0.0, 0.0])
    before, after = (jnp.broadcast_to(x, reward.shape) for x in (potential[:, None, None], potential))
    shaping = potential_shaping(before, after, jnp.broadcast_to(terminal, reward.shape), GAMMA)
    assert optimal_q(transition, reward + np.asarray(shaping), terminal).argmax(axis=1)[:2].tolist() == [1, 1]


@pytest.mark.covers("shaping", "returns")
def test_shaping_telescopes_to_minus_the_potential_of_the_start():
    """Discounted over an episode that terminates: the return changes by -Phi(s_0), whatever happened in between."""
    potential = jnp.asarray(np.random.default_rng(0).normal(size=6))
    terminated = jnp.arange(5) == 4
    shaping = potential_shaping(potential[:-1], potential[1:], terminated, GAMMA)
    np.testing.assert_allclose(jnp.sum(GAMMA ** jnp.arange(5) * shaping), -potential[0], rtol=1e-12)
    with pytest.raises(AssertionError):
        potential_shaping(potential[:-1], potential[1:], terminated[:1], GAMMA)
