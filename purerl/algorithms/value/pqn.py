"""Parallelised Q-network: Q-learning without a replay or a target network (Gallici et al. 2024, arXiv 2407.04811).

One update: collect ``num_steps`` steps in ``num_envs`` environments with an epsilon-greedy policy, compute the
lambda-returns of Peng's Q(lambda) with the values at hand, then take ``num_epochs x num_minibatches`` gradient steps on

    minimise  1/2 E[ (Q(s, a) - G)^2 ],    G_t = r_t + gamma ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1}).

A team of agents (:mod:`purerl.envs.teams`) learns likewise, with one network for all of them and a mixer that makes one
value of theirs, ``Q = mix(Q_1(o_1, a_1), ..., Q_I(o_I, a_I))``: a sum in VDN, a monotone network in QMIX.

What keeps this stable where plain Q-learning is not is the normalisation before every activation, and many environments
in the place of a replay.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config, check_minibatches, config_or_default
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable, num_actions
from purerl.kernels import exploration, returns, targets
from purerl.kernels.numerics import count_up
from purerl.nets.mixers import Mixer, MonotoneMixer, TeamQNetwork
from purerl.nets.torsos import Activation, Torso
from purerl.nets.value import QNetwork, make_q_network
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.spaces import MultiDiscrete
from purerl.types import Metrics, PyTree, Seen, Transition
from purerl.update import gradient_step, minibatch_epochs, rollout_update

Net = QNetwork | TeamQNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class PQNConfig:
    """What fixes a shape, a loop length or a branch of PQN. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    num_envs: int = 32
    """Environments stepped side by side, B."""
    num_steps: int = 64
    """Steps of each environment per update, T."""
    num_epochs: int = 4
    """Passes over each rollout."""
    num_minibatches: int = 16
    """Minibatches per pass; divides num_envs * num_steps."""
    torso: Torso = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Sizes of the hidden dense layers."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""
    layer_norm: bool = True
    """Normalise before every activation, in the place of a target network."""
    mixer: Mixer = "none"
    """For a team: the sum of its agents' values (VDN), or a network that grows with each (QMIX)."""
    mixing_size: int = 32
    """Hidden layer of the monotone mixer."""

    def __post_init__(self) -> None:
        check_config(self)
        check_minibatches(self)


class PQNHypers(struct.PyTreeNode):
    """Every other number of PQN: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(5e-4, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    lambda_: float = hyper(0.65, low=0, high=1)
    """Share of each return that goes on beyond its next step."""
    epsilon_start: float = hyper(1.0, low=0, high=1)
    """Share of uniform actions at the start."""
    epsilon_end: float = hyper(0.05, low=0, high=1)
    """Share of uniform actions from exploration_steps on."""
    exploration_steps: float = hyper(100_000.0, above=0, infinite=True)
    """Environment steps over which the share falls in a straight line."""
    max_grad_norm: float = hyper(10.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""


class PQNState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    num_env_steps: jax.Array  # [] int


class Batch(struct.PyTreeNode):
    """What a gradient step learns from. Leading axes ``[T, B]``, or ``[M]`` of a minibatch."""

    obs: PyTree  # [..., *obs_shape]
    action: jax.Array  # [...], of a team [..., I]
    target: jax.Array  # [...]


@recorded
def pqn(env: Environment, config: PQNConfig | None = None) -> Algorithm:
    """PQN for discrete actions, of one agent or of each in a team.

    Args:
        env: observations an array; actions :class:`~purerl.spaces.Discrete`, or, with a mixer, those of a team
            (:func:`purerl.envs.teams.joint`).
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete, or there is a mixer and no team, or a team and no mixer.
    """
    config = config_or_default(config, PQNConfig)
    net = make_network(env, config)

    def init(hypers: PQNHypers, key: jax.Array) -> PQNState:
        params_key, env_key = jax.random.split(key)
        envs = rollout.reset(env, env_key, config.num_envs)
        params = net.init(params_key, envs.obs)
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return PQNState(params=params, opt_state=opt_state, envs=envs, num_env_steps=jnp.zeros((), jnp.int32))

    def act(
        hypers: PQNHypers, state: PQNState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        if sample:
            probability = behaviour_policy(net, hypers, state, seen.obs)
            return carry, exploration.sample(probability, jax.random.uniform(key, probability.shape[:-1]))
        return carry, jnp.argmax(q_values(net, state.params, seen.obs), axis=-1).astype(jnp.int32)

    update = rollout_update(
        functools.partial(collect, env, net, config), functools.partial(learn, net, config), split_key
    )
    spec = Spec(
        "pqn",
        config.num_envs * config.num_steps,
        rollout.evaluation(env, no_carry, act),
        settings={"env": env.name, **dataclasses.asdict(config)},
        hypers_class=PQNHypers,
    )
    return Algorithm(init, update, no_carry, act, spec)


def make_network(env: Environment, config: PQNConfig) -> Net:
    """The action-value network that a config means.

    Raises:
        ValueError: if actions are not discrete, or it is a team's environment just where there is no mixer.
    """
    observation, number = env.observation_space, 0
    if config.mixer == "none":
        observation, number = env.observation_space, num_actions(env, "PQN")
    else:
        observation, number = _one_of_team(env, config)
    net = make_q_network(
        observation,
        number,
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        layer_norm=config.layer_norm,
    )
    assert isinstance(net, QNetwork)
    if config.mixer == "none":
        return net
    return TeamQNetwork(net, MonotoneMixer(config.mixing_size) if config.mixer == "monotone" else None)


def _one_of_team(env: Environment, config: PQNConfig) -> tuple[Any, int]:
    """Shape of what one agent's network gets, its observation and who it is, and its number of actions."""
    seen: tuple[int, ...] = env.observation_space.shape
    choices: tuple[int, ...] = getattr(env.action_space, "nvec", ())
    if len(seen) != 2 or len(choices) != seen[0] or len(set(choices)) != 1:
        raise ValueError(
            f"PQNConfig.mixer = {config.mixer!r}: {env.name} has observations of the shape {seen} and the actions "
            f"{env.action_space}; a team of I agents has [I, F] and I times the same number. Else set it to 'none'."
        )
    check_learnable(env, "PQN", actions=(MultiDiscrete,))
    return (seen[1] + seen[0],), choices[0]


def q_values(net: Net, params: PyTree, obs: jax.Array) -> jax.Array:
    """Action values of observations, ``[..., *obs_shape] -> [..., A]``; of a team ``[..., I, F] -> [..., I, A]``."""
    return net.apply(params, obs)[..., 0]


def mixed(net: Net, params: PyTree, value: jax.Array, obs: jax.Array) -> jax.Array:
    """Value of one action each: of a team ``[..., I] -> [...]``; that of a lone agent, ``[...]``, as it is."""
    return net.apply(params, value, obs, method="mix") if isinstance(net, TeamQNetwork) else value


def behaviour_policy(net: Net, hypers: PQNHypers, state: PQNState, obs: jax.Array) -> jax.Array:
    """Epsilon-greedy probabilities ``[..., A]``, with epsilon decaying in a straight line."""
    epsilon = exploration.linear_decay(
        hypers.epsilon_start, hypers.epsilon_end, state.num_env_steps, hypers.exploration_steps
    )
    return exploration.epsilon_greedy(q_values(net, state.params, obs), epsilon)


def split_key(key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """An update's keys: two of the rollout, for actions and for environments, and that of learning."""
    action_key, env_key, learn_key = jax.random.split(key, 3)
    return (action_key, env_key), learn_key


def collect(
    env: Environment,
    net: Net,
    config: PQNConfig,
    hypers: PQNHypers,
    state: PQNState,
    keys: tuple[jax.Array, jax.Array],
) -> tuple[PQNState, Transition, Metrics]:
    """Collect a rollout ``[T, B]`` with the behaviour policy; keys as :func:`split_key` has them."""
    action_key, env_key = keys

    def policy(carry: tuple, seen: Seen, uniform: jax.Array) -> tuple[tuple, jax.Array, tuple]:
        return carry, exploration.sample(behaviour_policy(net, hypers, state, seen.obs), uniform), ()

    uniform = jax.random.uniform(action_key, (config.num_steps, config.num_envs, *env.action_space.shape))
    envs, transitions, metrics = rollout.rollout(env, policy, state.envs, env_key, uniform, config.num_steps)
    return state.replace(envs=envs), transitions, metrics


def make_batch(net: Net, hypers: PQNHypers, params: PyTree, transitions: Transition) -> Batch:
    """A rollout with its lambda-returns of Peng's Q(lambda), ``[T, B]``, by the values at hand.

    ``G_t = r_t + gamma ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1})``

    Source: Gallici et al. 2024 (arXiv 2407.04811), section 4.
    """
    best = targets.max_value(q_values(net, params, transitions.next_obs))
    next_value = mixed(net, params, best, transitions.next_obs)
    target = returns.lambda_returns(
        transitions.reward, next_value, transitions.terminated, transitions.truncated, hypers.gamma, hypers.lambda_
    )
    return Batch(obs=transitions.obs, action=transitions.action, target=target)


def loss(net: Net, params: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
    """PQN's loss of a minibatch, ``1/2 E[(Q(s, a) - G)^2]``, and metrics."""
    each = targets.select_action_value(q_values(net, params, batch.obs), batch.action)
    value = mixed(net, params, each, batch.obs)
    total = jnp.mean(optax.l2_loss(value, batch.target))
    return total, {"loss": total, "q_value": jnp.mean(value)}


def learn(
    net: Net, config: PQNConfig, hypers: PQNHypers, state: PQNState, transitions: Transition, key: jax.Array
) -> tuple[PQNState, Metrics]:
    """Learn from a rollout ``[T, B]``: targets, then epochs of minibatches."""

    def step(carry: tuple, batch: Batch) -> tuple[tuple, Metrics]:
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        *after, metrics = gradient_step(functools.partial(loss, net), optimizer, hypers.learning_rate, *carry, batch)
        return tuple(after), metrics

    batch = make_batch(net, hypers, state.params, transitions)
    (params, opt_state), metrics = minibatch_epochs(
        step, (state.params, state.opt_state), batch, key, config.num_epochs, config.num_minibatches
    )
    num_env_steps = count_up(state.num_env_steps, config.num_envs * config.num_steps)
    state = state.replace(params=params, opt_state=opt_state, num_env_steps=num_env_steps)
    return state, jax.tree.map(jnp.mean, metrics)
