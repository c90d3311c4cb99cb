"""Deterministic actors: DDPG (Lillicrap et al. 2016, arXiv 1509.02971) and TD3 (Fujimoto et al. 2018, arXiv
1802.09477).

One update: play ``num_steps`` steps in ``num_envs`` environments, add them to the replay, then take
``num_gradient_steps`` steps of the critics, every ``policy_delay`` of which the actor takes one and all targets move:

    critics   minimise  E[ (Q_i(s, a) - r - gamma min_j Q'_j(s', clip(mu'(s') + clip(noise, -c, c), -1, 1)))^2 ]
    actor     maximise  E[ Q_1(s, mu(s)) ]

DDPG has one critic, no noise on the target's action and no delay. Actions are learnt as numbers in [-1, 1] on each axis
(:func:`purerl.envs.wrappers.scale_to_box`), whatever the bounds of the box: all noise is in these units.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import off_policy, optimizers, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.continuous.critics import (
    Critics,
    critic_loss,
    for_actor,
    learn_in_turns,
    make_critics,
    of_action,
    reduced,
)
from purerl.algorithms.continuous.experience import draw, make_replay, quiet, warm_up
from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from purerl.config_checks import config_or_default
from purerl.data.replay import ReplayState
from purerl.data.transitions import NStepTransition
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable
from purerl.envs.wrappers import scale_actions, scale_to_box
from purerl.kernels import distributional, exploration
from purerl.nets.actions import Actor
from purerl.recipes import recorded
from purerl.spaces import Box
from purerl.target_network import polyak
from purerl.types import Metrics, PyTree, Seen, Transition
from purerl.update import gradient_step, replay_update


class TD3State(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    actor_params: PyTree
    critic_params: PyTree  # [E, ...]
    target_actor_params: PyTree
    target_critic_params: PyTree  # [E, ...]
    actor_opt_state: optax.OptState
    critic_opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...], whose carry is the noise [B, A]
    replay: ReplayState
    num_env_steps: jax.Array  # [] int


class Actions(NamedTuple):
    """A deterministic policy as pure functions.

    Attributes:
        init: ``(key, obs [M, ...]) -> params``.
        best: ``(params, obs) -> action [M, A]`` in [-1, 1].
    """

    init: Callable
    best: Callable


@recorded
def td3(env: Environment, config: TD3Config | None = None) -> Algorithm:
    """TD3, or DDPG, for continuous actions. ``init`` fills the replay by uniform actions.

    Args:
        env: observations an array; actions a :class:`~purerl.spaces.Box` of one axis. An axis without two bounds has
            actions from -1 to 1.
        config: sizes and choices.

    Raises:
        ValueError: if the environment's spaces are not among those.
    """
    config = config_or_default(config, TD3Config)
    check_learnable(env, "TD3", actions=(Box,))
    assert isinstance(env.action_space, Box)
    space = env.action_space
    scaled_env, critics, actor = scale_actions(env), make_critics(env, config), make_actor(env, config)
    replay = make_replay(config)

    def init(hypers: TD3Hypers, key: jax.Array) -> TD3State:
        actor_key, critic_key, env_key, warmup_key = jax.random.split(key, 4)
        envs = rollout.reset(env, env_key, config.num_envs, quiet(env))
        envs, played, _ = warm_up(scaled_env, config, envs, warmup_key)
        first = jax.tree.map(lambda x: x[0], played)
        actor_params = actor.init(actor_key, first.obs)
        critic_params = critics.init(critic_key, first.obs, first.action)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        return TD3State(
            actor_params=actor_params,
            critic_params=critic_params,
            target_actor_params=jax.tree.map(jnp.copy, actor_params),
            target_critic_params=jax.tree.map(jnp.copy, critic_params),
            actor_opt_state=optimizer.init(actor_params),
            critic_opt_state=optimizer.init(critic_params),
            envs=envs,
            replay=off_policy.fill(replay, played),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def act(
        hypers: TD3Hypers, state: TD3State, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        """With ``sample`` the noise of a step is drawn apart from that of the one before."""
        action = actor.best(state.actor_params, seen.obs)
        noise = hypers.noise_std * jax.random.normal(key, action.shape, action.dtype) if sample else 0.0
        return carry, scale_to_box(action + noise, space)

    update = replay_update(
        functools.partial(collect, scaled_env, actor, config),
        replay.add,
        learn_in_turns(
            config.policy_delay,
            functools.partial(draw, config, replay),
            functools.partial(critic_step, config, actor, critics),
            functools.partial(actor_step, config, actor, critics),
        ),
        lambda hypers, state: off_policy.count_steps(config, state),
        config.num_gradient_steps // config.policy_delay,
    )
    spec = Spec(
        "td3",
        config.num_envs * config.num_steps,
        rollout.evaluation(env, no_carry, act),
        settings={"env": env.name, **dataclasses.asdict(config)},
        hypers_class=TD3Hypers,
        env_steps_of_init=config.num_warmup_steps,
    )
    return Algorithm(init, update, no_carry, act, spec)


def make_actor(env: Environment, config: TD3Config) -> Actions:
    """The policy that a config means: ``tanh`` of a network's outputs."""
    (num_axes,) = env.action_space.shape
    net = Actor(env.observation_space, num_axes, config.torso, config.hidden_sizes, config.activation)
    return Actions(net.init, lambda params, obs: jnp.tanh(net.apply(params, obs)))


def collect(
    env: Environment, actor: Actions, config: TD3Config, hypers: TD3Hypers, state: TD3State, key: jax.Array
) -> tuple[TD3State, Transition, Metrics]:
    """Play the policy with noise on top, white or such as lasts longer than a step."""
    noise_key, env_key = jax.random.split(key)
    normal = jax.random.normal(noise_key, (config.num_steps, config.num_envs, *env.action_space.shape), jnp.float32)

    def choose(noise: jax.Array, obs: jax.Array, normal: jax.Array) -> tuple[jax.Array, jax.Array, tuple]:
        noise = exploration.coloured_noise(noise, normal, hypers.noise_theta, hypers.noise_std)
        return noise, jnp.clip(actor.best(state.actor_params, obs) + noise, -1.0, 1.0), ()

    envs, played, metrics = off_policy.play(env, choose, state.envs, normal, env_key, config.num_steps, quiet(env))
    return state.replace(envs=envs), played, metrics


def smoothed(hypers: TD3Hypers, action: jax.Array, normal: jax.Array) -> jax.Array:
    """Target policy smoothing: ``clip(a + clip(std z, -c, c), -1, 1)``.

    Source: Fujimoto et al. 2018, (14) and algorithm 1.
    """
    noise = jnp.clip(hypers.smoothing_std * normal, -hypers.smoothing_clip, hypers.smoothing_clip)
    return jnp.clip(action + noise, -1.0, 1.0)


def bellman_target(
    config: TD3Config,
    actor: Actions,
    critics: Critics,
    hypers: TD3Hypers,
    target_actor_params: PyTree,
    target_critic_params: PyTree,
    batch: NStepTransition,
    key: jax.Array,
) -> jax.Array:
    """Target of the critics, ``r + d min_i Q'_i(s', a')``, or what the config says of the ensemble, ``[M, N']``."""
    noise_key, dropout_key = jax.random.split(key)
    best = actor.best(target_actor_params, batch.next_obs)
    action = smoothed(hypers, best, jax.random.normal(noise_key, best.shape, best.dtype))
    value = critics.values(target_critic_params, batch.next_obs, action, dropout_key)
    return distributional.backup(batch.reward, batch.discount, reduced(config, value)[:, 0])


def actor_loss(
    config: TD3Config,
    actor: Actions,
    critics: Critics,
    params: PyTree,
    critic_params: PyTree,
    obs: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, tuple]:
    """``-E[Q(s, mu(s))]``, whose gradient is the deterministic policy gradient.

    Source: Silver et al. 2014, theorem 1; Lillicrap et al. 2016, (6).
    """
    value = critics.values(critic_params, obs, actor.best(params, obs), key)
    return -jnp.mean(for_actor(config, value)), ()


def critic_step(
    config: TD3Config,
    actor: Actions,
    critics: Critics,
    hypers: TD3Hypers,
    state: TD3State,
    batch: NStepTransition,
    key: jax.Array,
) -> tuple[TD3State, Metrics]:
    """One gradient step of all critics."""
    next_key, now_key = jax.random.split(key)
    target = bellman_target(
        config, actor, critics, hypers, state.target_actor_params, state.target_critic_params, batch, next_key
    )

    def loss(params: PyTree) -> tuple[jax.Array, Metrics]:
        predicted = of_action(critics.values(params, batch.obs, batch.action, now_key), batch.action)
        return critic_loss(config, hypers.huber_kappa, predicted, target)

    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    params, opt_state, metrics = gradient_step(
        loss, optimizer, hypers.learning_rate, state.critic_params, state.critic_opt_state
    )
    return state.replace(critic_params=params, critic_opt_state=opt_state), metrics


def actor_step(
    config: TD3Config,
    actor: Actions,
    critics: Critics,
    hypers: TD3Hypers,
    state: TD3State,
    batch: NStepTransition,
    key: jax.Array,
) -> tuple[TD3State, Metrics]:
    """One gradient step of the actor, after which all targets move a little."""
    params, opt_state, _ = gradient_step(
        functools.partial(actor_loss, config, actor, critics),
        optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon),
        hypers.actor_learning_rate,
        state.actor_params,
        state.actor_opt_state,
        state.critic_params,
        batch.obs,
        key,
    )
    target_actor_params = polyak(state.target_actor_params, params, hypers.tau)
    target_critic_params = polyak(state.target_critic_params, state.critic_params, hypers.tau)
    return state.replace(
        actor_params=params,
        actor_opt_state=opt_state,
        target_actor_params=target_actor_params,
        target_critic_params=target_critic_params,
    ), {}
