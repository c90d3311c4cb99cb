"""What the two streams of a dueling network mean, and what cannot be told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.value import combine_streams
from tests.oracles import mdp as oracle

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.covers("dueling")]

FORMS = ["mean", "max"]


def streams(seed: int = 0, num_atoms: int = 3):
    """A value ``[5, 1, N]`` and advantages ``[5, 4, N]``."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(5, 1, num_atoms))), jnp.asarray(rng.normal(size=(5, 4, num_atoms)))


def test_value_stream_of_a_dueling_network():
    """Mean form: mean_a Q is V and Q - V sums to 0. Max form: max_a Q is V. For each atom by itself."""
    value, advantage = streams()
    q = combine_streams(value, advantage, "mean")
    np.testing.assert_allclose(q.mean(-2, keepdims=True), value, rtol=1e-12)
    np.testing.assert_allclose((q - value).sum(-2), 0.0, atol=1e-14)
    np.testing.assert_array_equal(combine_streams(value, advantage, "max").max(-2, keepdims=True), value)


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_in_the_advantages_is_removed(form):
    """Adding c to all advantages leaves Q; without the subtraction V + c and A - c are the same Q as V and A."""
    value, advantage = streams(1)
    q = combine_streams(value, advantage, form)
    np.testing.assert_allclose(combine_streams(value, advantage + 3.0, form), q, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose((value + 3.0) + (advantage - 3.0), value + advantage, rtol=1e-12, atol=1e-14)
    assert np.abs(combine_streams(value + 3.0, advantage - 3.0, form) - q).min() > 2.9


@pytest.mark.parametrize("form", FORMS)
def test_differences_and_order_of_actions_are_those_of_the_advantages(form):
    """Q_a - Q_b = A_a - A_b, so the best action is the same; permuting actions permutes Q."""
    value, advantage = streams(2)
    q, order = combine_streams(value, advantage, form), jnp.array([3, 1, 0, 2])
    np.testing.assert_allclose(q - q[:, :1], advantage - advantage[:, :1], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(combine_streams(value, advantage[:, order], form), q[:, order], rtol=1e-12)


def test_gradients_of_the_two_streams():
    """The value gets the sum over actions of dL/dQ; in the mean form the advantages' gradient sums to 0."""
    value, advantage = streams(3)
    weight = jnp.asarray(np.random.default_rng(4).normal(size=advantage.shape))
    to_value, to_advantage = jax.grad(lambda v, a: (weight * combine_streams(v, a, "mean")).sum(), argnums=(0, 1))(
        value, advantage
    )
    np.testing.assert_allclose(to_value, weight.sum(-2, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(to_advantage, weight - weight.mean(-2, keepdims=True), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_streams_that_fit_a_true_q(seed):
    """Q_pi of a random process: true advantages average 0 under pi, not uniformly; V is mean or max of Q, not V_pi."""
    mdp = oracle.random_mdp(seed)
    policy = oracle.softmax(oracle.random_logits(seed, mdp))
    true = oracle.values(mdp, policy)
    np.testing.assert_allclose((policy * true.advantage).sum(-1), 0.0, atol=1e-12)
    assert np.abs(true.advantage.sum(-1)).max() > 0.05
    for form, value in (("mean", true.action.mean(-1)), ("max", true.action.max(-1))):
        fitted = combine_streams(jnp.asarray(value)[:, None, None], jnp.asarray(true.advantage)[..., None], form)
        np.testing.assert_allclose(fitted[..., 0], true.action, rtol=1e-12)
        assert np.abs(value - true.state).max() > 0.02
