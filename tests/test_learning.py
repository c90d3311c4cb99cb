"""What algorithms that learn by gradients share: every sample once an epoch, and the step that optax would take."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl import learning


def test_minibatches_hold_every_sample_once_an_epoch():
    """12 numbered samples in 3 parts, 5 times: each pass is another permutation, of all leaves alike."""
    number = jnp.arange(12.0).reshape(4, 3)
    batch = {"number": number, "pair": jnp.stack([number, -number], axis=-1)}

    def step(count, batch):
        return count + 1, batch

    count, seen = jax.jit(lambda key: learning.minibatches(step, 0, batch, key, 5, 3))(jax.random.key(0))
    assert int(count) == 15
    assert seen["number"].shape == (15, 4) and seen["pair"].shape == (15, 4, 2)
    passes = np.asarray(seen["number"]).reshape(5, 12)
    np.testing.assert_array_equal(np.sort(passes, axis=1), [np.arange(12.0)] * 5)
    assert len(np.unique(passes, axis=0)) == 5 and not np.array_equal(passes[0], np.arange(12.0))
    np.testing.assert_array_equal(seen["pair"], np.stack([seen["number"], -seen["number"]], axis=-1))


def test_minibatches_follow_one_another():
    """What a step leaves behind is what the next one starts from, and terms come in the order of the steps."""
    batch = jnp.arange(6.0).reshape(2, 3)

    def step(total, batch):
        total = total + jnp.sum(batch)
        return total, total

    total, terms = jax.jit(lambda key: learning.minibatches(step, 100.0, batch, key, 2, 3))(jax.random.key(1))
    assert float(total) == 100 + 2 * 15 == float(terms[-1])
    assert np.all(np.diff(np.asarray(terms)) > 0) and float(terms[2]) == 115


@pytest.mark.parametrize("norm", [0.5, 100.0], ids=["clipped", "free"])
def test_descending_is_adam_on_clipped_gradients(norm):
    """Three steps of numbers that are traced against optax's own chain of clipping and Adam with fixed ones."""
    params = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.2])}
    ours, theirs = params, params
    chain = optax.chain(optax.clip_by_global_norm(norm), optax.adam(0.03, eps=1e-3))

    @jax.jit
    def descend(learning_rate, norm, epsilon, grads, params, opt_state):
        return learning.descend(learning.optimizer(norm, epsilon), learning_rate, grads, params, opt_state)

    opt_state, their_state = learning.optimizer(norm, 1e-3).init(params), chain.init(params)
    for i in range(3):
        grads = jax.tree.map(lambda x, i=i: jnp.sin(3 * x + i), params)
        assert 0.5 < optax.tree.norm(grads) < 100
        ours, opt_state = descend(0.03, norm, 1e-3, grads, ours, opt_state)
        updates, their_state = chain.update(grads, their_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize(("given", "nearest"), [(7, 6), (13, 12), (5, 4), (100, 24)], ids=str)
def test_unequal_minibatches_are_refused(given, nearest):
    """24 samples in so many parts: the message has the field, the product and the nearest number that divides it."""
    message = (
        rf"ToyConfig.num_minibatches = {given} does not divide num_envs \* num_steps = 4 \* 6 = 24\..* is {nearest}\."
    )
    with pytest.raises(ValueError, match=message):
        learning.check_minibatches("ToyConfig", 4, 6, given)
    learning.check_minibatches("ToyConfig", 4, 6, nearest)
