"""Updates that algorithms share: of a rollout, from a replay, from a dataset. Functions in, ``update`` out.

An algorithm gives the parts, each a function of ``(hypers, state, ...)``, and gets the ``update`` of its record:

    on-policy     collect -> batch -> epochs of minibatches -> finish           rollout_update     PPO, A2C, PQN
    off-policy    collect -> add to the replay -> gradient steps -> finish      replay_update      DQN, R2D2, AlphaZero
    offline       gradient steps -> finish                                      dataset_update     offline DQN
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from purerl.kernels.numerics import safe_divide
from purerl.sharding import shard
from purerl.types import Mean, Metrics, PyTree, Scalar


def gradient_step(
    loss: Callable,
    optimizer: optax.GradientTransformation,
    learning_rate: Scalar,
    params: PyTree,
    opt_state: optax.OptState,
    *args: Any,
) -> tuple[PyTree, optax.OptState, Any]:
    """One step of gradient descent: ``params - learning_rate * direction(grad loss)``.

    Args:
        loss: ``(params, *args) -> (loss [], aux)``.
        optimizer: turns gradients into directions, such as :func:`purerl.optimizers.adam`.
        learning_rate: >= 0.
        params: before the step.
        opt_state: before the step.
        args: of the loss.

    Returns:
        Parameters and the optimiser's state after the step, and ``aux`` of the loss before it.
    """
    grads, aux = jax.grad(loss, has_aux=True)(params, *args)
    return *descend(optimizer, learning_rate, params, opt_state, grads), aux


def descend(
    optimizer: optax.GradientTransformation,
    learning_rate: Scalar,
    params: PyTree,
    opt_state: optax.OptState,
    grads: PyTree,
) -> tuple[PyTree, optax.OptState]:
    """Parameters and the optimiser's state after a step: ``params - learning_rate * direction(grads)``.

    Args:
        optimizer: as of :func:`gradient_step`.
        learning_rate: >= 0.
        params: before the step.
        opt_state: before the step.
        grads: of the loss, such as those of :func:`mean_gradient`.
    """
    direction, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, optax.tree.scale(-learning_rate, direction)), opt_state


def mean_gradient(
    loss: Callable[[PyTree, PyTree], tuple[Mean, Metrics]], params: PyTree, batch: PyTree, num_micro_batches: int = 1
) -> tuple[PyTree, Metrics]:
    """Gradient of an average over a batch, in parts that fit into memory: ``sum_k grad total_k / sum_k number_k``.

    Numerator and denominator are added up apart and divided once, so that how the batch is split changes nothing but
    rounding: a token weighs the same whatever it lies next to.

    Args:
        loss: ``(params, part [B / num_micro_batches, ...]) -> (Mean, metrics)``, whose ``number`` does not depend on
            the parameters; metrics are :class:`~purerl.types.Mean`.
        params: where.
        batch: leaves ``[B, ...]``, of whose axis ``num_micro_batches`` is a divisor.
        num_micro_batches: static.

    Returns:
        The gradient, and the metrics over the whole batch.
    """

    def part(params: PyTree, batch: PyTree) -> tuple[jax.Array, tuple]:
        (total, number), metrics = loss(params, batch)
        return total, (number, metrics)

    def sums(batch: PyTree) -> tuple[PyTree, tuple]:
        return jax.grad(part, has_aux=True)(params, shard(batch))

    if num_micro_batches == 1:
        grads, (number, metrics) = sums(batch)
    else:
        parts = jax.tree.map(lambda x: x.reshape(num_micro_batches, -1, *x.shape[1:]), batch)
        nothing = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(sums, jax.tree.map(lambda x: x[0], parts))
        )

        def add(so_far: PyTree, part: PyTree) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, so_far, sums(part)), None

        (grads, (number, metrics)), _ = jax.lax.scan(add, nothing, parts)
    return jax.tree.map(lambda x: safe_divide(x, number.astype(x.dtype)), grads), metrics


def minibatch_epochs(
    step: Callable[[Any, PyTree], tuple[Any, PyTree]],
    carry: Any,
    batch: PyTree,
    key: jax.Array,
    num_epochs: int,
    num_minibatches: int,
) -> tuple[Any, PyTree]:
    """Pass over a rollout ``num_epochs`` times, each time in another order, in ``num_minibatches`` equal parts.

    Args:
        step: ``(carry, minibatch [M, ...]) -> (carry, terms)``, one gradient step; the minibatch is sharded over the
            devices of the axis ``envs``, see :func:`purerl.sharding.shard`.
        carry: what goes from step to step.
        batch: the rollout, leaves ``[T, B, ...]``; ``num_minibatches`` divides ``T B``.
        key: of the orders.
        num_epochs: static.
        num_minibatches: static.

    Returns:
        The carry after all steps, and their terms ``[num_epochs * num_minibatches, ...]``.
    """
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    batch_size = jax.tree.leaves(batch)[0].shape[0]
    orders = jax.vmap(lambda key: jax.random.permutation(key, batch_size))(jax.random.split(key, num_epochs))
    indices = orders.reshape(num_epochs * num_minibatches, -1)

    def step_on(carry: Any, chosen: jax.Array) -> tuple[Any, PyTree]:
        return step(carry, shard(jax.tree.map(lambda x: x[chosen], batch)))

    return jax.lax.scan(step_on, carry, indices)


def rollout_update(collect: Callable, learn: Callable, split_key: Callable = jax.random.split) -> Callable:
    """``update`` of an on-policy algorithm: collect a rollout, then learn from it and throw it away.

    Args:
        collect: ``(hypers, state, key) -> (state, transitions [T, B, ...], metrics)``.
        learn: ``(hypers, state, transitions, key) -> (state, metrics)``, such as epochs of minibatches.
        split_key: ``(key) -> (key of collect, key of learn)``.
    """

    def update(hypers: PyTree, state: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
        collect_key, learn_key = split_key(key)
        state, transitions, episode_metrics = collect(hypers, state, collect_key)
        state, metrics = learn(hypers, state, transitions, learn_key)
        return state, metrics | episode_metrics

    return update


def dataset_update(learn: Callable, finish: Callable, num_gradient_steps: int) -> Callable:
    """``update`` of an algorithm that learns from what is there: so many gradient steps, then ``finish``.

    Args:
        learn: ``(hypers, state, key) -> (state, metrics)``: draw a batch, take a gradient step.
        finish: ``(hypers, state) -> state``: target networks and counts.
        num_gradient_steps: static.
    """

    def update(hypers: PyTree, state: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(key, num_gradient_steps)
        state, metrics = jax.lax.scan(lambda state, key: learn(hypers, state, key), state, keys)
        return finish(hypers, state), jax.tree.map(jnp.mean, metrics)

    return update


def replay_update(
    collect: Callable, add: Callable, learn: Callable, finish: Callable, num_gradient_steps: int
) -> Callable:
    """``update`` of an off-policy algorithm: collect a rollout into the replay, then take gradient steps from it.

    Args:
        collect: ``(hypers, state, key) -> (state, items [T, B, ...], metrics)``.
        add: ``(replay, items) -> replay``; the state's replay is its field ``replay``.
        learn: as in :func:`dataset_update`.
        finish: as in :func:`dataset_update`.
        num_gradient_steps: static.
    """
    learn_from_replay = dataset_update(learn, finish, num_gradient_steps)

    def update(hypers: PyTree, state: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
        collect_key, learn_key = jax.random.split(key)
        state, items, episode_metrics = collect(hypers, state, collect_key)
        state, metrics = learn_from_replay(hypers, state.replace(replay=add(state.replay, items)), learn_key)
        return state, metrics | episode_metrics

    return update
