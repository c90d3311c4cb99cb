"""Parallelised Q-network: Q-learning without a replay or a target network (Gallici et al. 2024, arXiv 2407.04811).

One update: play ``num_steps`` steps in ``num_envs`` environments with an epsilon-greedy policy, compute the
lambda-returns of Peng's Q(lambda) with the values at hand, then take ``num_epochs x num_minibatches`` gradient steps on

    minimise  1/2 E[ (Q(s, a) - G)^2 ],    G_t = r_t + gamma ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1}).

What keeps this stable where plain Q-learning is not is the normalisation before every activation, and many environments
in the place of a replay.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import learning, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.envs.base import Environment
from purerl.kernels import exploration, returns, targets
from purerl.nets.torsos import ACTIVATIONS
from purerl.nets.value import make_q_network
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree


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
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Sizes of the hidden dense layers."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "relu"
    """Nonlinearity between layers."""
    layer_norm: bool = True
    """Normalise before every activation, in the place of a target network."""

    def __post_init__(self) -> None:
        learning.check_positive(self, "num_envs", "num_steps", "num_epochs", "num_minibatches")
        learning.check_minibatches("PQNConfig", self.num_envs, self.num_steps, self.num_minibatches)
        learning.check_choices(self, {"activation": tuple(ACTIVATIONS)})
        if self.torso not in ("mlp", "cnn"):
            raise ValueError(f'PQNConfig.torso = {self.torso!r}: choose "mlp" or "cnn".')


class PQNHypers(struct.PyTreeNode):
    """Every other number of PQN: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = 5e-4
    """Adam's step size, > 0."""
    gamma: float = 0.99
    """Discount, in [0, 1]."""
    lambda_: float = 0.65
    """Share of each return that goes on beyond its next step, in [0, 1]."""
    epsilon_start: float = 1.0
    """Share of uniform actions at the start, in [0, 1]."""
    epsilon_end: float = 0.05
    """Share of uniform actions from exploration_steps on, in [0, 1]."""
    exploration_steps: float = 100_000.0
    """Environment steps over which the share falls in a straight line."""
    max_grad_norm: float = 10.0
    """Gradients longer than this (global norm) are scaled down to it, > 0."""
    adam_epsilon: float = 1e-8
    """Adam's denominator constant, > 0."""


class PQNState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    num_env_steps: jax.Array  # [] int


class Batch(struct.PyTreeNode):
    """What a gradient step learns from. Leading axes ``[T, B]``, or ``[M]`` of a minibatch."""

    obs: PyTree  # [..., *obs_shape]
    action: jax.Array  # [...]
    target: jax.Array  # [...]


def pqn(env: Environment, config: PQNConfig | None = None) -> Algorithm:
    """PQN for discrete actions.

    Args:
        env: observations an array; actions :class:`Discrete`.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config or PQNConfig()
    if not isinstance(env.action_space, Discrete):
        raise ValueError(f"{env.name}: PQN needs Discrete actions, but the action space is {env.action_space}.")
    steps_per_update = config.num_envs * config.num_steps
    net = make_q_network(
        tuple(env.observation_space.shape),
        env.action_space.n,
        torso=config.torso,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        layer_norm=config.layer_norm,
    )

    def q_values(params: PyTree, obs: jax.Array) -> jax.Array:
        return net.apply(params, obs)[..., 0]

    def policy(hypers: PQNHypers, state: PQNState, obs: jax.Array) -> jax.Array:
        epsilon = exploration.linear_decay(
            hypers.epsilon_start, hypers.epsilon_end, state.num_env_steps, hypers.exploration_steps
        )
        return exploration.epsilon_greedy(q_values(state.params, obs), epsilon)

    def init(hypers: PQNHypers, key: jax.Array) -> PQNState:
        params_key, env_key = jax.random.split(key)
        envs = rollout.reset(env, env_key, config.num_envs)
        params = net.init(params_key, envs.obs)
        opt_state = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return PQNState(params=params, opt_state=opt_state, envs=envs, num_env_steps=jnp.zeros((), jnp.int32))

    def loss(params: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        value = targets.select_action_value(q_values(params, batch.obs), batch.action)
        loss = jnp.mean(optax.l2_loss(value, batch.target))
        return loss, {"loss": loss, "q_value": jnp.mean(value)}

    def update(hypers: PQNHypers, state: PQNState, key: jax.Array) -> tuple[PQNState, Metrics]:
        action_key, env_key, learn_key = jax.random.split(key, 3)

        def act(obs: jax.Array, uniform: jax.Array) -> jax.Array:
            return exploration.sample(policy(hypers, state, obs), uniform)

        uniform = jax.random.uniform(action_key, (config.num_steps, config.num_envs))
        envs, played, episode_metrics = rollout.rollout(env, act, state.envs, env_key, uniform, config.num_steps)
        next_value = targets.max_value(q_values(state.params, played.next_obs))
        target = returns.lambda_returns(
            played.reward, next_value, played.terminated, played.truncated, hypers.gamma, hypers.lambda_
        )

        def gradient_step(carry, batch: Batch):
            params, opt_state = carry
            grads, terms = jax.grad(loss, has_aux=True)(params, batch)
            optimizer = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon)
            return learning.descend(optimizer, hypers.learning_rate, grads, params, opt_state), terms

        (params, opt_state), terms = learning.minibatches(
            gradient_step,
            (state.params, state.opt_state),
            Batch(obs=played.obs, action=played.action, target=target),
            learn_key,
            config.num_epochs,
            config.num_minibatches,
        )
        num_env_steps = state.num_env_steps + steps_per_update
        state = PQNState(params=params, opt_state=opt_state, envs=envs, num_env_steps=num_env_steps)
        return state, jax.tree.map(jnp.mean, terms) | episode_metrics

    def act(hypers: PQNHypers, state: PQNState, obs: jax.Array, key: jax.Array, sample: bool = False) -> jax.Array:
        if sample:
            probability = policy(hypers, state, obs)
            return exploration.sample(probability, jax.random.uniform(key, probability.shape[:-1]))
        return jnp.argmax(q_values(state.params, obs), axis=-1).astype(jnp.int32)

    evaluate = rollout.evaluation(env, act)
    spec = Spec("pqn", steps_per_update, evaluate, settings={"env": env.name, **dataclasses.asdict(config)})
    return Algorithm(init, update, act, spec)
