"""Ensembles of critics: their networks, targets, losses and the order of their steps, for SAC and TD3.

    critic   minimise  E[ sum_i loss(Q_i(s, a), r + gamma^k (V'(s_k))) ]
    actor    maximise  E[ Q(s, pi(s)) ]

The config says how many critics there are, what a value is (``law``: a mean, or N quantiles of the return), and how the
targets of the ensemble become one (``reduce``). All values here are ``[E, M, K, N]``.

Axis letters of this file: E critics, M minibatch, K actions that are weighed against each other (one that was drawn, or
all of a few), N numbers of a value.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from purerl.envs.base import Environment
from purerl.kernels import distributional, ensembles, targets
from purerl.nets.actions import ActionCritic
from purerl.nets.value import make_q_network
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree, Scalar

Law = Literal["mean", "quantile"]
"""What a critic says of a return: its mean, or quantiles of its distribution."""
Reduce = Literal["min", "mean", "expected_min"]
"""How the values of an ensemble become one target: the least, the mean, or the mean over all subsets of their least."""
ActorReduce = Literal["first", "min", "mean"]
"""What of the ensemble's values the actor climbs."""


class Critics(NamedTuple):
    """An ensemble of critics as pure functions.

    Attributes:
        init: ``(key, obs [M, ...], action [M, ...]) -> params [E, ...]``, each critic from a key of its own.
        values: ``(params, obs, action, key) -> [E, M, K, N]``; of the action ``[M, A]``, K = 1; without one, where they
            are discrete, of all. The key is of the dropout, for each critic another.
    """

    init: Callable
    values: Callable


def check_critics(config: Any) -> None:
    """The choices of the ensemble fit each other.

    Raises:
        ValueError: naming the field, and the remedy.
    """
    name = type(config).__name__
    if config.reduce == "expected_min" and config.subset > config.num_critics:
        raise ValueError(f"{name}.subset = {config.subset} must be at most num_critics = {config.num_critics}.")
    if config.law == "quantile" and config.reduce != "mean":
        raise ValueError(
            f'{name}.law = "quantile" needs reduce = "mean", but it is {config.reduce!r}: what makes targets low is '
            "num_dropped there."
        )
    if config.num_dropped >= config.num_quantiles:
        raise ValueError(
            f"{name}.num_dropped = {config.num_dropped} must be less than num_quantiles = {config.num_quantiles}."
        )
    if config.num_gradient_steps % config.policy_delay:
        raise ValueError(
            f"{name}.num_gradient_steps = {config.num_gradient_steps} is not a multiple of policy_delay = "
            f"{config.policy_delay}: the steps of an update end with one of the actor."
        )


def make_critics(env: Environment, config: Any) -> Critics:
    """The ensemble that a config means, for the spaces of an environment."""
    num_atoms = config.num_quantiles if config.law == "quantile" else 1
    shared = {
        "torso": config.torso,
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "layer_norm": config.layer_norm,
        "num_atoms": num_atoms,
    }
    if isinstance(env.action_space, Discrete):
        return of_network(make_q_network(env.observation_space, env.action_space.n, **shared), config.num_critics)
    net = ActionCritic(env.observation_space, dropout=config.dropout, **shared)
    return of_network(net, config.num_critics)


def of_network(net: nn.Module, num_critics: int) -> Critics:
    """Critics of one architecture, side by side: ``(obs, action) -> [M, N]``, or ``(obs) -> [M, A, N]``."""

    def init(key: jax.Array, *inputs: jax.Array) -> PyTree:
        return jax.vmap(lambda key: net.init(key, *inputs))(jax.random.split(key, num_critics))

    def values(params: PyTree, obs: jax.Array, action: jax.Array | None, key: jax.Array) -> jax.Array:
        def one(params: PyTree, key: jax.Array) -> jax.Array:
            if action is None:
                return net.apply(params, obs)
            return net.apply(params, obs, action, rngs={"dropout": key})[:, None]

        return jax.vmap(one)(params, jax.random.split(key, num_critics))

    return Critics(init, values)


def of_action(value: jax.Array, action: jax.Array) -> jax.Array:
    """Values of the action that was taken: ``[E, M, K, N] -> [E, M, N]``; the only one, or that of its number."""
    if jnp.issubdtype(action.dtype, jnp.integer):
        return jax.vmap(targets.select_action_value, (0, None))(value, action)
    return value[:, :, 0]


def reduced(config: Any, value: jax.Array) -> jax.Array:
    """What a target takes of the ensemble: ``[E, M, K, N] -> [M, K, N']``; quantiles are pooled, the highest dropped.

    Source: Fujimoto et al. 2018 (the least), Chen et al. 2021b (subsets), Kuznetsov et al. 2020 (quantiles).
    """
    if config.law == "quantile":
        return ensembles.truncated_pool(value, config.num_dropped)
    if config.reduce == "expected_min":
        return ensembles.expected_min(value, config.subset)
    return jnp.min(value, axis=0) if config.reduce == "min" else jnp.mean(value, axis=0)


def for_actor(config: Any, value: jax.Array) -> jax.Array:
    """What the actor climbs: means of the first critic, the least mean, or the mean of all, ``[M, K]``."""
    mean = distributional.q_values(value)  # [E, M, K]
    if config.actor_reduce == "first":
        return mean[0]
    return jnp.min(mean, axis=0) if config.actor_reduce == "min" else jnp.mean(mean, axis=0)


def critic_loss(config: Any, huber_kappa: Scalar, predicted: jax.Array, target: jax.Array) -> tuple[Any, Metrics]:
    """Loss of all critics against one target: half the squared error, or the quantile Huber loss; summed over E.

    Args:
        config: sizes and choices.
        huber_kappa: half-width of the quantile loss's rounding.
        predicted: ``[E, M, N]``.
        target: ``[M, N']``, which has no gradient.

    Returns:
        The loss ``[]`` and metrics.
    """
    target = jax.lax.stop_gradient(target)
    if config.law == "quantile":
        level, together = distributional.midpoints(config.num_quantiles), (len(predicted), *target.shape)
        each = distributional.quantile_huber_loss(predicted, level, jnp.broadcast_to(target, together), huber_kappa)
    else:
        chex.assert_equal_shape((predicted[0], target))
        each = optax.l2_loss(predicted - target)[..., 0]
    loss = jnp.sum(jnp.mean(each, axis=-1))
    return loss, {"critic_loss": loss, "q_value": jnp.mean(predicted)}


def learn_in_turns(
    policy_delay: int, draw: Callable, critic_step: Callable, actor_step: Callable
) -> Callable[[PyTree, PyTree, jax.Array], tuple[PyTree, Metrics]]:
    """``learn`` of :func:`purerl.update.replay_update`: ``policy_delay`` steps of the critics, and one of the actor.

    Each step of the critics has a batch of its own; the actor's has the last of them.

    Args:
        policy_delay: static.
        draw: ``(hypers, state, key) -> batch [M, ...]``.
        critic_step: ``(hypers, state, batch, key) -> (state, metrics)``.
        actor_step: likewise.
    """

    def learn(hypers: PyTree, state: PyTree, key: jax.Array) -> tuple[PyTree, Metrics]:
        def step(state: PyTree, key: jax.Array) -> tuple[PyTree, tuple]:
            draw_key, step_key = jax.random.split(key)
            batch = draw(hypers, state, draw_key)
            state, metrics = critic_step(hypers, state, batch, step_key)
            return state, (metrics, batch)

        critic_key, actor_key = jax.random.split(key)
        state, (metrics, batches) = jax.lax.scan(step, state, jax.random.split(critic_key, policy_delay))
        state, of_actor = actor_step(hypers, state, jax.tree.map(lambda x: x[-1], batches), actor_key)
        return state, jax.tree.map(jnp.mean, metrics) | of_actor

    return learn
