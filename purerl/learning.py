"""What algorithms that learn by gradients share: minibatches, a step of the optimiser, target networks, checks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from purerl import rollout
from purerl.types import PyTree


def optimizer(max_grad_norm: jax.Array | float, adam_epsilon: jax.Array | float) -> optax.GradientTransformation:
    """Adam on clipped gradients, before the learning rate: built from traced numbers, so no value recompiles.

    Args:
        max_grad_norm: gradients longer than this (global norm) are scaled down to it, > 0.
        adam_epsilon: of Adam's denominator, > 0.

    Source: Kingma & Ba 2015.
    """
    return optax.flatten(optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=adam_epsilon)))


def descend(
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    grads: PyTree,
    params: PyTree,
    opt_state: optax.OptState,
) -> tuple[PyTree, optax.OptState]:
    """``params - learning_rate * direction``, and the optimiser's state afterwards."""
    direction, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, optax.tree.scale(-learning_rate, direction)), opt_state


def minibatches(
    step: Callable[[Any, PyTree], tuple[Any, PyTree]],
    carry: Any,
    batch: PyTree,
    key: jax.Array,
    num_epochs: int,
    num_minibatches: int,
) -> tuple[Any, PyTree]:
    """Pass over a rollout ``num_epochs`` times, each time in another order, in ``num_minibatches`` equal parts.

    Args:
        step: ``(carry, minibatch [M, ...]) -> (carry, terms)``, one gradient step; the minibatch is spread over the
            devices of the axis ``envs``, as :func:`purerl.rollout.split` has it.
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
        return step(carry, rollout.split(jax.tree.map(lambda x: x[chosen], batch)))

    return jax.lax.scan(step_on, carry, indices)


def moved_target(
    target_params: PyTree,
    params: PyTree,
    rule: str,
    *,
    before: jax.Array,
    now: jax.Array,
    every: jax.Array | float,
    share: jax.Array | float,
) -> PyTree:
    """The target network after an update.

    ``"hard"``: ``theta' = theta`` when the count of steps crosses a multiple of ``every``, else as it was.

    ``"polyak"``: ``theta' <- theta' + share (theta - theta')``.

    Args:
        target_params: theta', before the update.
        params: theta, after it.
        rule: ``"hard"`` or ``"polyak"``, static.
        before: environment steps before the update, ``[]``.
        now: environment steps after it, ``[]``.
        every: environment steps between copies, > 0.
        share: in [0, 1].

    Source: Mnih et al. 2015; Lillicrap et al. 2016, section 3.
    """
    if rule == "polyak":
        return optax.incremental_update(params, target_params, share)
    # The counter crosses a multiple, whatever an update adds to it. Chosen leaf by leaf: a branch would be both of
    # them under vmap, and copying parameters is nothing beside a gradient step.
    crosses = now // every > before // every
    return jax.tree.map(lambda new, old: jnp.where(crosses, new, old), params, target_params)


def check_positive(config: Any, *names: str) -> None:
    """These fields are at least 1.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{type(config).__name__}.{name} = {getattr(config, name)}: it must be at least 1.")


def check_choices(config: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Each of these fields is one of its choices.

    Raises:
        ValueError: naming the first that is not, and what it could be.
    """
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(
                f"{type(config).__name__}.{name} = {getattr(config, name)!r}: choose one of {', '.join(known)}."
            )


def check_multiples(config: Any, of: str, divisor: int, *names: str) -> None:
    """These fields are positive multiples of a number, which is called ``of``.

    Raises:
        ValueError: naming the first that is not, and the next number that would be.
    """
    for name in names:
        number, rest = getattr(config, name), getattr(config, name) % divisor
        if number < 1 or rest:
            raise ValueError(
                f"{type(config).__name__}.{name} = {number} is not a positive multiple of {of} = {divisor}. The next "
                f"that is: {number - rest + divisor if number >= 0 else divisor}."
            )


def check_minibatches(config: str, num_envs: int, num_steps: int, num_minibatches: int) -> None:
    """Minibatches are equal.

    Raises:
        ValueError: if they are not, with the nearest number for which they would be.
    """
    batch_size = num_envs * num_steps
    if batch_size % num_minibatches:
        divisors = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - num_minibatches))
        raise ValueError(
            f"{config}.num_minibatches = {num_minibatches} does not divide num_envs * num_steps = "
            f"{num_envs} * {num_steps} = {batch_size}. The nearest number that does is {nearest}."
        )
