"""What learners of a policy share: acting, playing a rollout, scales of what is seen, and what a network makes of it.

Their configs have the fields of :class:`Config`, their states those of :class:`State`; whatever else these have is
nobody's business here.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from purerl import rollout
from purerl.algorithms.policy import memory
from purerl.algorithms.policy.memory import Network
from purerl.envs.base import Environment
from purerl.envs.wrappers import scale_to_box
from purerl.kernels import moments, returns
from purerl.kernels.distributions import categorical_by_inversion
from purerl.kernels.recurrence import forward_linear_recurrence
from purerl.nets.actor_critic import ActorCritic, RecurrentActorCritic
from purerl.nets.torsos import make_torso
from purerl.observation import zeros
from purerl.spaces import Box, Dict, MaskedSpace, Tuple
from purerl.types import Metrics, PyTree, Scalar, Seen, Transition


class Config(Protocol):
    """What a config says of networks and of rollouts."""

    @property
    def num_envs(self) -> int:
        """Environments stepped side by side, B."""

    @property
    def num_steps(self) -> int:
        """Steps of each environment per update, T."""

    @property
    def torso(self) -> Any:
        """Of the network, as of :class:`~purerl.nets.actor_critic.ActorCritic`."""

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Likewise."""

    @property
    def activation(self) -> Any:
        """Likewise."""

    @property
    def shared_torso(self) -> bool:
        """Likewise."""

    @property
    def normalize_obs(self) -> bool:
        """Whether observations are standardised with running statistics, kept in the state and frozen in evaluation."""

    @property
    def normalize_reward(self) -> bool:
        """Whether rewards are divided by the running standard deviation of the discounted return."""


class State(Protocol):
    """What a state has of these."""

    params: PyTree
    envs: rollout.Envs  # [B, ...]
    obs_moments: moments.Moments  # [*obs_shape]
    return_moments: moments.Moments  # [] of the discounted return that scales rewards
    discounted_return: jax.Array  # [B] running discounted return

    def replace(self, **changes: Any) -> Any:
        """The state with other values of some fields."""


AnyState = TypeVar("AnyState", bound=State)


class Batch(NamedTuple):
    """What a gradient step learns from. Leading axes ``[T, B]`` of a rollout, or ``[M]`` of a minibatch; with a memory
    that has sequences, ``[T, M]``."""

    obs: PyTree  # [M, ...] normalised
    action: jax.Array  # [M, ...]
    old_policy: PyTree  # [M, ...] parameters of the distribution that acted; () until :func:`with_old_policy`
    log_prob: PyTree  # [M] of the action under it, likewise
    value: jax.Array  # [M]
    advantage: jax.Array  # [M]
    target: jax.Array  # [M] of the value
    start: PyTree = ()  # [T, M] bool, the first of an episode; of sequences alone
    memory: PyTree = ()  # [M, ...] before the first step, likewise


def make_network(env: Environment, config: Config, recurrent: Any = None) -> Network:
    """The actor-critic network that a config means.

    With a memory, of :func:`purerl.nets.recurrent.make_memory`, all hidden layers but the last come before it.

    Raises:
        ValueError: if observations are to be normalised that are not one box of numbers.
    """
    if config.normalize_obs and not isinstance(env.observation_space, Box):
        name = type(config).__name__
        raise ValueError(f"{name}.normalize_obs = True: {env.observation_space} is no box of numbers; set it to False.")
    observation = tuple(env.observation_space.shape) if config.normalize_obs else env.observation_space
    make_heads = functools.partial(
        ActorCritic, action_space=env.action_space, activation=config.activation, shared_torso=config.shared_torso
    )
    if recurrent is None:
        return make_heads(observation=observation, torso=config.torso, hidden_sizes=config.hidden_sizes)
    return RecurrentActorCritic(
        torso=make_torso(config.torso, observation, config.hidden_sizes[:-1], config.activation),
        memory=recurrent,
        heads=make_heads(observation=(recurrent.size,), hidden_sizes=config.hidden_sizes[-1:]),
    )


def init_params(net: Network, env: Environment, initial_log_std: Scalar, key: jax.Array) -> PyTree:
    """Parameters at the start, with the standard deviation of continuous actions that the hyperparameters ask for."""
    obs = zeros(env.observation_space, (1,))

    def filled(path: tuple, x: jax.Array) -> jax.Array:
        return jnp.full_like(x, initial_log_std) if path[-1].key == "log_std" else x

    return jax.tree_util.tree_map_with_path(filled, memory.init(net, obs, key))


def init_moments(env: Environment) -> moments.Moments:
    """Moments of observations at the start; of one number, for nobody, where these are several arrays."""
    space = env.observation_space
    return moments.init(() if isinstance(space, Dict | Tuple | MaskedSpace) else tuple(space.shape))


def normalize(config: Config, obs_moments: moments.Moments, obs: PyTree) -> PyTree:
    """Observations as the network gets them: standardised by running statistics, where the config asks for it."""
    return moments.normalize(obs_moments, obs) if config.normalize_obs else obs


def policy(net: Network, config: Config, state: State, carry: PyTree, obs: PyTree) -> tuple[PyTree, PyTree]:
    """The memory after observations ``[B, *obs_shape]``, and parameters of the action distribution."""
    return memory.policy(net, state.params, carry, normalize(config, state.obs_moments, obs))


def uninformed_policy(net: Network, config: Config, state: State, carry: PyTree, obs: PyTree) -> tuple[PyTree, PyTree]:
    """The policy at an observation of 0, which is the mean of normalised ones, whatever is observed and remembered."""
    return carry, memory.policy(net, state.params, carry, jnp.zeros_like(obs, jnp.float32))[1]


def act(
    env: Environment,
    net: Network,
    config: Config,
    hypers: PyTree,
    state: State,
    carry: PyTree,
    seen: Seen,
    key: jax.Array,
    sample: bool = False,
) -> tuple[PyTree, jax.Array]:
    """``Algorithm.act``: the mode of the policy, or a draw from it, within the action space."""
    pi = net.distribution
    carry, parameters = policy(net, config, state, carry, seen.obs)
    action = pi.sample(parameters, pi.noise(key, parameters)) if sample else pi.mode(parameters)
    return carry, scale_to_box(action, env.action_space) if isinstance(env.action_space, Box) else action


def collect(
    env: Environment,
    net: Network,
    config: Config,
    hypers: PyTree,
    state: AnyState,
    key: jax.Array,
    policy: Callable = policy,
) -> tuple[AnyState, Transition, Metrics]:
    """Collect a rollout ``[T, B]`` with the policy; values and log-probabilities are computed afterwards.

    Args:
        env: with actions in units of the network, by :func:`purerl.envs.wrappers.scale_actions`.
        net: the network.
        config: sizes and choices.
        hypers: not looked at.
        state: of the learner.
        key: of actions and environments.
        policy: ``(net, config, state, carry, obs) -> (carry, parameters)`` of the distribution that acts.

    Returns:
        The state, the transitions, whose extras are the memory before the first of them, ``[B, ...]``, and metrics.
    """
    noise_key, env_key = jax.random.split(key)
    act, pi = functools.partial(policy, net, config, state), net.distribution
    _, parameters = jax.eval_shape(act, state.envs.carry, state.envs.obs)
    noise = pi.noise(noise_key, parameters, (config.num_steps,))

    def sampled(carry: PyTree, seen: Seen, noise: jax.Array) -> tuple[PyTree, jax.Array, tuple]:
        carry, parameters = act(carry, seen.obs)
        return carry, pi.sample(parameters, noise), ()

    fresh = memory.start(net)
    envs, transitions, metrics = rollout.rollout(env, sampled, state.envs, env_key, noise, config.num_steps, fresh)
    return state.replace(envs=envs), transitions.replace(extras=state.envs.carry), metrics


def first_moments(
    env: Environment, net: Network, config: Config, hypers: PyTree, state: AnyState, key: jax.Array
) -> AnyState:
    """The state with moments of observations, where the config asks for them: of a rollout whose actions do not depend
    on their scale."""
    if not config.normalize_obs:
        return state
    state, transitions, _ = collect(env, net, config, hypers, state, key, uninformed_policy)
    return state.replace(obs_moments=moments.update(state.obs_moments, transitions.obs))


def next_moments(config: Config, state: AnyState, transitions: Transition) -> AnyState:
    """The state with a rollout's raw observations in their moments, where the config asks for them: once it was learnt
    from, so that acting and learning agree."""
    if not config.normalize_obs:
        return state
    return state.replace(obs_moments=moments.update(state.obs_moments, transitions.obs))


def scale_reward(config: Config, gamma: Scalar, state: AnyState, transitions: Transition) -> tuple[jax.Array, AnyState]:
    """Rewards divided by the running standard deviation of the discounted return, where the config asks for it.

    ``r / std(R)`` with ``R_t = r_t + gamma R_{t-1}`` within an episode; the mean is not subtracted.

    Returns:
        The rewards to learn from ``[T, B]``, and the state with its statistics of the discounted return.

    Source: Engstrom et al. 2020 (arXiv 2005.12729).
    """
    if not config.normalize_reward:
        return transitions.reward, state
    ended = transitions.terminated | transitions.truncated
    continues = jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[:-1]])
    totals = forward_linear_recurrence(gamma * continues, transitions.reward, state.discounted_return)
    running = jnp.where(ended[-1], 0.0, totals[-1])
    return_moments = moments.update(state.return_moments, totals)
    state = state.replace(discounted_return=running, return_moments=return_moments)
    return moments.scale(return_moments, transitions.reward), state


def keeps_policies(net: Network) -> bool:
    """Whether a rollout keeps the distributions that acted: not those of many actions, whose logits are too large."""
    return net.distribution is not categorical_by_inversion


def look(
    net: Network, config: Config, state: State, transitions: Transition, num_parts: int = 1
) -> tuple[PyTree, PyTree, jax.Array, jax.Array]:
    """What the network says of a rollout ``[T, B]``, in parts, whose activations take no more memory than one of them.

    Args:
        net: the network.
        config: sizes and choices.
        state: whose parameters and moments.
        transitions: ``[T, B]``.
        num_parts: in how many the T steps are looked at, or fewer if T cannot be so divided; static. With a memory
            they are looked at together.

    Returns:
        Observations as the network gets them, parameters of the policy, which are ``()`` where a rollout does not keep
        them (:func:`keeps_policies`), values, and values of what the steps led to, ``[T, B, ...]``.
    """
    obs = normalize(config, state.obs_moments, transitions.obs)
    if isinstance(net, RecurrentActorCritic):
        next_obs = normalize(config, state.obs_moments, transitions.next_obs)
        now = (transitions.extras, obs, memory.starts(transitions))
        old_policy, values, next_values = net.apply(state.params, *now, next_obs, method="with_next")
        return obs, old_policy if keeps_policies(net) else (), values, next_values

    def part(obs_and_next: tuple[PyTree, PyTree]) -> tuple[PyTree, jax.Array, jax.Array]:
        obs, next_obs = obs_and_next
        next_values = net.apply(state.params, normalize(config, state.obs_moments, next_obs), method="value")
        if keeps_policies(net):
            return *net.apply(state.params, obs), next_values
        return (), net.apply(state.params, obs, method="value"), next_values

    num_steps = transitions.reward.shape[0]
    size = num_steps // math.gcd(num_steps, num_parts)
    return obs, *jax.lax.map(part, (obs, transitions.next_obs), batch_size=size)


def make_batch(
    net: Network,
    config: Config,
    hypers: PyTree,
    state: State,
    transitions: Transition,
    reward: jax.Array,
    num_parts: int = 1,
) -> Batch:
    """Values, log-probabilities, GAE advantages and value targets of a rollout ``[T, B]``.

    Args:
        net: the network.
        config: sizes and choices.
        hypers: with ``gamma`` and ``gae_lambda``.
        state: of the learner, whose policy acted.
        transitions: ``[T, B]``.
        reward: to learn from, ``[T, B]``, of :func:`scale_reward`.
        num_parts: as of :func:`look`; as many as minibatches take no more memory than a gradient step.
    """
    obs, old_policy, values, next_values = look(net, config, state, transitions, num_parts)
    log_prob = net.distribution.log_prob(old_policy, transitions.action) if keeps_policies(net) else ()
    advantage = returns.gae(
        reward,
        values,
        next_values,
        transitions.terminated,
        transitions.truncated,
        hypers.gamma,
        hypers.gae_lambda,
    )
    return Batch(
        obs=obs,
        action=transitions.action,
        old_policy=old_policy,
        log_prob=log_prob,
        value=values,
        advantage=advantage,
        target=advantage + values,
        start=memory.starts(transitions) if isinstance(net, RecurrentActorCritic) else (),
        memory=transitions.extras,
    )


def with_old_policy(net: Network, params: PyTree, batch: Batch) -> Batch:
    """The batch with the distributions that acted, worked out again where the rollout did not keep them.

    Args:
        net: the network.
        params: that acted.
        batch: ``[M, ...]``, or of sequences ``[T, M, ...]``.
    """
    if keeps_policies(net):
        return batch
    old_policy, _ = memory.read(net, params, batch)
    return batch._replace(old_policy=old_policy, log_prob=net.distribution.log_prob(old_policy, batch.action))
