"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347).

One update: play ``num_steps`` steps in ``num_envs`` environments, estimate advantages with GAE, then take
``num_epochs x num_minibatches`` gradient steps on

    maximise  E[ surrogate(ratio, advantage) ] + entropy_coef * H(pi) - value_coef * value_loss,

where the surrogate is clipped, penalised by an adaptive KL, or both.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.policy import collect, memory
from purerl.algorithms.policy.collect import Batch
from purerl.algorithms.policy.memory import Network
from purerl.algorithms.policy.ppo_loss import loss
from purerl.config_checks import check_config, check_minibatches, check_whole_environments, config_or_default
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable
from purerl.envs.wrappers import scale_actions
from purerl.kernels import moments, surrogates
from purerl.nets.recurrent import make_memory
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete, MultiDiscrete
from purerl.types import Metrics, PyTree, Transition
from purerl.update import gradient_step, minibatch_epochs, rollout_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """What fixes a shape, a loop length or a branch of PPO. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    num_envs: int = 16
    """Environments stepped side by side, B."""
    num_steps: int = 128
    """Steps of each environment per update, T."""
    num_epochs: int = 4
    """Passes over each rollout."""
    num_minibatches: int = 4
    """Minibatches per pass; divides num_envs * num_steps, with a memory num_envs."""
    objective: Literal["clip", "kl", "both"] = "clip"
    """Clipped surrogate, adaptive KL penalty, or the clipped surrogate with the penalty."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "tanh"
    """Nonlinearity between layers."""
    shared_torso: bool = False
    """One torso for actor and critic instead of one each; with a memory, one last hidden layer."""
    memory: Literal["none", "lstm", "gru", "lru", "attention"] = "none"
    """LSTM, GRU, linear recurrent unit or causal attention, between the last hidden layer and those before it, which
    actor and critic then share. Minibatches are of whole environments."""
    memory_size: int = 64
    """Size of the memory's output; of attention a multiple of 4."""
    memory_window: int = 32
    """Steps that attention looks back."""
    normalize_obs: bool = False
    """Standardise observations with running statistics, kept in the state and frozen in evaluation. They begin with a
    rollout that ``init`` plays, so that nothing is ever learnt from observations in units of their own."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    normalize_advantage: bool = True
    """Standardise advantages in each minibatch."""
    clip_value: bool = False
    """Clip the change of the value prediction by hypers.value_clip_epsilon."""
    early_stop: bool = False
    """Skip the rest of an update's gradient steps once the KL exceeds 1.5 * hypers.target_kl. Schedules count skipped
    steps too, so that they end when the run does."""

    def __post_init__(self) -> None:
        check_config(self)
        check_minibatches(self)
        if self.memory != "none":
            make_memory(self.memory, self.memory_size, self.memory_window)  # or refuse
            check_whole_environments(self)

    @property
    def batch_size(self) -> int:
        """Environment steps per update, ``B * T``."""
        return self.num_envs * self.num_steps

    @property
    def env_steps_of_init(self) -> int:
        """Environment steps before the first update: a rollout for the statistics of observations, or none."""
        return self.batch_size if self.normalize_obs else 0

    def num_optimizer_steps(self, num_env_steps: int) -> int:
        """Gradient steps of a run of so many environment steps, rounded up to whole updates; skipped ones included."""
        num_updates = -(-(num_env_steps - self.env_steps_of_init) // self.batch_size)
        return num_updates * self.num_epochs * self.num_minibatches


class PPOHypers(struct.PyTreeNode):
    """Every other number of PPO: leaves, so that one compile serves all values and ``vmap`` sweeps them.

    Schedules count optimiser steps, taken or skipped: a quantity ``x`` with decay ``d`` is
    ``x * (1 - d * min(step / decay_steps, 1))``.
    """

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size."""
    learning_rate_decay: float = hyper(0.0, low=0, high=1)
    """Share of the learning rate that is gone after decay_steps."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    gae_lambda: float = hyper(0.95, low=0, high=1)
    """Lambda of the advantage estimator."""
    clip_epsilon: float = hyper(0.2, low=0)
    """Ratio range [1 - epsilon, 1 + epsilon] beyond which there is no incentive to move."""
    clip_decay: float = hyper(0.0, low=0, high=1)
    """Share of clip_epsilon that is gone after decay_steps."""
    decay_steps: float = hyper(float("inf"), above=0, infinite=True)
    """Optimiser steps over which both decays happen; inf means never."""
    entropy_coef: float = hyper(0.01, low=0)
    """Weight of the entropy bonus."""
    value_coef: float = hyper(0.5, low=0)
    """Weight of the value loss."""
    value_clip_epsilon: float = hyper(0.2, low=0)
    """Largest change of a value prediction that is rewarded, in units of return; used with clip_value."""
    max_grad_norm: float = hyper(0.5, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    target_kl: float = hyper(0.01, above=0)
    """KL(old; new) that the adaptive penalty aims at and that early_stop watches, in nats."""
    initial_kl_coef: float = hyper(1.0, initial=True, low=0)
    """The KL penalty's coefficient before the first adaptation."""
    initial_log_std: float = hyper(0.0, initial=True)
    """Log standard deviation of continuous actions at initialisation."""
    adam_epsilon: float = hyper(1e-5, above=0)
    """Adam's denominator constant."""


class PPOState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    obs_moments: moments.Moments  # [*obs_shape]
    return_moments: moments.Moments  # [] of the discounted return that scales rewards
    discounted_return: jax.Array  # [B] running discounted return
    kl_coef: jax.Array  # []
    num_optimizer_steps: jax.Array  # [] int, those that early_stop skipped included; it stays at its type's largest


@recorded
def ppo(env: Environment, config: PPOConfig | None = None) -> Algorithm:
    """PPO for discrete or continuous actions.

    Continuous actions are Gaussian: on an axis with two bounds clipped to ``[-1, 1]`` and stretched between them, with
    a lone bound clipped there, without any as they are. So they lie in the action space; learning sees the Gaussian.

    Args:
        env: observations of numbers, also with the legal actions beside them; actions :class:`Discrete`,
            :class:`MultiDiscrete`, or a :class:`Box` of one axis.
        config: sizes and choices.

    Raises:
        ValueError: if the environment's spaces are not among those.
    """
    config = config_or_default(config, PPOConfig)
    has_memory = config.memory != "none"
    learner = "PPO with a memory" if has_memory else "PPO"
    check_learnable(env, learner, actions=(Discrete, MultiDiscrete, Box), masks=not has_memory)
    net = make_network(env, config)
    scaled_env, start = scale_actions(env), functools.partial(memory.start, net)

    def init(hypers: PPOHypers, key: jax.Array) -> PPOState:
        params_key, env_key, moments_key = jax.random.split(key, 3)
        params = collect.init_params(net, env, hypers.initial_log_std, params_key)
        state = PPOState(
            params=params,
            opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=rollout.reset(env, env_key, config.num_envs, start()),
            obs_moments=collect.init_moments(env),
            return_moments=moments.init(()),
            discounted_return=jnp.zeros(config.num_envs, jnp.float32),
            kl_coef=jnp.asarray(hypers.initial_kl_coef, jnp.float32),
            num_optimizer_steps=jnp.zeros((), jnp.int32),
        )
        return collect.first_moments(scaled_env, net, config, hypers, state, moments_key)

    play = functools.partial(collect.collect, scaled_env, net, config)
    act = functools.partial(collect.act, env, net, config)
    update = rollout_update(play, functools.partial(learn, net, config))
    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec(
        "ppo",
        config.batch_size,
        rollout.evaluation(env, start, act),
        settings,
        env_steps_of_init=config.env_steps_of_init,
        hypers_class=PPOHypers,
    )
    return Algorithm(init, update, start, act, spec)


def make_network(env: Environment, config: PPOConfig) -> Network:
    """The network that a config means, with its memory, or a ``ValueError`` as of :func:`ppo`."""
    recurrent = (
        None if config.memory == "none" else make_memory(config.memory, config.memory_size, config.memory_window)
    )
    return collect.make_network(env, config, recurrent)


def minibatch_step(
    loss: Callable, config: PPOConfig, hypers: PPOHypers, kl_coef: jax.Array, carry: tuple, batch: Batch
) -> tuple[tuple, Metrics]:
    """One gradient step with decayed learning rate and clip range; none where ``early_stop`` has stopped the update.

    ``x (1 - decay min(k / decay_steps, 1))`` for both, after k gradient steps of the run, taken or skipped

    Args:
        loss: :func:`loss` of a network, ``(params, hypers, clip_epsilon, kl_coef, batch) -> (loss, terms)``.
        config: sizes and choices.
        hypers: numbers.
        kl_coef: coefficient of the KL penalty, ``[]``.
        carry: parameters, the optimiser's state, k, and whether to stop.
        batch: ``[M, ...]``.
    """
    params, opt_state, num_steps, stopped = carry
    elapsed = jnp.minimum(num_steps / hypers.decay_steps, 1.0)
    clip_epsilon = hypers.clip_epsilon * (1 - hypers.clip_decay * elapsed)
    learning_rate = hypers.learning_rate * (1 - hypers.learning_rate_decay * elapsed)
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    *new, terms = gradient_step(loss, optimizer, learning_rate, params, opt_state, hypers, clip_epsilon, kl_coef, batch)
    if config.early_stop:
        stopped = stopped | (terms["approximate_kl"] > 1.5 * hypers.target_kl)
        new = jax.tree.map(lambda o, n: jnp.where(stopped, o, n), [params, opt_state], new)
    return (*new, optax.safe_increment(num_steps), stopped), terms


def learn(
    net: Network,
    config: PPOConfig,
    hypers: PPOHypers,
    state: PPOState,
    transitions: Transition,
    key: jax.Array,
) -> tuple[PPOState, Metrics]:
    """Learn from a rollout ``[T, B]``: advantages, epochs of minibatches, running statistics and the KL penalty."""
    reward, state = collect.scale_reward(config, hypers.gamma, state, transitions)
    batch = collect.make_batch(net, config, hypers, state, transitions, reward, config.num_minibatches)

    def step(carry: tuple, minibatch: Batch) -> tuple[tuple, Metrics]:
        minibatch = collect.with_old_policy(net, state.params, memory.from_samples(net, minibatch))
        return minibatch_step(functools.partial(loss, net, config), config, hypers, state.kl_coef, carry, minibatch)

    (params, opt_state, num_steps, _), terms = minibatch_epochs(
        step,
        (state.params, state.opt_state, state.num_optimizer_steps, jnp.zeros((), bool)),
        memory.as_samples(net, batch),
        key,
        config.num_epochs,
        config.num_minibatches,
    )
    state = state.replace(params=params, opt_state=opt_state, num_optimizer_steps=num_steps)
    state = collect.next_moments(config, state, transitions)
    if config.objective != "clip":
        last_epoch_kl = jnp.mean(terms["kl"][-config.num_minibatches :])
        kl_coef = surrogates.adapt_kl_coefficient(state.kl_coef, last_epoch_kl, hypers.target_kl)
        state = state.replace(kl_coef=kl_coef)
    return state, jax.tree.map(jnp.mean, terms) | {
        "ratio": terms["ratio"][0],  # before any step of this update: exactly 1, with a memory up to rounding
        "explained_variance": surrogates.explained_variance(batch.value, batch.target),
    }
