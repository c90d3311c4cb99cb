"""Recurrent replay: Q-learning with a memory, from sequences (Kapturowski et al. 2019, R2D2).

One update: play ``num_steps`` steps in ``num_envs`` environments, put them into the replay with the memory that each
was met with, then take ``num_gradient_steps`` steps on

    minimise  1/2 E[ w (Q(o_t, m_t, a_t) - G_t)^2 ],

    G_t = h(r_t + ... + gamma^{n-1} r_{t+n-1} + gamma^n h^-1(Q_target(o_{t+n}, m'_{t+n}, b))),
    b = argmax_b Q(o_{t+n}, m_{t+n}, b),

over the sequences that the replay draws. What was remembered when a sequence was played is stale: other parameters
wrote it. So each network first reads ``burn_in`` steps to find a memory m of its own, the target network m', and
learns from those behind them. h brings returns of any size near each other.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import learning, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.data.prioritized import proportional
from purerl.data.replay import ReplayConfig, ReplayState, SampleIndices, uniform
from purerl.data.ring import Ring
from purerl.data.transitions import first_steps, sequences
from purerl.envs.base import Environment
from purerl.envs.wrappers import Recalled, carry_memory
from purerl.kernels import exploration, returns, targets
from purerl.nets.recurrent import Carry
from purerl.nets.torsos import ACTIVATIONS
from purerl.nets.value import DUELING, RecurrentQNetwork, make_q_network
from purerl.spaces import Discrete
from purerl.types import Episodes, Metrics, PyTree, Transition


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
    burn_in: int = 8
    """Steps before them that are only read, at least 0; 40 in the paper."""
    overlap: int = 8
    """Steps learnt from in one sequence and in the next as well, less than sequence_length; 40 in the paper."""
    replay_capacity: int = 32_768
    """Steps that are remembered, of all environments together; a multiple of num_envs * (sequence_length - overlap)."""
    num_warmup_steps: int = 1_024
    """Steps with uniform actions, of all environments together, before the first update; a multiple of num_envs, and
    enough for a sequence."""
    n_step: int = 3
    """Rewards before the value of what comes next; 5 in the paper."""
    rescale: bool = True
    """Learn values on the scale of h, which is near a square root far from 0, and not as they are."""
    dueling: Literal["none", "mean", "max"] = "mean"
    """A value and advantages in the place of action values, and what of the advantages is 0."""
    prioritized: bool = True
    """Draw sequences in proportion to their last errors, to the power priority_alpha."""
    target_update: Literal["hard", "polyak"] = "hard"
    """Copy the parameters to the target network now and then, or move it a little with every update."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers, of which the last one comes behind the memory."""
    memory_size: int = 64
    """Cells of the memory, an LSTM."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "relu"
    """Nonlinearity between layers."""

    def __post_init__(self) -> None:
        sizes = ("num_envs", "num_steps", "num_gradient_steps", "batch_size", "sequence_length", "n_step")
        learning.check_positive(self, *sizes, "memory_size")
        learning.check_choices(self, _CHOICES)
        if self.burn_in < 0:
            raise ValueError(f"R2D2Config.burn_in = {self.burn_in}: it must be at least 0, which is none.")
        if not 0 <= self.overlap < self.sequence_length:
            raise ValueError(
                f"R2D2Config.overlap = {self.overlap} must be at least 0 and less than sequence_length = "
                f"{self.sequence_length}."
            )
        learning.check_multiples(self, "num_envs", self.num_envs, "num_warmup_steps")
        if self.num_warmup_steps < self.num_envs * self.length:
            raise ValueError(
                f"R2D2Config.num_warmup_steps = {self.num_warmup_steps} must hold a sequence of burn_in + "
                f"sequence_length = {self.length} steps of each environment: at least {self.num_envs * self.length} "
                "are needed."
            )
        period = self.sequence_length - self.overlap
        unit = self.num_envs * period
        learning.check_multiples(self, "num_envs * (sequence_length - overlap)", unit, "replay_capacity")
        drawable = -(-self.batch_size // self.num_envs) * period
        rows = self.length - 1 + max(self.num_steps, self.num_warmup_steps // self.num_envs, drawable)
        needed = -(-rows // period) * unit
        if self.replay_capacity < needed:
            raise ValueError(
                f"R2D2Config.replay_capacity = {self.replay_capacity} must hold the warm-up, an update's steps and a "
                f"batch of sequences: at least {needed} are needed."
            )

    @property
    def length(self) -> int:
        """Steps of a sequence altogether, L."""
        return self.burn_in + self.sequence_length


_CHOICES = {
    "dueling": DUELING,
    "target_update": ("hard", "polyak"),
    "torso": ("mlp", "cnn"),
    "activation": tuple(ACTIVATIONS),
}


class R2D2Hypers(struct.PyTreeNode):
    """Every other number of R2D2: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = 5e-4
    """Adam's step size, > 0."""
    gamma: float = 0.99
    """Discount, in [0, 1]; 0.997 in the paper."""
    epsilon_start: float = 1.0
    """Share of uniform actions of the environment that explores most, at the start, in [0, 1]."""
    epsilon_end: float = 0.4
    """The same from exploration_steps on, in [0, 1]."""
    exploration_steps: float = 20_000.0
    """Environment steps over which the share falls in a straight line."""
    epsilon_spread: float = 7.0
    """Environment i explores with that share to the power 1 + i / (num_envs - 1) of this; 0 for all alike."""
    target_update_every: float = 1_000.0
    """Environment steps between two copies of the parameters to the target network; hard updates only."""
    polyak: float = 0.005
    """By how much an update moves the target network's parameters, in [0, 1]; Polyak updates only."""
    rescale_epsilon: float = 1e-3
    """Slope that is left of h far from 0, >= 0; where values are rescaled."""
    priority_eta: float = 0.9
    """Share of the largest error of a sequence in its priority, in [0, 1]; the mean has the rest."""
    priority_alpha: float = 0.9
    """Power of the priority that a sequence is drawn in proportion to; 0 draws uniformly."""
    priority_epsilon: float = 1e-6
    """Added to every priority, so that none is 0."""
    priority_beta: float = 0.6
    """Share of the correction for it, in [0, 1]."""
    max_grad_norm: float = 40.0
    """Gradients longer than this (global norm) are scaled down to it, > 0."""
    adam_epsilon: float = 1e-3
    """Adam's denominator constant, > 0."""


class R2D2State(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...], whose observations hold the memories
    replay: ReplayState  # of Remembered
    num_env_steps: jax.Array  # [] int


class Remembered(struct.PyTreeNode):
    """What the replay keeps of a step; drawn, a batch of sequences."""

    step: Transition  # [L, M, ...], info left out
    memory: Carry  # [M, size] each, what the first observation was met with


def sequence_priority(error: jax.Array, eta: jax.Array | float) -> jax.Array:
    """What a sequence is worth: ``eta max_t |delta_t| + (1 - eta) mean_t |delta_t|``.

    The mean alone hides the few steps that matter in the many that do not.

    Args:
        error: ``[T, M]``.
        eta: in [0, 1]; 0.9 in the paper.

    Returns:
        ``[M]``.

    Source: Kapturowski et al. 2019, section 2.3.
    """
    size = jnp.abs(error)
    return eta * jnp.max(size, axis=0) + (1 - eta) * jnp.mean(size, axis=0)


def r2d2(env: Environment, config: R2D2Config | None = None) -> Algorithm:
    """R2D2 for discrete actions.

    ``init`` plays the warm-up. ``act`` takes ``Recalled(obs, memory)`` and returns ``(action, memory)``: what
    :func:`~purerl.envs.wrappers.carry_memory` gives and wants.

    Args:
        env: observations an array, which need not tell the state; actions :class:`Discrete`.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config or R2D2Config()
    if not isinstance(env.action_space, Discrete):
        raise ValueError(f"{env.name}: R2D2 needs Discrete actions, but the action space is {env.action_space}.")
    steps_per_update = config.num_envs * config.num_steps
    net = make_q_network(
        tuple(env.observation_space.shape),
        env.action_space.n,
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        dueling=config.dueling,
        memory_size=config.memory_size,
    )
    assert isinstance(net, RecurrentQNetwork)
    sizes = ReplayConfig(
        capacity=config.replay_capacity,
        num_envs=config.num_envs,
        batch_size=config.batch_size,
        length=config.length,
        period=config.sequence_length - config.overlap,
    )
    replay = proportional(sizes) if config.prioritized else uniform(sizes)
    remembering = carry_memory(env, jax.tree.map(lambda x: x[0], net.memory.start(1)))

    def scaled(hypers: R2D2Hypers, value: jax.Array) -> jax.Array:
        return targets.rescale(value, hypers.rescale_epsilon) if config.rescale else value

    def unscaled(hypers: R2D2Hypers, value: jax.Array) -> jax.Array:
        return targets.rescale_inverse(value, hypers.rescale_epsilon) if config.rescale else value

    def think(params: PyTree, memory: Carry, obs: jax.Array) -> tuple[jax.Array, Carry]:
        """Scaled action values ``[B, A]`` and the memory behind observations ``[B, ...]``; resets are the caller's."""
        same_episode = jnp.zeros((1, obs.shape[0]), bool)
        memory, output = net.apply(params, memory, obs[None], same_episode)
        return output[0, ..., 0], memory

    def epsilons(hypers: R2D2Hypers, num_env_steps: jax.Array, number: int) -> jax.Array:
        """Shares of uniform actions of agents side by side, ``[number]``."""
        highest = exploration.linear_decay(
            hypers.epsilon_start, hypers.epsilon_end, num_env_steps, hypers.exploration_steps
        )
        return exploration.spread(highest, hypers.epsilon_spread, number)

    def behave(
        params: PyTree, seen: Recalled, epsilon: jax.Array | float, uniform: jax.Array
    ) -> tuple[jax.Array, Carry]:
        """Actions and memories ``[B]``; epsilon ``[B]`` or one for all, of 0 for the best actions."""
        q, memory = think(params, seen.memory, seen.obs)
        probability = exploration.epsilon_greedy(q, jnp.broadcast_to(epsilon, q.shape[:1])[:, None])
        return exploration.sample(probability, uniform), memory

    def play(
        params: PyTree, envs: rollout.Envs, key: jax.Array, epsilon: jax.Array, num_steps: int
    ) -> tuple[rollout.Envs, Remembered, Metrics]:
        """``num_steps`` steps of every environment; what is remembered of them has axes ``[num_steps, B]``."""
        uniform_key, env_key = jax.random.split(key)
        uniform = jax.random.uniform(uniform_key, (num_steps, config.num_envs))

        def act(seen: Recalled, uniform: jax.Array) -> tuple[jax.Array, Carry]:
            return behave(params, seen, epsilon, uniform)

        envs, played, metrics = rollout.rollout(remembering, act, envs, env_key, uniform, num_steps)
        step = played.replace(obs=played.obs.obs, action=played.action[0], next_obs=played.next_obs.obs, info={})
        return envs, Remembered(step=step, memory=played.obs.memory), metrics

    def init(hypers: R2D2Hypers, key: jax.Array) -> R2D2State:
        params_key, env_key, play_key = jax.random.split(key, 3)
        envs = rollout.reset(remembering, env_key, config.num_envs)
        params = net.init(params_key, envs.obs.memory, envs.obs.obs[None], jnp.zeros((1, config.num_envs), bool))
        always = jnp.ones(config.num_envs)
        envs, steps, _ = play(params, envs, play_key, always, config.num_warmup_steps // config.num_envs)
        empty = replay.init(jax.tree.map(lambda x: x[0, 0], steps), hypers.priority_alpha)
        return R2D2State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=envs,
            replay=replay.add(empty, steps),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def read(ring: Ring, indices: SampleIndices) -> Remembered:
        """The sequences drawn, each with the memory that it starts with."""
        steps = sequences(ring, indices, config.length, lambda kept: kept.step)
        memory = first_steps(ring, indices, lambda kept: kept.memory)
        return Remembered(step=rollout.split(steps, axis=1), memory=rollout.split(memory))

    def values(params: PyTree, drawn: Remembered) -> tuple[jax.Array, jax.Array]:
        """Scaled action values where the agent acted, and of what each step led to, ``[T, M, A]``, behind the burn-in.

        No gradient reaches the burn-in: all that it does is to say what is remembered.
        """
        ended = drawn.step.terminated | drawn.step.truncated
        start = jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])  # a stored memory knows of its own start
        memory, obs, first = drawn.memory, drawn.step.obs, config.burn_in
        if first:
            memory, _ = net.apply(params, memory, obs[:first], start[:first])
        memory = jax.lax.stop_gradient(memory)
        now, following = net.apply(
            params, memory, obs[first:], start[first:], drawn.step.next_obs[first:], method="with_next"
        )
        return now[..., 0], following[..., 0]

    def loss(
        params: PyTree, hypers: R2D2Hypers, target_params: PyTree, drawn: Remembered, weight: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Metrics]]:
        """With it the sequences' priorities ``[M]``."""
        learnt = jax.tree.map(lambda x: x[config.burn_in :], drawn.step)
        output, choice = values(params, drawn)
        _, following = values(target_params, drawn)
        best = unscaled(hypers, targets.double_value(following, choice))
        target = scaled(
            hypers,
            returns.n_step_returns(
                learnt.reward, best, learnt.terminated, learnt.truncated, hypers.gamma, config.n_step
            ),
        )
        predicted = targets.select_action_value(output, learnt.action)
        error = jax.lax.stop_gradient(target) - predicted  # [T, M]
        loss = jnp.mean(weight * optax.l2_loss(error))
        terms = {"loss": loss, "q_value": jnp.mean(unscaled(hypers, predicted))}
        return loss, (sequence_priority(error, hypers.priority_eta), terms)

    def learn(hypers: R2D2Hypers, state: R2D2State, key: jax.Array) -> tuple[R2D2State, Metrics]:
        """One gradient step."""
        indices = replay.sample(state.replay, key, hypers.priority_beta)
        drawn, weight = read(state.replay.ring, indices), rollout.split(indices.weight)
        grads, (priority, terms) = jax.grad(loss, has_aux=True)(
            state.params, hypers, state.target_params, drawn, weight
        )
        optimizer = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon)
        params, opt_state = learning.descend(optimizer, hypers.learning_rate, grads, state.params, state.opt_state)
        kept = replay.update_priorities(state.replay, indices, priority + hypers.priority_epsilon)
        return state.replace(params=params, opt_state=opt_state, replay=kept), terms

    def update(hypers: R2D2Hypers, state: R2D2State, key: jax.Array) -> tuple[R2D2State, Metrics]:
        play_key, learn_key = jax.random.split(key)
        epsilon = epsilons(hypers, state.num_env_steps, config.num_envs)
        envs, steps, metrics = play(state.params, state.envs, play_key, epsilon, config.num_steps)
        state = state.replace(envs=envs, replay=replay.add(state.replay, steps))
        keys = jax.random.split(learn_key, config.num_gradient_steps)
        state, terms = jax.lax.scan(lambda state, key: learn(hypers, state, key), state, keys)
        now = state.num_env_steps + steps_per_update
        target_params = learning.moved_target(
            state.target_params,
            state.params,
            config.target_update,
            before=state.num_env_steps,
            now=now,
            every=hypers.target_update_every,
            share=hypers.polyak,
        )
        return state.replace(target_params=target_params, num_env_steps=now), jax.tree.map(jnp.mean, terms) | metrics

    def act(
        hypers: R2D2Hypers, state: R2D2State, obs: Recalled, key: jax.Array, sample: bool = False
    ) -> tuple[jax.Array, Carry]:
        """The best action with what is remembered, or else a draw of the environment that explores most."""
        if not isinstance(obs, Recalled):
            raise ValueError(
                f"{env.name}: a recurrent agent acts on Recalled(obs, memory), not on {type(obs).__name__}: apply "
                "carry_memory to the environment, starting with zeros."
            )
        epsilon = epsilons(hypers, state.num_env_steps, 1) if sample else 0.0
        one = jax.tree.map(lambda x: x[None], obs)
        return jax.tree.map(lambda x: x[0], behave(state.params, one, epsilon, jax.random.uniform(key, (1,))))

    def evaluate(
        hypers: R2D2Hypers, state: R2D2State, key: jax.Array, num_episodes: int, sample: bool = False
    ) -> Episodes:
        """With ``sample`` the episodes explore as differently from each other as the environments do."""
        epsilon = epsilons(hypers, state.num_env_steps, num_episodes) if sample else 0.0

        def follow(memory: Carry, obs: jax.Array, key: jax.Array) -> tuple[Carry, jax.Array]:
            uniform = jax.random.uniform(key, (num_episodes,))
            action, memory = behave(state.params, Recalled(obs, memory), epsilon, uniform)
            return memory, action

        return rollout.episodes(env, follow, key, num_episodes, net.memory.start(num_episodes))

    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec("r2d2", steps_per_update, evaluate, settings, env_steps_of_init=config.num_warmup_steps)
    return Algorithm(init, update, act, spec)
