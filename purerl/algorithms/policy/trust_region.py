"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477), and the natural policy gradient.

One update: play ``num_steps`` steps in ``num_envs`` environments, estimate advantages with GAE, take one step of

    maximise  E[ratio(a | s) advantage]    subject to  E[KL(old; new)] <= max_kl,

along the natural gradient to where the second-order divergence is ``max_kl``, shortened until the divergence itself is
inside and the objective has risen (TRPO), or taken as it is (NPG, Kakade 2001); then fit the values.

The bound on the mean divergence is a heuristic: what guarantees improvement is a penalty on the largest one, whose
steps are far too short to be of use. Hence the search.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.policy import collect
from purerl.algorithms.policy.collect import Batch
from purerl.config_checks import check_config, check_minibatches, config_or_default
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable
from purerl.envs.wrappers import scale_actions
from purerl.kernels import moments, natural, numerics, surrogates
from purerl.nets.actor_critic import ActorCritic
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.sharding import shard
from purerl.spaces import Box, Discrete, MultiDiscrete
from purerl.types import Metrics, PyTree, Transition
from purerl.update import gradient_step, minibatch_epochs, rollout_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrustRegionConfig:
    """What fixes a shape, a loop length or a branch of TRPO. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    num_envs: int = 16
    """Environments stepped side by side, B."""
    num_steps: int = 128
    """Steps of each environment per update, T."""
    num_cg_iterations: int = 10
    """Conjugate gradients that solve for the natural gradient."""
    line_search: bool = True
    """Shorten the step until it stays in the trust region and gains, TRPO; off, it is the natural policy gradient."""
    num_backtracks: int = 10
    """Lengths tried before an update leaves the policy as it was; with line_search."""
    num_epochs: int = 10
    """Passes over each rollout that fit the values."""
    num_minibatches: int = 16
    """Minibatches of values per pass; divides num_envs * num_steps."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers, of the policy and of the values, which share none."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "tanh"
    """Nonlinearity between layers."""
    normalize_obs: bool = False
    """Standardise observations with running statistics, kept in the state and frozen in evaluation. They begin with a
    rollout that ``init`` plays, so that nothing is ever learnt from observations in units of their own."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    normalize_advantage: bool = True
    """Standardise the advantages of a rollout, which is worth a step where damping or the search weigh them."""

    def __post_init__(self) -> None:
        check_config(self)
        check_minibatches(self)

    @property
    def batch_size(self) -> int:
        """Environment steps per update, ``B * T``."""
        return self.num_envs * self.num_steps

    @property
    def env_steps_of_init(self) -> int:
        """Environment steps before the first update: a rollout for the statistics of observations, or none."""
        return self.batch_size if self.normalize_obs else 0

    @property
    def shared_torso(self) -> bool:
        """Never: a step of the values would move the policy out of its trust region."""
        return False


class TrustRegionHypers(struct.PyTreeNode):
    """Every other number of TRPO: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    max_kl: float = hyper(0.01, low=0)
    """Radius of the trust region, delta: mean KL(old; new) of an update, in nats."""
    damping: float = hyper(0.1, low=0)
    """Added to the diagonal of the Fisher matrix."""
    shrink: float = hyper(0.8, above=0, high=1)
    """Length of a trial of the search, in units of the one before; with line_search."""
    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size, of the values."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    gae_lambda: float = hyper(0.95, low=0, high=1)
    """Lambda of the advantage estimator."""
    max_grad_norm: float = hyper(0.5, above=0, infinite=True)
    """Gradients of the values longer than this (global norm) are scaled down to it."""
    initial_log_std: float = hyper(0.0, initial=True)
    """Log standard deviation of continuous actions at initialisation."""
    adam_epsilon: float = hyper(1e-5, above=0)
    """Adam's denominator constant."""


class TrustRegionState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree  # of policy and values
    opt_state: optax.OptState  # of the values; of the policy's parameters it stays zero
    envs: rollout.Envs  # [B, ...]
    obs_moments: moments.Moments  # [*obs_shape]
    return_moments: moments.Moments  # [] of the discounted return that scales rewards
    discounted_return: jax.Array  # [B] running discounted return


@recorded
def trust_region(env: Environment, config: TrustRegionConfig | None = None) -> Algorithm:
    """TRPO, or the natural policy gradient, for discrete or continuous actions, which are PPO's.

    Args:
        env: observations of numbers, also with the legal actions beside them; actions :class:`Discrete`,
            :class:`MultiDiscrete`, or a :class:`Box` of one axis.
        config: sizes and choices.

    Raises:
        ValueError: if the environment's spaces are not among those.
    """
    config = config_or_default(config, TrustRegionConfig)
    name = "trpo" if config.line_search else "npg"
    check_learnable(env, name.upper(), actions=(Discrete, MultiDiscrete, Box), masks=True)
    net = collect.make_network(env, config)
    scaled_env = scale_actions(env)

    def init(hypers: TrustRegionHypers, key: jax.Array) -> TrustRegionState:
        params_key, env_key, moments_key = jax.random.split(key, 3)
        params = collect.init_params(net, env, hypers.initial_log_std, params_key)
        state = TrustRegionState(
            params=params,
            opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=rollout.reset(env, env_key, config.num_envs),
            obs_moments=collect.init_moments(env),
            return_moments=moments.init(()),
            discounted_return=jnp.zeros(config.num_envs, jnp.float32),
        )
        return collect.first_moments(scaled_env, net, config, hypers, state, moments_key)

    play = functools.partial(collect.collect, scaled_env, net, config)
    act = functools.partial(collect.act, env, net, config)
    update = rollout_update(play, functools.partial(learn, net, config))
    spec = Spec(
        name,
        config.batch_size,
        rollout.evaluation(env, no_carry, act),
        {"env": env.name, **dataclasses.asdict(config)},
        env_steps_of_init=config.env_steps_of_init,
        hypers_class=TrustRegionHypers,
    )
    return Algorithm(init, update, no_carry, act, spec)


def surrogate_and_kl(
    net: ActorCritic, batch: Batch, old: PyTree, advantage: jax.Array, params: PyTree
) -> tuple[jax.Array, jax.Array]:
    """Objective and constraint of TRPO over a rollout, ``E[pi(a | s) / pi_old(a | s) A]`` and ``E[KL(old; new)]``.

    Args:
        net: the network.
        batch: ``[T, B]``.
        old: parameters of the distributions that acted, ``[T, B, ...]``.
        advantage: ``[T, B]``.
        params: of the new policy.

    Source: Schulman et al. 2015, (14).
    """
    pi, new = net.distribution, net.apply(params, batch.obs, method="policy")
    log_ratio = pi.log_prob(new, batch.action) - pi.log_prob(old, batch.action)
    return jnp.mean(surrogates.ratio(log_ratio) * advantage), jnp.mean(pi.kl(old, new))


def policy_step(
    net: ActorCritic, config: TrustRegionConfig, hypers: TrustRegionHypers, params: PyTree, batch: Batch
) -> natural.Search:
    """One step of the policy: the natural gradient to the edge of the trust region, and with a search back from it.

    Parameters that are the values' alone have gradient 0, so that conjugate gradients and the step leave them.

    Args:
        net: the network.
        config: sizes and choices.
        hypers: numbers.
        params: of the old policy.
        batch: the rollout, ``[T, B]``.
    """

    def policy(params: PyTree) -> PyTree:
        return net.apply(params, batch.obs, method="policy")

    def divergence(old: PyTree, new: PyTree) -> jax.Array:
        return jnp.mean(net.distribution.kl(old, new))

    advantage = numerics.standardize(batch.advantage) if config.normalize_advantage else batch.advantage
    evaluate = functools.partial(surrogate_and_kl, net, batch, policy(params), advantage)
    gradient = jax.grad(lambda params: evaluate(params)[0])(params)
    product = natural.fisher_product(policy, divergence, params)
    step = natural.natural_step(gradient, product, hypers.max_kl, config.num_cg_iterations, hypers.damping)
    if config.line_search:
        return natural.backtrack(evaluate, params, step, hypers.max_kl, hypers.shrink, config.num_backtracks)
    new = jax.tree.map(jnp.add, params, step)
    (before, _), (after, kl) = evaluate(params), evaluate(new)
    return natural.Search(new, jnp.ones_like(kl), after - before, kl)


def value_loss(net: ActorCritic, params: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Loss of the values, ``E[(V(s) - target)^2] / 2`` of a minibatch, and metrics."""
    loss = jnp.mean(surrogates.value_loss(net.apply(params, batch.obs, method="value"), batch.target))
    return loss, {"value_loss": loss}


def learn(
    net: ActorCritic,
    config: TrustRegionConfig,
    hypers: TrustRegionHypers,
    state: TrustRegionState,
    transitions: Transition,
    key: jax.Array,
) -> tuple[TrustRegionState, Metrics]:
    """Learn from a rollout ``[T, B]``: advantages, a step of the policy, epochs of the values, running statistics."""
    reward, state = collect.scale_reward(config, hypers.gamma, state, transitions)
    batch = collect.make_batch(net, config, hypers, state, transitions, reward, config.num_minibatches)
    batch = shard(batch, axis=1)
    found = policy_step(net, config, hypers, state.params, batch)

    def step(carry: tuple, minibatch: Batch) -> tuple[tuple, Metrics]:
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        loss = functools.partial(value_loss, net)
        *after, terms = gradient_step(loss, optimizer, hypers.learning_rate, *carry, minibatch)
        return tuple(after), terms

    carry = (found.params, state.opt_state)
    (params, opt_state), terms = minibatch_epochs(step, carry, batch, key, config.num_epochs, config.num_minibatches)
    state = collect.next_moments(config, state.replace(params=params, opt_state=opt_state), transitions)
    policy = net.apply(found.params, batch.obs, method="policy")
    return state, jax.tree.map(jnp.mean, terms) | {
        "kl": found.divergence,
        "surrogate": found.gain,
        "step_fraction": found.fraction,
        "entropy": jnp.mean(net.distribution.entropy(policy)),
        "explained_variance": surrogates.explained_variance(batch.value, batch.target),
    }
