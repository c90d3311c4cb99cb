"""DQN's settings, network, loss and gradient step, wherever transitions come from: a replay, or a dataset.

    minimise  E[ w loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b)) ],

where s, a, the k rewards summed up in r, and s_k come from somewhere, and w from how they were sampled.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from purerl import optimizers
from purerl.config_checks import check_config
from purerl.data.transitions import NStepTransition
from purerl.envs.base import Environment
from purerl.envs.learnable import num_actions
from purerl.kernels import distributional, targets
from purerl.kernels.distributions import mask
from purerl.nets.torsos import Activation, Torso
from purerl.nets.value import Dueling, QNetwork, make_q_network
from purerl.observation import legal, num_rows
from purerl.off_policy import check_replay_sizes
from purerl.ranges import hyper, setting
from purerl.sharding import shard
from purerl.target_network import TargetUpdate
from purerl.types import Metrics, PyTree
from purerl.update import gradient_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """What fixes a shape, a loop length or a branch of DQN. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 8
    """Environments stepped side by side, B."""
    num_steps: int = 1
    """Steps of each environment per update, T."""
    num_gradient_steps: int = 1
    """Gradient steps per update."""
    batch_size: int = 64
    """Transitions per gradient step, M."""
    replay_capacity: int = 16_384
    """Steps in the replay, of all environments together; a multiple of num_envs."""
    num_warmup_steps: int = 1_024
    """Steps with uniform actions, of all environments together, before the first update; a multiple of num_envs."""
    target: Literal["max", "double", "munchausen"] = "max"
    """Value of the next state: of the target network's best action; of the online network's best action (Double DQN);
    or of the soft policy, with a share of the action's log-probability on top of the reward (Munchausen DQN; soft
    Q-learning where that share is 0)."""
    distribution: Literal["mean", "c51", "quantile", "iqn"] = "mean"
    """What a value is: a mean, or a distribution of returns as probabilities of fixed atoms (C51), quantiles at fixed
    levels (QR-DQN), or quantiles at random levels (IQN)."""
    num_atoms: int = 51
    """Atoms or quantiles of a distribution; random levels per pass of IQN."""
    dueling: Dueling = "none"
    """A value and advantages in the place of action values, and what of the advantages is 0."""
    noisy: bool = False
    """Explore by learnt noise on the last layers' weights, and not by epsilon."""
    prioritized: bool = False
    """Sample transitions in proportion to their last loss, to the power priority_alpha: the absolute error of a mean,
    and of C51 the cross-entropy, from which Hessel et al. take away the entropy of the target."""
    n_step: int = 1
    """Rewards of a transition before the value of the next state."""
    loss: Literal["huber", "squared"] = "huber"
    """Of the error of a mean. Where targets are random, the Huber loss has another minimum than their mean."""
    target_update: TargetUpdate = "hard"
    """Copy the parameters to the target network now and then, or move it a little with every update."""
    torso: Torso = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (120, 84)
    """Sizes of the hidden dense layers."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""
    noise_scale: float = setting(0.5, low=0)
    """Deviation of noisy weights at first, times the square root of a layer's inputs."""

    def __post_init__(self) -> None:
        check_config(self)
        check_replay_sizes(self)
        if self.distribution == "c51" and self.num_atoms < 2:
            raise ValueError(f"DQNConfig.num_atoms = {self.num_atoms}: C51 needs at least 2.")
        if self.distribution != "mean" and self.target == "munchausen":
            raise ValueError(
                f'DQNConfig.target = "munchausen" needs distribution = "mean", but it is {self.distribution!r}.'
            )
        if self.n_step > 1 and self.target == "munchausen":
            raise ValueError(
                f'DQNConfig.target = "munchausen" needs n_step = 1, but n_step = {self.n_step}: later rewards would '
                "have no bonus."
            )


class DQNHypers(struct.PyTreeNode):
    """Every other number of DQN: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(5e-4, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    epsilon_start: float = hyper(1.0, low=0, high=1)
    """Share of uniform actions at the start; not used by noisy networks."""
    epsilon_end: float = hyper(0.05, low=0, high=1)
    """Share of uniform actions from exploration_steps on."""
    exploration_steps: float = hyper(20_000.0, above=0, infinite=True)
    """Environment steps over which the share falls in a straight line."""
    target_update_every: float = hyper(500.0, above=0, infinite=True)
    """Environment steps between two copies of the parameters to the target network; hard updates only."""
    tau: float = hyper(0.005, low=0, high=1)
    """By how much an update moves the target network's parameters; Polyak updates only."""
    huber_delta: float = hyper(1.0, above=0)
    """Errors up to which a loss is squared, in units of the return; of means and quantiles."""
    v_min: float = hyper(0.0)
    """Smallest atom, in units of the return; C51 only."""
    v_max: float = hyper(100.0)
    """Largest atom; C51 only."""
    munchausen_alpha: float = hyper(0.9, low=0, high=1)
    """Share of the action's log-probability that is added to the reward; 0 is soft Q-learning."""
    temperature: float = hyper(0.03, low=0)
    """Temperature of the soft policy, in units of the return."""
    priority_alpha: float = hyper(0.5, low=0)
    """Power of the loss that a transition is sampled in proportion to, at the time when that is computed; 0 samples
    uniformly."""
    priority_epsilon: float = hyper(1e-6, above=0)
    """Added to every priority, so that none is 0."""
    priority_beta_start: float = hyper(0.4, low=0, high=1)
    """Share of the correction for it at the start."""
    priority_beta_steps: float = hyper(100_000.0, above=0, infinite=True)
    """Environment steps over which that share rises to 1."""
    max_grad_norm: float = hyper(10.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    cql_weight: float = hyper(0.0, low=0)
    """By how much actions that are not in the data are pushed down; offline DQN only."""

    def check(self) -> None:
        """Nothing, if the atoms ascend; of arrays, in all their entries.

        Raises:
            ValueError: if not.
        """
        if not np.all(np.less(self.v_min, self.v_max)):
            raise ValueError(f"DQNHypers.v_min = {self.v_min} must be less than v_max = {self.v_max}.")


def make_network(env: Environment, config: DQNConfig) -> QNetwork:
    """The action-value network that a config means: ``obs [M, ...] -> [M, A, N]``.

    Raises:
        ValueError: if actions are not discrete.
    """
    net = make_q_network(
        env.observation_space,
        num_actions(env, "DQN", masks=True),
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        num_atoms=config.num_atoms if config.distribution in ("c51", "quantile") else 1,
        num_cosines=64 if config.distribution == "iqn" else 0,
        dueling=config.dueling,
        noisy=config.noisy,
        noise_scale=config.noise_scale,
    )
    assert isinstance(net, QNetwork)
    return net


def init_params(
    net: QNetwork, config: DQNConfig, hypers: DQNHypers, key: jax.Array, obs: jax.Array
) -> tuple[PyTree, optax.OptState]:
    """Parameters and the optimiser's state at the start, for observations ``[M, ...]``."""
    levels = [jnp.zeros((num_rows(obs), 1))] if config.distribution == "iqn" else []
    params = net.init(key, obs, *levels)
    return params, optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)


def forward(
    net: QNetwork, config: DQNConfig, params: PyTree, obs: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The network's output ``[M, A, N]``, and the quantile levels that it stands for where it is one of quantiles.

    Without a key there is no noise, and levels are in the middles of equal intervals.
    """
    noise_key, level_key = (None, None) if key is None else jax.random.split(key)
    rngs = {"noise": noise_key} if config.noisy and key is not None else {}
    level = distributional.midpoints(config.num_atoms)
    if config.distribution != "iqn":
        return net.apply(params, obs, rngs=rngs), level
    shape = (num_rows(obs), config.num_atoms)
    level = jnp.broadcast_to(level, shape) if level_key is None else jax.random.uniform(level_key, shape)
    return net.apply(params, obs, level, rngs=rngs), level


def support(config: DQNConfig, hypers: DQNHypers) -> jax.Array:
    """Atoms of C51, ``[N]``."""
    return distributional.support(hypers.v_min, hypers.v_max, config.num_atoms)


def q_values(config: DQNConfig, hypers: DQNHypers, output: jax.Array) -> jax.Array:
    """Action values, the means of the return distributions: ``[..., A, N] -> [..., A]``."""
    return distributional.q_values(output, support(config, hypers) if config.distribution == "c51" else None)


def legal_values(config: DQNConfig, hypers: DQNHypers, output: jax.Array, obs: PyTree) -> jax.Array:
    """Action values ``[M, A]`` of the network's output for observations, -inf where these say that none is legal."""
    value, allowed = q_values(config, hypers, output), legal(obs)
    return value if allowed is None else mask(value, allowed)


def greedy_actions(net: QNetwork, config: DQNConfig, hypers: DQNHypers, params: PyTree, obs: PyTree) -> jax.Array:
    """Actions of highest value ``[B]``, without noise."""
    value = legal_values(config, hypers, forward(net, config, params, obs, None)[0], obs)
    return jnp.argmax(value, axis=-1).astype(jnp.int32)


def bellman_target(
    net: QNetwork,
    config: DQNConfig,
    params: PyTree,
    hypers: DQNHypers,
    target_params: PyTree,
    batch: NStepTransition,
    key: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """Bellman target of DQN, Double DQN, Munchausen DQN or a distributional agent, ``[M, N]``, and its metrics.

    ``r + d Z_target(s', b)`` with ``b = argmax_b Q(s', b)`` of the target network, or of the online one (double); in
    Munchausen DQN ``r + alpha tau log pi(a | s) + d tau log sum_b exp(Q_target(s', b) / tau)``. N numbers: a mean,
    quantiles, or probabilities of C51's atoms. No gradient is stopped here.

    Where values are random, by noise or by levels that are drawn, those that choose are drawn apart from those that are
    put in: one draw for both would make the target too high, ``E[max_b Q] >= max_b E[Q]``, in any state.

    Metrics: of C51 ``clipped_targets``, the share of the targets' probability that lies beyond v_min or v_max.

    Source: Mnih et al. 2015; van Hasselt et al. 2016; Vieillard et al. 2020; Bellemare et al. 2017; Dabney et al.
    2018b, algorithm 1, and their section 2.3 for levels that are drawn anew.
    """
    next_key, choice_key, now_key = jax.random.split(key, 3)
    output, _ = forward(net, config, target_params, batch.next_obs, next_key)
    is_double, is_random = config.target == "double", config.noisy or config.distribution == "iqn"
    selector, chooser = output, params if is_double else target_params
    if is_double or is_random:
        selector, _ = forward(net, config, chooser, batch.next_obs, choice_key)
    if config.target == "munchausen":
        now, _ = forward(net, config, target_params, batch.obs, now_key)
        now = legal_values(config, hypers, now, batch.obs)
        bonus = targets.munchausen_bonus(now, batch.action, hypers.temperature, hypers.munchausen_alpha)
        soft = legal_values(config, hypers, output, batch.next_obs)
        if is_random:
            chosen = legal_values(config, hypers, selector, batch.next_obs)
            value = targets.double_soft_value(soft, chosen, hypers.temperature)
        else:
            value = targets.soft_value(soft, hypers.temperature)
        return targets.td_target(batch.reward + bonus, batch.discount, value)[..., None], {}
    best = jnp.argmax(legal_values(config, hypers, selector, batch.next_obs), axis=-1)
    next_value = targets.select_action_value(output, best)
    if config.distribution != "c51":
        return distributional.backup(batch.reward, batch.discount, next_value), {}
    atoms, probability = support(config, hypers), jax.nn.softmax(next_value)
    clipped = distributional.clipped_mass(
        distributional.backup(batch.reward, batch.discount, atoms), probability, atoms
    )
    target = distributional.categorical_target(batch.reward, batch.discount, probability, atoms)
    return target, {"clipped_targets": jnp.mean(clipped)}


def regression_loss(
    config: DQNConfig, hypers: DQNHypers, predicted: jax.Array, level: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Loss of each sample and its priority, ``[M]``: squared or Huber, cross-entropy of C51, or quantile Huber.

    Args:
        config: sizes and choices.
        hypers: numbers.
        predicted: ``[M, N]``, of the action that was taken.
        level: of quantiles, ``[N]`` or ``[M, N]``.
        target: ``[M, N]``.
    """
    if config.distribution == "mean":
        error = (target - predicted)[..., 0]
        huber = config.loss == "huber"
        return optax.huber_loss(error, delta=hypers.huber_delta) if huber else optax.l2_loss(error), jnp.abs(error)
    if config.distribution == "c51":
        each = optax.softmax_cross_entropy(predicted, target)
    else:
        each = distributional.quantile_huber_loss(predicted, level, target, hypers.huber_delta)
    return each, each


def loss(
    net: QNetwork,
    config: DQNConfig,
    params: PyTree,
    hypers: DQNHypers,
    target_params: PyTree,
    batch: NStepTransition,
    weight: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Metrics]]:
    """DQN's loss: ``E[w loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b))]``.

    Args:
        net: the network.
        config: sizes and choices.
        params: of the online network.
        hypers: numbers.
        target_params: of the target network.
        batch: ``[M]`` n-step transitions.
        weight: ``[M]``.
        key: of the noise and of the quantile levels.

    Returns:
        The loss ``[]``; action values ``[M, A]``, priorities ``[M]`` and metrics.
    """
    now_key, next_key = jax.random.split(key)
    output, level = forward(net, config, params, batch.obs, now_key)
    predicted = targets.select_action_value(output, batch.action)  # [M, N]
    target, metrics = bellman_target(net, config, params, hypers, target_params, batch, next_key)
    each, priority = regression_loss(config, hypers, predicted, level, jax.lax.stop_gradient(target))
    total = jnp.mean(weight * each)
    metrics |= {"loss": total, "q_value": jnp.mean(q_values(config, hypers, predicted))}
    return total, (legal_values(config, hypers, output, batch.obs), priority, metrics)


def learn_from_batch(
    loss: Callable, hypers: DQNHypers, state: PyTree, batch: NStepTransition, weight: jax.Array, key: jax.Array
) -> tuple[PyTree, Any]:
    """One gradient step of a loss ``(params, hypers, target_params, batch, weight, key) -> (loss, aux)``.

    Args:
        loss: such as :func:`loss` of a network and a config.
        hypers: numbers.
        state: with params, target_params and opt_state, whatever else there is.
        batch: ``[M]`` n-step transitions.
        weight: ``[M]``.
        key: of the loss.

    Returns:
        The state afterwards, and ``aux``.
    """
    batch, weight = shard((batch, weight))
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    params, opt_state, aux = gradient_step(
        loss,
        optimizer,
        hypers.learning_rate,
        state.params,
        state.opt_state,
        hypers,
        state.target_params,
        batch,
        weight,
        key,
    )
    return state.replace(params=params, opt_state=opt_state), aux
