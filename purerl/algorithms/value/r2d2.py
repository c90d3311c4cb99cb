"""R2D2: recurrent replay distributed DQN, Q-learning with a memory from sequences (Kapturowski et al. 2019).

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

from purerl import off_policy, optimizers, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.r2d2_config import R2D2Config, R2D2Hypers
from purerl.config_checks import config_or_default
from purerl.data.prioritized import proportional, sequence_priority
from purerl.data.replay import Replay, ReplayConfig, ReplayState, SampleIndices, uniform
from purerl.data.ring import Ring
from purerl.data.transitions import first_steps, sequences
from purerl.envs.base import Environment
from purerl.envs.learnable import num_actions
from purerl.kernels import exploration, returns, targets
from purerl.nets.recurrent import make_memory
from purerl.nets.value import RecurrentQNetwork, make_q_network
from purerl.observation import num_rows
from purerl.recipes import recorded
from purerl.sharding import shard
from purerl.types import Metrics, PyTree, Scalar, Seen, Transition
from purerl.update import gradient_step, replay_update


class R2D2State(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...], whose carry is the memory
    replay: ReplayState  # of transitions whose extras are the memory before the step, where the config stores it
    num_env_steps: jax.Array  # [] int
    target_clock: jax.Array  # [] int, environment steps, as :func:`purerl.target_network.update_target` keeps them


class SequenceBatch(struct.PyTreeNode):
    """Sequences from the replay, L steps each."""

    steps: Transition  # [L, M, ...]
    memory: PyTree  # [M, ...] before the first step: as it was stored, or of a fresh episode


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
        envs, transitions, _ = collect_rollout(
            env, net, params, envs, warmup_key, always, num_steps, config.stored_memory
        )
        return R2D2State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=envs,
            replay=off_policy.fill(replay, transitions, hypers.priority_alpha),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
            target_clock=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def collect(hypers: R2D2Hypers, state: R2D2State, key: jax.Array) -> tuple[R2D2State, Transition, Metrics]:
        epsilon = epsilons(hypers, state.num_env_steps, config.num_envs)
        envs, transitions, metrics = collect_rollout(
            env, net, state.params, state.envs, key, epsilon, config.num_steps, config.stored_memory
        )
        replay_state = replay.with_alpha(state.replay, hypers.priority_alpha)
        return state.replace(envs=envs, replay=replay_state), transitions, metrics

    def act(
        hypers: R2D2Hypers, state: R2D2State, carry: PyTree, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[PyTree, jax.Array]:
        """With ``sample`` agents side by side explore as differently from each other as in training."""
        epsilon = epsilons(hypers, state.num_env_steps, len(seen.obs)) if sample else 0.0
        return epsilon_greedy(net, state.params, carry, seen.obs, epsilon, jax.random.uniform(key, (len(seen.obs),)))

    update = replay_update(
        collect,
        replay.add,
        functools.partial(learn, net, config, replay),
        functools.partial(off_policy.finish_update, config),
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
    """The recurrent action-value network that a config means, or a ``ValueError`` as of :func:`r2d2`."""
    net = make_q_network(
        env.observation_space,
        num_actions(env, "R2D2"),
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        dueling=config.dueling,
        memory=make_memory(config.memory, config.memory_size, config.memory_window),
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


def initial_memory(net: RecurrentQNetwork) -> PyTree:
    """The memory at the start of one episode, leaves without an axis of environments."""
    return jax.tree.map(lambda x: x[0], net.memory.start(1))


def epsilons(hypers: R2D2Hypers, num_env_steps: jax.Array, number: int) -> jax.Array:
    """Shares of uniform actions of so many environments side by side, ``[number]``: one explores more than the next."""
    start, end = hypers.epsilon_start, hypers.epsilon_end
    largest = exploration.linear_decay(start, end, num_env_steps, hypers.exploration_steps)
    return exploration.spread(largest, hypers.epsilon_spread, number)


def epsilon_greedy(
    net: RecurrentQNetwork, params: PyTree, memory: PyTree, obs: jax.Array, epsilon: Scalar, uniform: jax.Array
) -> tuple[PyTree, jax.Array]:
    """The memory after an observation, and the epsilon-greedy action; resets are the caller's.

    Args:
        net, params: the network.
        memory: before the observation, leaves ``[B, ...]``.
        obs: ``[B, ...]``.
        epsilon: share of uniform actions, ``[B]`` or one for all; with 0 the action is greedy.
        uniform: random numbers that choose the actions, ``[B]`` in [0, 1).

    Returns:
        The memory ``[B, ...]``, and actions ``[B]``.
    """
    steps = jax.tree.map(lambda x: x[None], obs)
    memory, output = net.apply(params, memory, steps, jnp.zeros((1, num_rows(obs)), bool))
    probability = exploration.epsilon_greedy(output[0, ..., 0], jnp.broadcast_to(epsilon, (num_rows(obs),))[:, None])
    return memory, exploration.sample(probability, uniform)


def collect_rollout(
    env: Environment,
    net: RecurrentQNetwork,
    params: PyTree,
    envs: rollout.Envs,
    key: jax.Array,
    epsilon: jax.Array,
    num_steps: int,
    stored_memory: bool = True,
) -> tuple[rollout.Envs, Transition, Metrics]:
    """Collect transitions ``[T, B]`` without ``info``, epsilon-greedy; extras are the memory before, or nothing."""
    uniform_key, env_key = jax.random.split(key)
    uniform = jax.random.uniform(uniform_key, (num_steps, len(epsilon)))

    def choose(memory: PyTree, obs: jax.Array, uniform: jax.Array) -> tuple[PyTree, jax.Array, PyTree]:
        return *epsilon_greedy(net, params, memory, obs, epsilon, uniform), memory if stored_memory else ()

    return off_policy.play(env, choose, envs, uniform, env_key, num_steps, initial_memory(net))


def read_sequences(net: RecurrentQNetwork, config: R2D2Config, ring: Ring, indices: SampleIndices) -> SequenceBatch:
    """The sequences that start at sample indices, and the memory that they begin with."""
    steps = sequences(ring, indices, config.length, lambda step: step.replace(extras=()))
    if config.stored_memory:
        memory = first_steps(ring, indices, lambda step: step.extras)
    else:
        memory = net.memory.start(config.batch_size)
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
        read_sequences(net, config, state.replay.ring, indices),
        shard(indices.weight),
    )
    replay_state = replay.update_priorities(state.replay, indices, priority + hypers.priority_epsilon)
    return state.replace(params=params, opt_state=opt_state, replay=replay_state), metrics
