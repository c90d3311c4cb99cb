"""Deep Q-learning and what was added to it, up to Rainbow (Mnih et al. 2015; Hessel et al. 2018, arXiv 1710.02298).

One update: play ``num_steps`` steps in ``num_envs`` environments, put them into the replay, then take
``num_gradient_steps`` steps on

    minimise  E[ w loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b)) ],

where s, a, the k rewards summed up in r, and s_k come from the replay. The choices of the config change one part each:
which action is the best of the next (``double``), how values are put together (``dueling``), which windows are drawn
and how they weigh (``prioritized``), how long they are (``n_step``), who explores (``noisy``), and what a value is:
a mean, or a law of which the mean is one number (``law``).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import learning, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.data.prioritized import proportional
from purerl.data.replay import ReplayConfig, ReplayState, uniform
from purerl.data.transitions import NStepTransition, n_step_transitions
from purerl.envs.base import Environment
from purerl.kernels import distributional, exploration, targets
from purerl.nets.torsos import ACTIVATIONS
from purerl.nets.value import DUELING, make_q_network
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree, Transition


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
    """Windows per gradient step, M."""
    replay_capacity: int = 16_384
    """Steps that are remembered, of all environments together; a multiple of num_envs."""
    num_warmup_steps: int = 1_024
    """Steps with uniform actions, of all environments together, before the first update; a multiple of num_envs."""
    target: Literal["max", "double", "munchausen"] = "max"
    """Value of what comes next: of the target network's best action; of the action that the online network thinks best;
    or of the soft policy, with a share of the action's log-probability on top of the reward (soft Q-learning where
    that share is 0)."""
    law: Literal["mean", "c51", "quantile", "implicit"] = "mean"
    """What a value is: a mean, probabilities of fixed atoms (C51), quantiles at fixed levels (QR-DQN), or at levels
    that are drawn (IQN)."""
    num_atoms: int = 51
    """Atoms or quantiles of a law; levels drawn per pass where it is implicit."""
    dueling: Literal["none", "mean", "max"] = "none"
    """A value and advantages in the place of action values, and what of the advantages is 0."""
    noisy: bool = False
    """Explore by learnt noise on the last layers' weights, and not by epsilon."""
    prioritized: bool = False
    """Draw windows in proportion to their last loss, to the power priority_alpha: the absolute error of a mean, and of
    C51 the cross-entropy, from which Hessel et al. take away the entropy of the target."""
    n_step: int = 1
    """Rewards before the value of what comes next."""
    loss: Literal["huber", "squared"] = "huber"
    """Of the error of a mean. Where targets are random, the Huber loss has another minimum than their mean."""
    target_update: Literal["hard", "polyak"] = "hard"
    """Copy the parameters to the target network now and then, or move it a little with every update."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (120, 84)
    """Sizes of the hidden dense layers."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "relu"
    """Nonlinearity between layers."""
    noise_scale: float = 0.5
    """Deviation of noisy weights at first, times the square root of a layer's inputs."""

    def __post_init__(self) -> None:
        learning.check_positive(
            self, "num_envs", "num_steps", "num_gradient_steps", "batch_size", "n_step", "num_atoms"
        )
        learning.check_multiples(self, "num_envs", self.num_envs, "replay_capacity", "num_warmup_steps")
        rows = max(self.num_steps, self.num_warmup_steps // self.num_envs, -(-self.batch_size // self.num_envs))
        needed = rows * self.num_envs
        if self.replay_capacity < needed:
            raise ValueError(
                f"DQNConfig.replay_capacity = {self.replay_capacity} must hold the warm-up, an update's steps and a "
                f"batch: at least {needed} are needed."
            )
        learning.check_choices(self, _CHOICES)
        if self.law == "c51" and self.num_atoms < 2:
            raise ValueError(f"DQNConfig.num_atoms = {self.num_atoms}: C51 needs at least 2.")
        if self.law != "mean" and self.target == "munchausen":
            raise ValueError(f'DQNConfig.target = "munchausen" needs law = "mean", but law = {self.law!r}.')
        if self.n_step > 1 and self.target == "munchausen":
            raise ValueError(
                f'DQNConfig.target = "munchausen" needs n_step = 1, but n_step = {self.n_step}: later rewards would '
                "have no bonus."
            )


_CHOICES = {
    "target": ("max", "double", "munchausen"),
    "law": ("mean", "c51", "quantile", "implicit"),
    "dueling": DUELING,
    "loss": ("huber", "squared"),
    "target_update": ("hard", "polyak"),
    "torso": ("mlp", "cnn"),
    "activation": tuple(ACTIVATIONS),
}


class DQNHypers(struct.PyTreeNode):
    """Every other number of DQN: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = 5e-4
    """Adam's step size, > 0."""
    gamma: float = 0.99
    """Discount, in [0, 1]."""
    epsilon_start: float = 1.0
    """Share of uniform actions at the start, in [0, 1]; not used by noisy networks."""
    epsilon_end: float = 0.05
    """Share of uniform actions from exploration_steps on, in [0, 1]."""
    exploration_steps: float = 20_000.0
    """Environment steps over which the share falls in a straight line."""
    target_update_every: float = 500.0
    """Environment steps between two copies of the parameters to the target network; hard updates only."""
    polyak: float = 0.005
    """By how much an update moves the target network's parameters, in [0, 1]; Polyak updates only."""
    huber_delta: float = 1.0
    """Errors up to which a loss is squared, in units of the return, > 0; of means and quantiles."""
    lowest: float = 0.0
    """Smallest atom, in units of the return; C51 only."""
    highest: float = 100.0
    """Largest atom; C51 only."""
    munchausen_share: float = 0.9
    """Of the action's log-probability in the reward, in [0, 1]; 0 is soft Q-learning."""
    temperature: float = 0.03
    """Of the soft policy, in units of the return, > 0."""
    priority_alpha: float = 0.5
    """Power of the loss that a window is drawn in proportion to; 0 draws uniformly."""
    priority_epsilon: float = 1e-6
    """Added to every priority, so that none is 0."""
    priority_beta_start: float = 0.4
    """Share of the correction for it at the start, in [0, 1]."""
    priority_beta_steps: float = 100_000.0
    """Environment steps over which that share rises to 1."""
    max_grad_norm: float = 10.0
    """Gradients longer than this (global norm) are scaled down to it, > 0."""
    adam_epsilon: float = 1e-8
    """Adam's denominator constant, > 0."""
    cql_weight: float = 0.0
    """By how much actions that are not in the data are pushed down, at least 0; only where all is learnt from data."""


class DQNState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState
    num_env_steps: jax.Array  # [] int


State = Any  # a record with params, target_params, opt_state and num_env_steps, whatever else there is


class Learner(NamedTuple):
    """What learns action values from windows, whoever plays, keeps and draws them.

    Attributes:
        init: ``(hypers, key, obs [B, ...]) -> (params, opt_state)``.
        values: ``(hypers, params, obs, key) -> [..., A]``; with None in the place of a key there is no noise.
        step: ``(hypers, state, window [M], weight [M], key) -> (state, priority [M], metrics)``, one gradient step.
        advance: ``(hypers, state) -> state``, after the gradient steps of an update: the count, and the target network.
    """

    init: Callable
    values: Callable
    step: Callable
    advance: Callable


def make_learner(env: Environment, config: DQNConfig, conservative: bool = False) -> Learner:
    """The network and the loss that a config means.

    Args:
        env: observations an array; actions :class:`Discrete`.
        config: sizes and choices.
        conservative: add ``cql_weight`` times :func:`purerl.kernels.targets.conservative_penalty` to the loss.

    Raises:
        ValueError: if actions are not discrete.
    """
    if not isinstance(env.action_space, Discrete):
        raise ValueError(f"{env.name}: DQN needs Discrete actions, but the action space is {env.action_space}.")
    implicit = config.law == "implicit"
    net = make_q_network(
        tuple(env.observation_space.shape),
        env.action_space.n,
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        num_atoms=config.num_atoms if config.law in ("c51", "quantile") else 1,
        num_cosines=64 if implicit else 0,
        dueling=config.dueling,
        noisy=config.noisy,
        noise_scale=config.noise_scale,
    )

    def init(hypers: DQNHypers, key: jax.Array, obs: jax.Array) -> tuple[PyTree, optax.OptState]:
        params = net.init(key, obs, *([jnp.zeros((len(obs), 1))] if implicit else []))
        return params, learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon).init(params)

    def forward(params: PyTree, obs: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """The network's output ``[M, A, N]``, and the levels that it stands for where it is one of quantiles.

        Without a key there is no noise, and levels are in the middles of equal intervals.
        """
        noise_key, level_key = (None, None) if key is None else jax.random.split(key)
        rngs = {"noise": noise_key} if config.noisy and key is not None else {}
        level = distributional.midpoints(config.num_atoms)
        if not implicit:
            return net.apply(params, obs, rngs=rngs), level
        shape = (*obs.shape[: obs.ndim - len(env.observation_space.shape)], config.num_atoms)
        level = jnp.broadcast_to(level, shape) if level_key is None else jax.random.uniform(level_key, shape)
        return net.apply(params, obs, level, rngs=rngs), level

    def atoms(hypers: DQNHypers) -> jax.Array:
        return distributional.support(hypers.lowest, hypers.highest, config.num_atoms)

    def q_values(hypers: DQNHypers, output: jax.Array) -> jax.Array:
        return distributional.q_values(output, atoms(hypers) if config.law == "c51" else None)

    def values(hypers: DQNHypers, params: PyTree, obs: jax.Array, key: jax.Array | None) -> jax.Array:
        return q_values(hypers, forward(params, obs, key)[0])

    def bellman(
        hypers: DQNHypers, params: PyTree, target_params: PyTree, window: NStepTransition, key: jax.Array
    ) -> jax.Array:
        """One step back from what comes next, ``[M, N]``: a mean, quantiles, or probabilities of the atoms."""
        next_key, choice_key, now_key = jax.random.split(key, 3)
        output, _ = forward(target_params, window.next_obs, next_key)
        if config.target == "munchausen":
            now, _ = forward(target_params, window.obs, now_key)
            bonus = targets.munchausen_bonus(now[..., 0], window.action, hypers.temperature, hypers.munchausen_share)
            value = targets.soft_value(output[..., 0], hypers.temperature)
            return targets.td_target(window.reward + bonus, window.discount, value)[..., None]
        judge = forward(params, window.next_obs, choice_key)[0] if config.target == "double" else output
        following = targets.select_action_value(output, jnp.argmax(q_values(hypers, judge), axis=-1))
        if config.law == "c51":
            probability = jax.nn.softmax(following)
            return distributional.categorical_target(window.reward, window.discount, probability, atoms(hypers))
        return distributional.backup(window.reward, window.discount, following)

    def loss(
        params: PyTree,
        hypers: DQNHypers,
        target_params: PyTree,
        window: NStepTransition,
        weight: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, Metrics]]:
        """With it the windows' priorities ``[M]``."""
        now_key, next_key = jax.random.split(key)
        output, level = forward(params, window.obs, now_key)
        predicted = targets.select_action_value(output, window.action)  # [M, N]
        target = jax.lax.stop_gradient(bellman(hypers, params, target_params, window, next_key))
        if config.law == "mean":
            error = (target - predicted)[..., 0]
            each = optax.huber_loss(error, delta=hypers.huber_delta) if config.loss == "huber" else optax.l2_loss(error)
            priority = jnp.abs(error)
        elif config.law == "c51":
            each = priority = optax.softmax_cross_entropy(predicted, target)
        else:
            each = priority = distributional.quantile_huber_loss(predicted, level, target, hypers.huber_delta)
        loss = jnp.mean(weight * each)
        metrics = {"loss": loss, "q_value": jnp.mean(q_values(hypers, predicted))}
        if conservative:
            penalty = jnp.mean(weight * targets.conservative_penalty(q_values(hypers, output), window.action))
            loss, metrics = loss + hypers.cql_weight * penalty, metrics | {"conservative_penalty": penalty}
        return loss, (priority, metrics)

    def step(
        hypers: DQNHypers, state: State, window: NStepTransition, weight: jax.Array, key: jax.Array
    ) -> tuple[State, jax.Array, Metrics]:
        window, weight = rollout.split((window, weight))
        grads, (priority, metrics) = jax.grad(loss, has_aux=True)(
            state.params, hypers, state.target_params, window, weight, key
        )
        optimizer = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon)
        params, opt_state = learning.descend(optimizer, hypers.learning_rate, grads, state.params, state.opt_state)
        return state.replace(params=params, opt_state=opt_state), priority, metrics

    def advance(hypers: DQNHypers, state: State) -> State:
        now = state.num_env_steps + config.num_envs * config.num_steps
        target_params = learning.moved_target(
            state.target_params,
            state.params,
            config.target_update,
            before=state.num_env_steps,
            now=now,
            every=hypers.target_update_every,
            share=hypers.polyak,
        )
        return state.replace(target_params=target_params, num_env_steps=now)

    return Learner(init, values, step, advance)


def dqn(env: Environment, config: DQNConfig | None = None) -> Algorithm:
    """DQN and its variants for discrete actions.

    ``init`` plays the warm-up, so that every update finds enough to learn from, and none has to ask.

    Args:
        env: observations an array; actions :class:`Discrete`.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config or DQNConfig()
    learner = make_learner(env, config)
    assert isinstance(env.action_space, Discrete)  # or there would be no learner
    num_actions = env.action_space.n
    sizes = ReplayConfig(capacity=config.replay_capacity, num_envs=config.num_envs, batch_size=config.batch_size)
    memory = proportional(sizes) if config.prioritized else uniform(sizes)

    def policy(
        hypers: DQNHypers, params: PyTree, obs: jax.Array, num_env_steps: jax.Array, key: jax.Array
    ) -> jax.Array:
        """How the agent that learns behaves, ``[..., A]``."""
        value = learner.values(hypers, params, obs, key if config.noisy else None)
        if config.noisy:
            return exploration.greedy(value)
        epsilon = exploration.linear_decay(
            hypers.epsilon_start, hypers.epsilon_end, num_env_steps, hypers.exploration_steps
        )
        return exploration.epsilon_greedy(value, epsilon)

    def play(
        envs: rollout.Envs, key: jax.Array, act: Callable, num_steps: int
    ) -> tuple[rollout.Envs, Transition, Metrics]:
        """``act: (obs, uniform [B], key) -> action``; what is remembered of it has axes ``[T, B]``."""
        uniform_key, noise_key, env_key = jax.random.split(key, 3)
        inputs = (
            jax.random.uniform(uniform_key, (num_steps, config.num_envs)),
            jax.random.split(noise_key, num_steps),
        )
        envs, played, metrics = rollout.rollout(
            env, lambda obs, chance: act(obs, *chance), envs, env_key, inputs, num_steps
        )
        return envs, played.replace(info={}), metrics

    def init(hypers: DQNHypers, key: jax.Array) -> DQNState:
        params_key, env_key, play_key = jax.random.split(key, 3)
        envs = rollout.reset(env, env_key, config.num_envs)
        params, opt_state = learner.init(hypers, params_key, envs.obs)

        def anything(obs: jax.Array, uniform: jax.Array, key: jax.Array) -> jax.Array:
            return (uniform * num_actions).astype(jnp.int32)

        envs, steps, _ = play(envs, play_key, anything, config.num_warmup_steps // config.num_envs)
        replay = memory.init(jax.tree.map(lambda x: x[0, 0], steps), hypers.priority_alpha)
        return DQNState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=opt_state,
            envs=envs,
            replay=memory.add(replay, steps),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def learn(hypers: DQNHypers, state: DQNState, key: jax.Array) -> tuple[DQNState, Metrics]:
        """One gradient step."""
        sample_key, loss_key = jax.random.split(key)
        beta = exploration.linear_decay(
            hypers.priority_beta_start, 1.0, state.num_env_steps, hypers.priority_beta_steps
        )
        indices = memory.sample(state.replay, sample_key, beta)
        window = n_step_transitions(state.replay.ring, indices, config.n_step, hypers.gamma)
        state, priority, metrics = learner.step(hypers, state, window, indices.weight, loss_key)
        replay = memory.update_priorities(state.replay, indices, priority + hypers.priority_epsilon)
        return state.replace(replay=replay), metrics

    def update(hypers: DQNHypers, state: DQNState, key: jax.Array) -> tuple[DQNState, Metrics]:
        play_key, learn_key = jax.random.split(key)

        def act(obs: jax.Array, uniform: jax.Array, key: jax.Array) -> jax.Array:
            return exploration.sample(policy(hypers, state.params, obs, state.num_env_steps, key), uniform)

        envs, steps, metrics = play(state.envs, play_key, act, config.num_steps)
        state = state.replace(envs=envs, replay=memory.add(state.replay, steps))
        keys = jax.random.split(learn_key, config.num_gradient_steps)
        state, terms = jax.lax.scan(lambda state, key: learn(hypers, state, key), state, keys)
        return learner.advance(hypers, state), jax.tree.map(jnp.mean, terms) | metrics

    def act(hypers: DQNHypers, state: DQNState, obs: jax.Array, key: jax.Array, sample: bool = False) -> jax.Array:
        """The best action without noise, or else a draw of the agent that learns."""
        if not sample:
            return jnp.argmax(learner.values(hypers, state.params, obs, None), axis=-1).astype(jnp.int32)
        noise_key, action_key = jax.random.split(key)
        probability = policy(hypers, state.params, obs, state.num_env_steps, noise_key)
        return exploration.sample(probability, jax.random.uniform(action_key, probability.shape[:-1]))

    evaluate = rollout.evaluation(env, act)
    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec(
        "dqn", config.num_envs * config.num_steps, evaluate, settings, env_steps_of_init=config.num_warmup_steps
    )
    return Algorithm(init, update, act, spec)
