"""Ensembles of critics: what their choices are of each other, whose gradient goes where, and the order of steps."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from purerl.algorithms.continuous import critics as parts
from purerl.algorithms.continuous.sac_config import SACConfig
from purerl.envs import make

KEY = jax.random.key(0)
VALUE = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 1, 5)), jnp.float32)  # [E, M, K, N]


@pytest.mark.covers("sac", "td3")
def test_choices_of_the_ensemble():
    """Quantiles without a drop have the mean of the means; subsets of one are the mean, and of all the least; the actor
    has the first, the least or the mean of the critics' means."""
    means = VALUE.mean(axis=-1, keepdims=True)

    def reduced(value: jax.Array, **choices: Any) -> np.ndarray:
        config = SimpleNamespace(**{"law": "mean", "reduce": "mean", "subset": 1, "num_dropped": 0} | choices)
        return np.asarray(parts.reduced(config, value))

    pooled = reduced(VALUE, law="quantile")
    assert pooled.shape == (4, 1, 15)
    np.testing.assert_allclose(pooled.mean(axis=-1, keepdims=True), reduced(means), atol=1e-6)
    assert np.all(reduced(VALUE, law="quantile", num_dropped=2).mean(axis=-1) < pooled.mean(axis=-1))
    np.testing.assert_allclose(reduced(means, reduce="expected_min"), reduced(means), atol=1e-6)
    least = reduced(means, reduce="expected_min", subset=3)
    np.testing.assert_allclose(least, reduced(means, reduce="min"), atol=1e-6)
    np.testing.assert_allclose(least[..., 0], np.asarray(means)[..., 0].min(axis=0), atol=1e-6)
    flat = np.asarray(means)[..., 0]
    for choice, expected in (("first", flat[0]), ("min", flat.min(axis=0)), ("mean", flat.mean(axis=0))):
        np.testing.assert_allclose(parts.for_actor(SimpleNamespace(actor_reduce=choice), VALUE), expected, atol=1e-6)


@pytest.mark.covers("sac", "td3")
def test_losses_of_each_law():
    """By hand, summed over critics; each critic learns from the target whatever the others say, the target has no
    gradient, and rows do not mix: another order of both is the same loss, of the target alone it is not."""
    predicted, target = VALUE[:, :, 0, :1], VALUE[0, :, 0, 1:2]
    loss, _ = parts.critic_loss(SimpleNamespace(law="mean"), 1.0, predicted, target)
    expected = 0.5 * np.square(np.asarray(predicted - target)).mean(axis=1).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    config = SimpleNamespace(law="quantile", num_quantiles=5)
    atoms = VALUE[:2, :, 0].transpose(1, 0, 2).reshape(4, 10)
    loss, _ = parts.critic_loss(config, 0.0, VALUE[:, :, 0], atoms)
    error = np.asarray(atoms)[None, :, None, :] - np.asarray(VALUE[:, :, 0])[..., None]
    level = (np.arange(5) + 0.5)[:, None] / 5
    expected = (np.abs(level - (error < 0)) * np.abs(error)).mean(axis=-1).sum(axis=-1).mean(axis=1).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    grad = jax.grad(lambda p, t: parts.critic_loss(config, 0.5, p, t)[0], (0, 1))(VALUE[:, :, 0], atoms)
    assert np.all(np.any(grad[0] != 0, axis=(1, 2))) and np.all(grad[1] == 0)
    order = np.array([2, 0, 3, 1])
    same, _ = parts.critic_loss(config, 0.5, VALUE[:, order, 0], atoms[order])
    np.testing.assert_allclose(same, parts.critic_loss(config, 0.5, VALUE[:, :, 0], atoms)[0], rtol=1e-6)
    assert abs(same - parts.critic_loss(config, 0.5, VALUE[:, :, 0], atoms[order])[0]) > 1e-3


def test_values_of_the_action_that_was_taken():
    """The only one of a box; of several, that of its number."""
    several = jnp.swapaxes(VALUE, 2, 3)
    np.testing.assert_array_equal(parts.of_action(VALUE, jnp.zeros((4, 2))), VALUE[:, :, 0])
    taken = parts.of_action(several, jnp.int32([3, 0, 4, 1]))
    np.testing.assert_array_equal(taken[:, :, 0], several[:, jnp.arange(4), jnp.int32([3, 0, 4, 1]), 0])


def test_critics_begin_differently_and_drop_differently():
    """Each of the ensemble from a key of its own, and with units of its own left out."""
    config = SACConfig(num_critics=3, hidden_sizes=(8,), dropout=0.5)
    critics = parts.make_critics(make("Pendulum-v1"), config)
    obs, action = jnp.ones((2, 3)), jnp.ones((2, 1))
    params = critics.init(KEY, obs, action)
    kernel = params["params"]["MLP_1"]["DroppedDense_0"]["Dense_0"]["kernel"]
    assert all(np.abs(kernel[i] - kernel[j]).max() > 0.1 for i, j in ((0, 1), (0, 2), (1, 2)))
    alike = jax.tree.map(lambda x: jnp.stack([x[0]] * 3), params)
    value = critics.values(alike, obs, action, KEY)
    assert value.shape == (3, 2, 1, 1) and len(np.unique(np.asarray(value)[:, 0])) > 1


class Log(struct.PyTreeNode):
    """How often each step was taken, and the batch that it had."""

    critics: jax.Array
    actors: jax.Array
    seen: jax.Array


@pytest.mark.covers("td3")
@pytest.mark.parametrize("delay", [1, 3])
def test_the_actor_has_one_step_for_so_many_of_the_critics(delay):
    """Batches differ from step to step, and the actor's is the last of them; metrics are means."""

    def critic(hypers: Any, state: Log, batch: jax.Array, key: jax.Array) -> tuple[Log, dict[str, jax.Array]]:
        state = state.replace(critics=state.critics + 1, seen=state.seen.at[state.critics].set(batch[0]))
        return state, {"number": state.critics.astype(jnp.float32)}

    def actor(hypers: Any, state: Log, batch: jax.Array, key: jax.Array) -> tuple[Log, dict[str, jax.Array]]:
        return state.replace(actors=state.actors + 1), {"last": batch[0]}

    learn = parts.learn_in_turns(delay, lambda hypers, state, key: jax.random.uniform(key, (1,)), critic, actor)
    state, metrics = jax.jit(learn)((), Log(jnp.int32(0), jnp.int32(0), jnp.zeros(delay)), KEY)
    assert (int(state.critics), int(state.actors)) == (delay, 1)
    assert len(np.unique(np.asarray(state.seen))) == delay and metrics["last"] == state.seen[-1]
    assert metrics["number"] == (delay + 1) / 2
