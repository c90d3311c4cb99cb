"""Soft actor-critic and its descendants (Haarnoja et al. 2018, arXiv 1801.01290 and 1812.05905).

One update: play ``num_steps`` steps in ``num_envs`` environments, add them to the replay, then take
``num_gradient_steps`` steps of the critics, every ``policy_delay`` of which the actor and the temperature take one:

    critics      minimise  E[ (Q_i(s, a) - r - gamma (Q'(s', a') - alpha log pi(a'|s')))^2 ],  a' ~ pi(s')
    actor        minimise  E[ alpha log pi(a|s) - Q(s, a) ],  a ~ pi(s)
    temperature  minimise  -alpha E[ log pi(a|s) + H ],  H the target entropy

where Q' is what the ensemble of target critics agrees on (``reduce``). TQC, REDQ and DroQ are choices of the config. Of
discrete actions the expectations over a and a' are sums, and nothing is drawn.

Actions of a box are learnt as numbers in [-1, 1] on each axis (:func:`purerl.envs.wrappers.scale_to_box`), whatever its
bounds: entropies, the temperature and the noise are in these units, so that a wider box changes nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.config_checks import config_or_default
from purerl.data.replay import ReplayState
from purerl.data.transitions import NStepTransition
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable
from purerl.envs.wrappers import scale_actions, scale_to_box
from purerl.kernels import distributional, exploration
from purerl.kernels.distributions import Gaussian, categorical, tanh_gaussian, tanh_gaussian_sample_and_log_prob
from purerl.nets.actions import Actor
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete
from purerl.target_network import polyak
from purerl.types import Metrics, PyTree, Scalar, Seen, Transition
from purerl.update import gradient_step, replay_update


class SACState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    actor_params: PyTree
    critic_params: PyTree  # [E, ...]
    target_params: PyTree  # [E, ...] of the critics
    log_temperature: jax.Array  # [] of what is learnt; not looked at where the temperature is fixed
    actor_opt_state: optax.OptState
    critic_opt_state: optax.OptState
    temperature_opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...], whose carry is the noise [B, A] of continuous actions
    replay: ReplayState
    num_env_steps: jax.Array  # [] int


class Options(NamedTuple):
    """What a policy may do next: K actions and their probabilities, or one that was drawn, which stands for all."""

    action: jax.Array | None  # [M, A], the one that was drawn; None: all, in the order of their numbers
    probability: jax.Array  # [M, K], 1 of the one that was drawn
    log_prob: jax.Array  # [M, K], log-density in units of [-1, 1] of the one that was drawn


class Policy(NamedTuple):
    """A stochastic policy as pure functions.

    Attributes:
        init: ``(key, obs [M, ...]) -> params``.
        noise: ``(key, shape) -> noise [*shape, ...]``, of what is drawn.
        sample: ``(params, obs, noise) -> action [M, ...]``.
        options: ``(params, obs, noise) -> Options``, differentiable in all of them.
        mode: ``(params, obs) -> action [M, ...]``.
    """

    init: Callable
    noise: Callable
    sample: Callable
    options: Callable
    mode: Callable


@recorded
def sac(env: Environment, config: SACConfig | None = None) -> Algorithm:
    """SAC for continuous or discrete actions. ``init`` fills the replay by uniform actions.

    Args:
        env: observations an array; actions a :class:`~purerl.spaces.Box` of one axis, or
            :class:`~purerl.spaces.Discrete`. An axis without two bounds has actions from -1 to 1.
        config: sizes and choices.

    Raises:
        ValueError: if the environment's spaces are not among those, or a choice is for continuous actions alone.
    """
    config = config_or_default(config, SACConfig)
    check_learnable(env, "SAC", actions=(Discrete, Box))
    if isinstance(env.action_space, Discrete) and (config.law != "mean" or config.dropout):
        raise ValueError(f'{env.name} has discrete actions, which SAC learns with law = "mean" and dropout = 0 alone.')
    scaled_env, critics, policy = scale_actions(env), make_critics(env, config), make_policy(env, config)
    replay = make_replay(config)

    def init(hypers: SACHypers, key: jax.Array) -> SACState:
        actor_key, critic_key, env_key, warmup_key = jax.random.split(key, 4)
        envs = rollout.reset(env, env_key, config.num_envs, quiet(env))
        envs, played, _ = warm_up(scaled_env, config, envs, warmup_key)
        first = jax.tree.map(lambda x: x[0], played)
        actor_params = policy.init(actor_key, first.obs)
        inputs = [first.obs] if isinstance(env.action_space, Discrete) else [first.obs, first.action]
        critic_params = critics.init(critic_key, *inputs)
        log_temperature = jnp.log(jnp.asarray(hypers.initial_temperature, jnp.float32))
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        return SACState(
            actor_params=actor_params,
            critic_params=critic_params,
            target_params=jax.tree.map(jnp.copy, critic_params),
            log_temperature=log_temperature,
            actor_opt_state=optimizer.init(actor_params),
            critic_opt_state=optimizer.init(critic_params),
            temperature_opt_state=optimizer.init(log_temperature),
            envs=envs,
            replay=off_policy.fill(replay, played),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def act(
        hypers: SACHypers, state: SACState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        noise = policy.noise(key, seen.obs.shape[:1]) if sample else None
        params = state.actor_params
        action = policy.sample(params, seen.obs, noise) if sample else policy.mode(params, seen.obs)
        return carry, scale_to_box(action, env.action_space) if isinstance(env.action_space, Box) else action

    update = replay_update(
        functools.partial(collect, scaled_env, policy, config),
        replay.add,
        learn_in_turns(
            config.policy_delay,
            functools.partial(draw, config, replay),
            functools.partial(critic_step, config, policy, critics),
            functools.partial(actor_step, config, policy, critics, target_entropy(env)),
        ),
        lambda hypers, state: off_policy.count_steps(config, state),
        config.num_gradient_steps // config.policy_delay,
    )
    spec = Spec(
        "sac",
        config.num_envs * config.num_steps,
        rollout.evaluation(env, no_carry, act),
        settings={"env": env.name, **dataclasses.asdict(config)},
        hypers_class=SACHypers,
        env_steps_of_init=config.num_warmup_steps,
    )
    return Algorithm(init, update, no_carry, act, spec)


# --- acting -----------------------------------------------------------------------------------------------


def make_policy(env: Environment, config: SACConfig) -> Policy:
    """The policy that a config means: logits of discrete actions, or a normal distribution squashed by tanh."""
    space = env.action_space
    num_outputs = space.n if isinstance(space, Discrete) else 2 * space.shape[0]
    net = Actor(env.observation_space, num_outputs, config.torso, config.hidden_sizes, config.activation)
    return discrete_policy(net) if isinstance(space, Discrete) else squashed_policy(net)


def squashed_policy(net: Actor) -> Policy:
    """``a = tanh(m + s z)``, with ``log s`` between -5 and 2. Source: Haarnoja et al. 2018, appendix C."""

    def parameters(params: PyTree, obs: jax.Array) -> Gaussian:
        mean, raw = jnp.split(net.apply(params, obs), 2, axis=-1)
        return Gaussian(mean, -1.5 + 3.5 * jnp.tanh(raw))

    def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*shape, net.num_outputs // 2), jnp.float32)

    def sample(params: PyTree, obs: jax.Array, noise: jax.Array) -> jax.Array:
        return tanh_gaussian.sample(parameters(params, obs), noise)

    def options(params: PyTree, obs: jax.Array, noise: jax.Array) -> Options:
        action, log_prob = tanh_gaussian_sample_and_log_prob(parameters(params, obs), noise)
        return Options(action, jnp.ones_like(log_prob)[:, None], log_prob[:, None])

    def mode(params: PyTree, obs: jax.Array) -> jax.Array:
        return tanh_gaussian.mode(parameters(params, obs))

    return Policy(net.init, noise, sample, options, mode)


def discrete_policy(net: Actor) -> Policy:
    """``softmax(logits)``. Source: Christodoulou 2019 (arXiv 1910.07207)."""

    def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, net.num_outputs), jnp.float32)

    def sample(params: PyTree, obs: jax.Array, noise: jax.Array) -> jax.Array:
        return categorical.sample(net.apply(params, obs), noise)

    def options(params: PyTree, obs: jax.Array, noise: jax.Array) -> Options:
        log_prob = jax.nn.log_softmax(net.apply(params, obs))
        return Options(None, jnp.exp(log_prob), log_prob)

    def mode(params: PyTree, obs: jax.Array) -> jax.Array:
        return categorical.mode(net.apply(params, obs))

    return Policy(net.init, noise, sample, options, mode)


def collect(
    env: Environment, policy: Policy, config: SACConfig, hypers: SACHypers, state: SACState, key: jax.Array
) -> tuple[SACState, Transition, Metrics]:
    """Play what the policy draws, on continuous axes with noise that may last longer than a step on top."""
    action_key, noise_key, env_key = jax.random.split(key, 3)
    shape, is_box = (config.num_steps, config.num_envs), isinstance(env.action_space, Box)
    normal = jax.random.normal(noise_key, (*shape, *env.action_space.shape), jnp.float32) if is_box else ()

    def choose(noise: PyTree, obs: jax.Array, chance: tuple) -> tuple[PyTree, jax.Array, tuple]:
        action = policy.sample(state.actor_params, obs, chance[0])
        if not is_box:
            return noise, action, ()
        noise = exploration.coloured_noise(noise, chance[1], hypers.noise_theta, hypers.noise_std)
        return noise, jnp.clip(action + noise, -1.0, 1.0), ()

    inputs = policy.noise(action_key, shape), normal
    envs, played, metrics = off_policy.play(env, choose, state.envs, inputs, env_key, config.num_steps, quiet(env))
    return state.replace(envs=envs), played, metrics


# --- learning ---------------------------------------------------------------------------------------------


def temperature(config: SACConfig, hypers: SACHypers, state: SACState) -> jax.Array:
    """The temperature alpha, as it is learnt or as it is given; nothing follows its gradient."""
    return jnp.exp(state.log_temperature) if config.learn_temperature else jnp.asarray(hypers.temperature)


def target_entropy(env: Environment) -> Callable[[SACHypers], Scalar]:
    """Entropy that the temperature aims at, ``hypers -> []`` in nats: so much for each continuous axis, in units of
    [-1, 1], or a share of the largest that discrete actions have, ``log A``."""
    space = env.action_space
    largest = float(np.log(space.n)) if isinstance(space, Discrete) else float(space.shape[0])

    def entropy(hypers: SACHypers) -> Scalar:
        return largest * (hypers.entropy_share if isinstance(space, Discrete) else hypers.target_entropy)

    return entropy


def soft_target(
    config: SACConfig, value: jax.Array, options: Options, alpha: Scalar, batch: NStepTransition
) -> jax.Array:
    """Target of the critics, ``r + d sum_k pi_k (Q'_k - alpha log pi_k)``, ``[M, N']``.

    Args:
        config: sizes and choices.
        value: of the target critics at the next observation, ``[E, M, K, N]``.
        options: of the policy there.
        alpha: temperature.
        batch: ``[M]``.
    """
    soft = reduced(config, value) - alpha * options.log_prob[..., None]
    return distributional.backup(batch.reward, batch.discount, jnp.sum(options.probability[..., None] * soft, axis=1))


def actor_loss(
    config: SACConfig,
    policy: Policy,
    critics: Critics,
    params: PyTree,
    critic_params: PyTree,
    alpha: Scalar,
    obs: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """``E[sum_k pi_k (alpha log pi_k - Q_k)]``, whose minimum is ``pi ~ exp(Q / alpha)``; and the entropy, ``[]`` each.

    Source: Haarnoja et al. 2018b, (7) and (9); of discrete actions Christodoulou 2019, (12).
    """
    noise_key, dropout_key = jax.random.split(key)
    options = policy.options(params, obs, policy.noise(noise_key, obs.shape[:1]))
    value = for_actor(config, critics.values(critic_params, obs, options.action, dropout_key))
    each = jnp.sum(options.probability * (alpha * options.log_prob - value), axis=-1)
    return jnp.mean(each), -jnp.mean(jnp.sum(options.probability * options.log_prob, axis=-1))


def temperature_loss(log_temperature: jax.Array, entropy: jax.Array, target: Scalar) -> tuple[jax.Array, tuple]:
    """``alpha (H(pi) - H)``, which falls with alpha where the policy's entropy is too small.

    Source: Haarnoja et al. 2018b, (18).
    """
    return jnp.exp(log_temperature) * (entropy - target), ()


def critic_step(
    config: SACConfig,
    policy: Policy,
    critics: Critics,
    hypers: SACHypers,
    state: SACState,
    batch: NStepTransition,
    key: jax.Array,
) -> tuple[SACState, Metrics]:
    """One gradient step of all critics, after which their targets move a little."""
    noise_key, next_key, now_key = jax.random.split(key, 3)
    options = policy.options(state.actor_params, batch.next_obs, policy.noise(noise_key, batch.reward.shape))
    value = critics.values(state.target_params, batch.next_obs, options.action, next_key)
    target = soft_target(config, value, options, temperature(config, hypers, state), batch)

    def loss(params: PyTree) -> tuple[jax.Array, Metrics]:
        seen = batch.action if options.action is not None else None
        predicted = of_action(critics.values(params, batch.obs, seen, now_key), batch.action)
        return critic_loss(config, hypers.huber_kappa, predicted, target)

    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    params, opt_state, metrics = gradient_step(
        loss, optimizer, hypers.learning_rate, state.critic_params, state.critic_opt_state
    )
    target_params = polyak(state.target_params, params, hypers.tau)
    return state.replace(critic_params=params, critic_opt_state=opt_state, target_params=target_params), metrics


def actor_step(
    config: SACConfig,
    policy: Policy,
    critics: Critics,
    target_entropy: Callable,
    hypers: SACHypers,
    state: SACState,
    batch: NStepTransition,
    key: jax.Array,
) -> tuple[SACState, Metrics]:
    """One gradient step of the actor, and one of the temperature where it is learnt."""
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    alpha = temperature(config, hypers, state)
    params, opt_state, entropy = gradient_step(
        functools.partial(actor_loss, config, policy, critics),
        optimizer,
        hypers.actor_learning_rate,
        state.actor_params,
        state.actor_opt_state,
        state.critic_params,
        alpha,
        batch.obs,
        key,
    )
    state = state.replace(actor_params=params, actor_opt_state=opt_state)
    if config.learn_temperature:
        log_temperature, opt_state, _ = gradient_step(
            temperature_loss,
            optimizers.adam(jnp.inf, hypers.adam_epsilon),  # a number: clipped, it would be its sign
            hypers.temperature_learning_rate,
            state.log_temperature,
            state.temperature_opt_state,
            entropy,
            target_entropy(hypers),
        )
        state = state.replace(log_temperature=log_temperature, temperature_opt_state=opt_state)
    return state, {"entropy": entropy, "temperature": alpha}
