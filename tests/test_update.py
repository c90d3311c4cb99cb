"""Shared updates: what follows what, which keys, every sample once an epoch, and a gradient step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from purerl.update import dataset_update, gradient_step, minibatch_epochs, replay_update, rollout_update

KEY = jax.random.key(0)


class State(struct.PyTreeNode):
    """A counter, and a list of the random numbers that were drawn."""

    count: jax.Array
    replay: jax.Array


START = State(jnp.int32(0), jnp.zeros(3))


def draw(key):
    return jax.random.uniform(key)


def test_minibatches_hold_every_sample_once_an_epoch():
    """12 numbered samples in 3 parts, 5 times: each pass is another permutation, of all leaves alike."""
    number = jnp.arange(12.0).reshape(4, 3)
    batch = {"number": number, "pair": jnp.stack([number, -number], axis=-1)}

    def step(count, batch):
        return count + 1, batch

    count, seen = jax.jit(lambda key: minibatch_epochs(step, 0, batch, key, 5, 3))(KEY)
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

    total, terms = jax.jit(lambda key: minibatch_epochs(step, 100.0, batch, key, 2, 3))(jax.random.key(1))
    assert float(total) == 100 + 2 * 15 == float(terms[-1])
    assert np.all(np.diff(np.asarray(terms)) > 0) and float(terms[2]) == 115


def test_gradient_step_descends_and_returns_what_the_loss_says_besides():
    """A parabola by plain descent: ``x - rate * (x - target)``, the loss's second result from before the step."""

    def loss(x, target, weight):
        return weight * (x - target) ** 2 / 2, {"x": x}

    params, _, aux = gradient_step(loss, optax.identity(), 0.1, 5.0, optax.EmptyState(), 1.0, 2.0)
    assert float(params) == np.float32(5.0 - 0.1 * 2 * 4)
    assert float(aux["x"]) == 5.0


def test_rollout_update_collects_and_then_learns():
    """Each with its own key, of the split that was asked for; learning sees the state after the rollout."""

    def collect(hypers, state, key):
        return state.replace(count=state.count + hypers), draw(key), {"collected": state.count}

    def learn(hypers, state, transitions, key):
        return state.replace(replay=jnp.stack([transitions, draw(key), 0.0])), {"seen": state.count}

    keys = jax.random.split(KEY, 3)
    for split, expected in ((jax.random.split, jax.random.split(KEY)), (lambda _: (keys[1], keys[2]), keys[1:])):
        state, metrics = rollout_update(collect, learn, split)(7, START, KEY)
        np.testing.assert_array_equal(state.replay[:2], [draw(expected[0]), draw(expected[1])])
        assert metrics == {"collected": 0, "seen": 7} and int(state.count) == 7


def learn_once(hypers, state, key):
    """Shifts the numbers, adds one, and shows the number and the first one so far."""
    replay = jnp.roll(state.replay, 1).at[0].set(draw(key))
    return state.replace(count=state.count + 1, replay=replay), {"drawn": draw(key), "newest": state.replay[0]}


def finish(hypers, state):
    return state.replace(count=state.count * hypers)


def test_dataset_update_takes_gradient_steps_and_then_finishes():
    """Three steps, each with its own key, from one another; metrics are means over them."""
    state, metrics = dataset_update(learn_once, finish, 3)(10, START, KEY)
    drawn = [draw(key) for key in jax.random.split(KEY, 3)]
    assert int(state.count) == 30
    np.testing.assert_allclose(state.replay, drawn[::-1])
    np.testing.assert_allclose(metrics["drawn"], np.mean(drawn), rtol=1e-6)
    np.testing.assert_allclose(metrics["newest"], np.sum(drawn[:2]) / 3, rtol=1e-6)


def test_replay_update_collects_adds_learns_and_finishes():
    """The first gradient step already sees what the rollout added; its metrics are there besides."""

    def collect(hypers, state, key):
        return state.replace(count=state.count + 1), draw(key), {"episode_return": state.count}

    def add(replay, item):
        return replay.at[0].set(item)

    state, metrics = replay_update(collect, add, learn_once, finish, 2)(10, START, KEY)
    collect_key, learn_key = jax.random.split(KEY)
    drawn = [draw(key) for key in jax.random.split(learn_key, 2)]
    np.testing.assert_allclose(state.replay, [*drawn[::-1], draw(collect_key)])
    assert int(state.count) == 30 and metrics["episode_return"] == 0
    np.testing.assert_allclose(metrics["newest"], (draw(collect_key) + drawn[0]) / 2, rtol=1e-6)
