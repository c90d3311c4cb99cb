"""R2D2: recurrent replay distributed DQN, Q-learning with an LSTM from sequences (Kapturowski et al. 2019).

One update: collect ``num_steps`` steps in ``num_envs`` environments, add them to the replay with the memory before
each, then take ``num_gradient_steps`` steps on

    minimise  1/2 E[ w (Q(o_t, m_t, a_t) - G_t)^2 ],

    G_t = h(r_t + ... + gamma^{n-1} r_{t+n-1} + gamma^n h^-1(Q_target(o_{t+n}, m'_{t+n}, b))),
    b = argmax_b Q(o_{t+n}, m_{t+n}, b),

over sequences from the replay. Their stored memory is stale, so each network first reads ``burn_in`` steps to find a
memory of its own (m, the target network m'), and learns from those after them. h brings returns near each other.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.dqn_loss import finish_update
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.data.prioritized import proportional, sequence_priority
from purerl.data.replay import Replay, ReplayConfig, ReplayState, SampleIndices, uniform
from purerl.data.ring import Ring
from purerl.data.transitions import first_steps, sequences
from purerl.envs.base import Environment, num_actions
from purerl.kernels import exploration, returns, targets
from purerl.nets.recurrent import LSTMState
from purerl.nets.torsos import Activation, Torso
from purerl.nets.value import Dueling, RecurrentQNetwork, make_q_network
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.sharding import shard
from purerl.target_network import TargetUpdate
from purerl.types import Metrics, PyTree, Scalar, Seen, Transition
from purerl.update import gradient_step, replay_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class R2D2Config:
    """What fixes a shape, a loop length or a branch of R2D2. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    num_envs: int = 8
    """Environments stepped side by side, B."""
    num_steps: int = 8
    """Steps of each environment per update."""
    num_gradient_steps: int = 4
    """Gradient steps per update."""
    batch_size: int = 32
    """Sequences per gradient step, M."""
    sequence_length: int = 16
    """Steps of a sequence that are learnt from, T; 80 in the paper."""
    burn_in: int = setting(8, low=0)
    """Steps before them that are only read; 40 in the paper."""
    overlap: int = setting(8, low=0)
    """Steps learnt from in one sequence and in the next as well, less than sequence_length; 40 in the paper."""
    replay_capacity: int = 32_768
    """Steps in the replay, of all environments together; a multiple of num_envs * (sequence_length - overlap)."""
    num_warmup_steps: int = 1_024
    """Steps with uniform actions, of all together, before the first update: a multiple of num_envs, and a sequence."""
    n_step: int = 3
    """Rewards of a target before the value of a later state; 5 in the paper."""
    rescale: bool = True
    """Learn values on the scale of h, which is near a square root far from 0, and not as they are."""
    dueling: Dueling = "mean"
    """A value and advantages in the place of action values, and what of the advantages is 0."""
    prioritized: bool = True
    """Sample sequences in proportion to their last errors, to the power priority_alpha."""
    target_update: TargetUpdate = "hard"
    """Copy the parameters to the target network now and then, or move it a little with every update."""
    torso: Torso = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers, of which the last one comes after the memory."""
    memory_size: int = 64
    """Cells of the memory, an LSTM."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""

    def __post_init__(self) -> None:
        check_config(self)
        if self.overlap >= self.sequence_length:
            raise ValueError(
                f"R2D2Config.overlap = {self.overlap} must be less than sequence_length = {self.sequence_length}."
            )
        check_multiples(self, "num_envs", self.num_envs, "num_warmup_steps")
        if self.num_warmup_steps < self.num_envs * self.length:
            raise ValueError(
                f"R2D2Config.num_warmup_steps = {self.num_warmup_steps} must hold a sequence of burn_in + "
                f"sequence_length = {self.length} steps of each environment: at least {self.num_envs * self.length} "
                "are needed."
            )
        period = self.sequence_length - self.overlap
        check_multiples(self, "num_envs * (sequence_length - overlap)", self.num_envs * period, "replay_capacity")
        drawable = -(-self.batch_size // self.num_envs) * period
        rows = self.length - 1 + max(self.num_steps, self.num_warmup_steps // self.num_envs, drawable)
        needed = -(-rows // period) * self.num_envs * period
        if self.replay_capacity < needed:
            raise ValueError(
                f"R2D2Config.replay_capacity = {self.replay_capacity} must hold the warm-up, an update's steps and a "
                f"batch of sequences: at least {needed} are needed."
            )

    @property
    def length(self) -> int:
        """Steps of a sequence altogether, L."""
        return self.burn_in + self.sequence_length


class R2D2Hypers(struct.PyTreeNode):
    """Every other number of R2D2: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(5e-4, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount; 0.997 in the paper."""
    epsilon_start: float = hyper(1.0, low=0, high=1)
    """Share of uniform actions of the environment that explores most, at the start."""
    epsilon_end: float = hyper(0.4, low=0, high=1)
    """The same from exploration_steps on."""
    exploration_steps: float = hyper(20_000.0, above=0, infinite=True)
    """Environment steps over which the share falls in a straight line."""
    epsilon_spread: float = hyper(7.0, low=0)
    """Environment i explores with that share to the power 1 + i / (num_envs - 1) of this; 0 for all alike."""
    target_update_every: float = hyper(1_000.0, above=0, infinite=True)
    """Environment steps between two copies of the parameters to the target network; hard updates only."""
    tau: float = hyper(0.005, low=0, high=1)
    """By how much an update moves the target network's parameters; Polyak updates only."""
    rescale_epsilon: float = hyper(1e-3, low=0)
    """Slope that is left of h far from 0; where values are rescaled."""
    priority_eta: float = hyper(0.9, low=0, high=1)
    """Share of the largest error of a sequence in its priority; the mean has the rest."""
    priority_alpha: float = hyper(0.9, low=0)
    """Power of the priority that a sequence is sampled in proportion to, at the time when that is computed; 0 samples
    uniformly."""
    priority_epsilon: float = hyper(1e-6, above=0)
    """Added to every priority, so that none is 0."""
    priority_beta: float = hyper(0.6, low=0, high=1)
    """Share of the correction for it."""
    max_grad_norm: float = hyper(40.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-3, above=0)
    """Adam's denominator constant."""


class R2D2State(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...], whose carry is the memory
    replay: ReplayState  # of transitions whose extras are the memory before the step
    num_env_steps: jax.Array  # [] int
    target_clock: jax.Array  # [] int, environment steps, as :func:`purerl.target_network.update_target` keeps them


class SequenceBatch(struct.PyTreeNode):
    """Sequences from the replay, L steps each."""

    steps: Transition  # [L, M, ...]
    memory: LSTMState  # [M, size] each, stored before the first step


@recorded
def r2d2(env: Environment, config: R2D2Config | None = None) -> Algorithm:
    """R2D2 for discrete actions. ``init`` fills the replay by uniform actions.

    Args:
        env: observations an array, which need not tell the state; actions :class:`~purerl.spaces.Discrete`.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config_or_default(config, R2D2Config)
    net, replay = make_network(env, config), make_replay(config)

    def init(hypers: R2D2Hypers, key: jax.Array) -> R2D2State:
        params_key, env_key, warmup_key = jax.random.split(key, 3)
        envs = rollout.reset(env, env_key, config.num_envs, initial_memory(net))
        params = net.init(params_key, envs.carry, envs.obs[None], jnp.zeros((1, config.num_envs), bool))
        always, num_steps = jnp.ones(config.num_envs), config.num_warmup_steps // config.num_envs
        envs, transitions, _ = collect_rollout(env, net, params, envs, warmup_key, always, num_steps)
        empty = replay.init(jax.tree.map(lambda x: x[0, 0], transitions), hypers.priority_alpha)
        return R2D2State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=envs,
            replay=replay.add(empty, transitions),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
            target_clock=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def collect(hypers: R2D2Hypers, state: R2D2State, key: jax.Array) -> tuple[R2D2State, Transition, Metrics]:
        epsilon = epsilons(hypers, state.num_env_steps, config.num_envs)
        envs, transitions, metrics = collect_rollout(env, net, state.params, state.envs, key, epsilon, config.num_steps)
        replay_state = replay.with_alpha(state.replay, hypers.priority_alpha)
        return state.replace(envs=envs, replay=replay_state), transitions, metrics

    def act(
        hypers: R2D2Hypers, state: R2D2State, carry: LSTMState, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[LSTMState, jax.Array]:
        """With ``sample`` agents side by side explore as differently from each other as in training."""
        epsilon = epsilons(hypers, state.num_env_steps, len(seen.obs)) if sample else 0.0
        return epsilon_greedy(net, state.params, carry, seen.obs, epsilon, jax.random.uniform(key, (len(seen.obs),)))

    update = replay_update(
        collect,
        replay.add,
        functools.partial(learn, net, config, replay),
        functools.partial(finish_update, config),
        config.num_gradient_steps,
    )
    start = functools.partial(initial_memory, net)
    spec = Spec(
        "r2d2",
        config.num_envs * config.num_steps,
        rollout.evaluation(env, start, act),
        settings={"env": env.name, **dataclasses.asdict(config)},
        hypers_class=R2D2Hypers,
        env_steps_of_init=config.num_warmup_steps,
    )
    return Algorithm(init, update, start, act, spec)


def make_network(env: Environment, config: R2D2Config) -> RecurrentQNetwork:
    """The recurrent action-value network that a config means.

    Raises:
        ValueError: if actions are not discrete.
    """
    net = make_q_network(
        tuple(env.observation_space.shape),
        num_actions(env, "R2D2"),
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        dueling=config.dueling,
        memory_size=config.memory_size,
    )
    assert isinstance(net, RecurrentQNetwork)
    return net


def make_replay(config: R2D2Config) -> Replay:
    """The replay of sequences that a config means."""
    sizes = ReplayConfig(
        capacity=config.replay_capacity,
        num_envs=config.num_envs,
        batch_size=config.batch_size,
        length=config.length,
        period=config.sequence_length - config.overlap,
    )
    return proportional(sizes) if config.prioritized else uniform(sizes)


def initial_memory(net: RecurrentQNetwork) -> LSTMState:
    """The memory at the start of one episode, ``[size]`` each."""
    return jax.tree.map(lambda x: x[0], net.memory.start(1))


def epsilons(hypers: R2D2Hypers, num_env_steps: jax.Array, number: int) -> jax.Array:
    """Shares of uniform actions of so many environments side by side, ``[number]``: one explores more than the next."""
    start, end = hypers.epsilon_start, hypers.epsilon_end
    largest = exploration.linear_decay(start, end, num_env_steps, hypers.exploration_steps)
    return exploration.spread(largest, hypers.epsilon_spread, number)


def epsilon_greedy(
    net: RecurrentQNetwork, params: PyTree, memory: LSTMState, obs: jax.Array, epsilon: Scalar, uniform: jax.Array
) -> tuple[LSTMState, jax.Array]:
    """The memory after an observation, and the epsilon-greedy action; resets are the caller's.

    Args:
        net, params: the network.
        memory: before the observation, ``[B, size]`` each.
        obs: ``[B, ...]``.
        epsilon: share of uniform actions, ``[B]`` or one for all; with 0 the action is greedy.
        uniform: random numbers that choose the actions, ``[B]`` in [0, 1).

    Returns:
        The memory ``[B, size]`` each, and actions ``[B]``.
    """
    memory, output = net.apply(params, memory, obs[None], jnp.zeros((1, len(obs)), bool))
    probability = exploration.epsilon_greedy(output[0, ..., 0], jnp.broadcast_to(epsilon, (len(obs),))[:, None])
    return memory, exploration.sample(probability, uniform)


def collect_rollout(
    env: Environment,
    net: RecurrentQNetwork,
    params: PyTree,
    envs: rollout.Envs,
    key: jax.Array,
    epsilon: jax.Array,
    num_steps: int,
) -> tuple[rollout.Envs, Transition, Metrics]:
    """Collect transitions ``[T, B]`` without ``info``, epsilon-greedy, whose extras are the memory before the step."""
    uniform_key, env_key = jax.random.split(key)
    uniform = jax.random.uniform(uniform_key, (num_steps, len(epsilon)))

    def policy(memory: LSTMState, seen: Seen, uniform: jax.Array) -> tuple[LSTMState, jax.Array, LSTMState]:
        return *epsilon_greedy(net, params, memory, seen.obs, epsilon, uniform), memory

    envs, transitions, metrics = rollout.rollout(env, policy, envs, env_key, uniform, num_steps, initial_memory(net))
    return envs, transitions.replace(info={}), metrics


def read_sequences(config: R2D2Config, ring: Ring, indices: SampleIndices) -> SequenceBatch:
    """The sequences that start at sample indices, and the memory stored with their first step."""
    steps = sequences(ring, indices, config.length, lambda step: step.replace(extras=()))
    memory = first_steps(ring, indices, lambda step: step.extras)
    return SequenceBatch(steps=shard(steps, axis=1), memory=shard(memory))


def scale(config: R2D2Config, hypers: R2D2Hypers, value: jax.Array) -> jax.Array:
    """Values on the scale that the network learns, ``h(x)``."""
    return targets.rescale(value, hypers.rescale_epsilon) if config.rescale else value


def unscale(config: R2D2Config, hypers: R2D2Hypers, value: jax.Array) -> jax.Array:
    """Values in units of the return, ``h^-1(x)``."""
    return targets.rescale_inverse(value, hypers.rescale_epsilon) if config.rescale else value


def sequence_values(
    net: RecurrentQNetwork, config: R2D2Config, params: PyTree, batch: SequenceBatch
) -> tuple[jax.Array, jax.Array]:
    """Scaled action values of each observation after the burn-in, and of its next observation, ``[T, M, A]`` each.

    No gradient reaches the burn-in: all that it does is to find the memory after it.
    """
    ended = batch.steps.terminated | batch.steps.truncated
    start = jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])  # a stored memory knows of its own start
    memory, obs, first = batch.memory, batch.steps.obs, config.burn_in
    if first:
        memory, _ = net.apply(params, memory, obs[:first], start[:first])
    memory = jax.lax.stop_gradient(memory)
    now, following = net.apply(
        params, memory, obs[first:], start[first:], batch.steps.next_obs[first:], method="with_next"
    )
    return now[..., 0], following[..., 0]


def loss(
    net: RecurrentQNetwork,
    config: R2D2Config,
    params: PyTree,
    hypers: R2D2Hypers,
    target_params: PyTree,
    batch: SequenceBatch,
    weight: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, Metrics]]:
    """R2D2's loss: squared error of n-step Double DQN targets on the scale of h, after the burn-in.

    ``1/2 E[w (Q(o_t, a_t) - h(sum_k gamma^k r_{t+k} + gamma^n h^-1(Q'(o_{t+n}, argmax_b Q(o_{t+n}, b)))))^2]``

    With weights ``[M]`` of sequences. Returns the loss ``[]``; priorities ``[M]`` and metrics.

    Source: Kapturowski et al. 2019, section 2.3.
    """
    steps = jax.tree.map(lambda x: x[config.burn_in :], batch.steps)
    q, selector = sequence_values(net, config, params, batch)
    _, following = sequence_values(net, config, target_params, batch)
    next_value = unscale(config, hypers, targets.double_value(following, selector))
    target = returns.n_step_returns(
        steps.reward, next_value, steps.terminated, steps.truncated, hypers.gamma, config.n_step
    )
    predicted = targets.select_action_value(q, steps.action)
    error = jax.lax.stop_gradient(scale(config, hypers, target)) - predicted  # [T, M]
    total = jnp.mean(weight * optax.l2_loss(error))
    metrics = {"loss": total, "q_value": jnp.mean(unscale(config, hypers, predicted))}
    return total, (sequence_priority(error, hypers.priority_eta), metrics)


def learn(
    net: RecurrentQNetwork, config: R2D2Config, replay: Replay, hypers: R2D2Hypers, state: R2D2State, key: jax.Array
) -> tuple[R2D2State, Metrics]:
    """One gradient step on sequences from the replay, which gets their new priorities."""
    indices = replay.sample(state.replay, key, hypers.priority_beta)
    params, opt_state, (priority, metrics) = gradient_step(
        functools.partial(loss, net, config),
        optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon),
        hypers.learning_rate,
        state.params,
        state.opt_state,
        hypers,
        state.target_params,
        read_sequences(config, state.replay.ring, indices),
        shard(indices.weight),
    )
    replay_state = replay.update_priorities(state.replay, indices, priority + hypers.priority_epsilon)
    return state.replace(params=params, opt_state=opt_state, replay=replay_state), metrics
