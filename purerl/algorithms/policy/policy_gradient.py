"""Policy gradients: REINFORCE, actor-critic by action values, A2C, and IMPALA as choices of one algorithm.

One update: play ``num_steps`` steps in ``num_envs`` environments, weigh every action, and take one gradient step on

    maximise  E[ log pi(a | s) (weight - baseline) ] + entropy_coef * H(pi) - value_coef * value_loss

What acts may be ``delay`` updates old, as that of distributed actors is. Without a delay this is A2C.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.policy import collect, weights
from purerl.algorithms.policy.memory import Network
from purerl.config_checks import check_config, config_or_default
from purerl.envs.base import Environment
from purerl.envs.learnable import check_learnable
from purerl.envs.wrappers import scale_actions
from purerl.kernels import moments, numerics, surrogates
from purerl.nets.actor_critic import ActorCritic
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete, MultiDiscrete
from purerl.types import Metrics, PyTree, Transition
from purerl.update import gradient_step, rollout_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyGradientConfig:
    """What fixes a shape, a loop length or a branch. Never traced.

    REINFORCE is ``psi="reward_to_go"`` with any baseline, A2C the default or ``psi="n_step"``, actor-critic by action
    values ``psi="q"``, and IMPALA ``psi="vtrace"`` with a delay.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 16
    """Environments stepped side by side, B."""
    num_steps: int = 16
    """Steps of each environment per update, T."""
    psi: weights.Psi = "gae"
    """Weight of an action: the return of its episode, what is left of it, an action value, or an advantage: TD error,
    n-step, GAE, or V-trace. What the rest of an episode is worth that is cut, by a time limit or by the end of a
    rollout, the critic says. Without a delay there is nothing to correct, and V-trace is GAE."""
    baseline: weights.Baseline = "value"
    """Subtracted from the weight: nothing, the mean weight of the other environments, the critic's value, or the number
    of least variance, estimated in the other environments. Advantages have the value in them."""
    n_step: int = 5
    """Rewards of psi="n_step"."""
    discount_weight: bool = False
    """Multiply weights by gamma^t, t being the step of the episode: the gradient of the discounted return. Without it
    late steps weigh as much as early ones, as almost everywhere. The return of an episode has it in any case."""
    delay: int = setting(0, low=0)
    """How many updates old the parameters are that act."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "tanh"
    """Nonlinearity between layers."""
    shared_torso: bool = False
    """One torso for actor and critic instead of one each."""
    normalize_obs: bool = False
    """Standardise observations with running statistics, as PPO's of that name."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    normalize_advantage: bool = False
    """Standardise weights in each update."""

    def __post_init__(self) -> None:
        check_config(self)
        weights.check(self.psi, self.baseline, self.num_envs)

    @property
    def batch_size(self) -> int:
        """Environment steps per update, ``B * T``."""
        return self.num_envs * self.num_steps

    @property
    def env_steps_of_init(self) -> int:
        """Environment steps before the first update: a rollout for the statistics of observations, or none."""
        return self.batch_size if self.normalize_obs else 0


class PolicyGradientHypers(struct.PyTreeNode):
    """Every other number: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    gae_lambda: float = hyper(0.95, low=0, high=1)
    """Lambda of GAE and of V-trace; 1 is the latter's paper."""
    entropy_coef: float = hyper(0.01, low=0)
    """Weight of the entropy bonus."""
    value_coef: float = hyper(0.5, low=0)
    """Weight of the value loss."""
    max_grad_norm: float = hyper(0.5, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    clip_rho: float = hyper(1.0, low=1, infinite=True)
    """Bound on V-trace's weights of errors and of advantages: which policy's value is learnt."""
    clip_c: float = hyper(1.0, low=1, infinite=True)
    """Bound on V-trace's weights of traces: how fast."""
    initial_log_std: float = hyper(0.0, initial=True)
    """Log standard deviation of continuous actions at initialisation."""
    adam_epsilon: float = hyper(1e-5, above=0)
    """Adam's denominator constant."""


class PolicyGradientState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    obs_moments: moments.Moments  # [*obs_shape]
    return_moments: moments.Moments  # [] of the discounted return that scales rewards
    discounted_return: jax.Array  # [B] running discounted return
    past: jax.Array  # [B] sum_{k<t} gamma^k r_k of the episode so far, of the rewards that are learnt from
    old_params: PyTree = None  # [delay, ...] of the updates before, the oldest first; None without a delay


class Batch(NamedTuple):
    """What a gradient step learns from, a rollout ``[T, B]``."""

    obs: PyTree  # [T, B, ...] normalised
    action: jax.Array  # [T, B, ...]
    weight: jax.Array  # [T, B] of the action's log-probability, its baseline subtracted
    target: jax.Array  # [T, B] of the critic


@recorded
def policy_gradient(
    env: Environment, config: PolicyGradientConfig | None = None, name: str = "policy_gradient"
) -> Algorithm:
    """Policy gradients for discrete or continuous actions, which are PPO's.

    Args:
        env: observations of numbers, also with the legal actions beside them; actions :class:`Discrete`,
            :class:`MultiDiscrete`, or a :class:`Box` of one axis.
        config: sizes and choices.
        name: of the algorithm in titles and records.

    Raises:
        ValueError: if the environment's spaces are not among those, or actions have no values to be learnt.
    """
    config = config_or_default(config, PolicyGradientConfig)
    actions = (Discrete,) if config.psi == "q" else (Discrete, MultiDiscrete, Box)
    check_learnable(env, name, actions=actions, masks=True)
    net = make_network(env, config)
    scaled_env = scale_actions(env)

    def init(hypers: PolicyGradientHypers, key: jax.Array) -> PolicyGradientState:
        params_key, env_key, moments_key = jax.random.split(key, 3)
        params = collect.init_params(net, env, hypers.initial_log_std, params_key)
        state = PolicyGradientState(
            params=params,
            opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=rollout.reset(env, env_key, config.num_envs),
            obs_moments=collect.init_moments(env),
            return_moments=moments.init(()),
            discounted_return=jnp.zeros(config.num_envs, jnp.float32),
            past=jnp.zeros(config.num_envs, jnp.float32),
            old_params=jax.tree.map(lambda x: jnp.stack([x] * config.delay), params) if config.delay else None,
        )
        return collect.first_moments(scaled_env, net, config, hypers, state, moments_key)

    act = functools.partial(collect.act, env, net, config)
    update = rollout_update(functools.partial(play, scaled_env, net, config), functools.partial(learn, net, config))
    spec = Spec(
        name,
        config.batch_size,
        rollout.evaluation(env, no_carry, act),
        {"env": env.name, **dataclasses.asdict(config)},
        env_steps_of_init=config.env_steps_of_init,
        hypers_class=PolicyGradientHypers,
    )
    return Algorithm(init, update, no_carry, act, spec)


def make_network(env: Environment, config: PolicyGradientConfig) -> ActorCritic:
    """The actor-critic network that a config means, with a critic of actions for ``psi="q"``."""
    return collect.make_network(env, config).clone(action_values=config.psi == "q")


def behaviour(state: PolicyGradientState) -> PolicyGradientState:
    """The state as it acts: with the oldest parameters that are kept."""
    if state.old_params is None:
        return state
    return state.replace(params=jax.tree.map(lambda x: x[0], state.old_params))


def play(
    env: Environment,
    net: ActorCritic,
    config: PolicyGradientConfig,
    hypers: PolicyGradientHypers,
    state: PolicyGradientState,
    key: jax.Array,
) -> tuple[PolicyGradientState, Transition, Metrics]:
    """Collect a rollout ``[T, B]`` with what acts; its extras are the steps' numbers in their episodes, from 0."""

    def policy(
        net: Network, config: collect.Config, state: PolicyGradientState, carry: PyTree, obs: PyTree
    ) -> tuple[PyTree, PyTree]:
        return collect.policy(net, config, behaviour(state), carry, obs)

    begun = state.envs.episode_length
    state, transitions, metrics = collect.collect(env, net, config, hypers, state, key, policy)
    return state, transitions.replace(extras=weights.steps(transitions, begun)), metrics


def make_batch(
    net: ActorCritic,
    config: PolicyGradientConfig,
    hypers: PolicyGradientHypers,
    state: PolicyGradientState,
    transitions: Transition,
    reward: jax.Array,
) -> tuple[Batch, PolicyGradientState]:
    """Weights and the critic's targets of a rollout ``[T, B]`` with rewards to learn from, and what is to be kept."""
    action, pi = transitions.action, net.distribution
    obs = collect.normalize(config, state.obs_moments, transitions.obs)
    next_obs = collect.normalize(config, state.obs_moments, transitions.next_obs)
    policy, value = net.apply(state.params, obs)
    log_prob = pi.log_prob(policy, action)
    ratio = jnp.ones_like(reward)
    if config.delay:
        acted = net.apply(behaviour(state).params, obs, method="policy")
        ratio = surrogates.ratio(log_prob - pi.log_prob(acted, action))
    taken = _taken(net.apply(state.params, obs, method="action_value"), action) if config.psi == "q" else value
    rollout = weights.Rollout(
        reward=reward,
        step=transitions.extras,
        terminated=transitions.terminated,
        truncated=transitions.truncated,
        value=value,
        next_value=net.apply(state.params, next_obs, method="value"),
        taken=taken,
        ratio=ratio,
    )
    name = "gae" if config.psi == "vtrace" and not config.delay else config.psi
    weight, target, past = weights.psi(name, config.n_step, hypers, rollout, state.past)
    discounted = config.discount_weight and config.psi != "return"
    discount = jnp.asarray(hypers.gamma, reward.dtype) ** rollout.step if discounted else jnp.ones_like(reward)
    # The score of the distribution's parameters: that of all parameters, but for the size of what they multiply.
    scores = jax.grad(lambda policy: jnp.sum(pi.log_prob(policy, action)))(policy)
    square = sum(jnp.sum(jnp.square(x), axis=tuple(range(reward.ndim, x.ndim))) for x in jax.tree.leaves(scores))
    weight = discount * (weight - weights.baseline(name, config.baseline, weight, value, square * jnp.square(discount)))
    if config.normalize_advantage:
        weight = numerics.standardize(weight)
    return Batch(obs, action, weight, target), state.replace(past=past)


def loss(
    net: ActorCritic, config: PolicyGradientConfig, params: PyTree, hypers: PolicyGradientHypers, batch: Batch
) -> tuple[jax.Array, Metrics]:
    """``value_coef E[(V - target)^2] / 2 - E[weight log pi(a | s)] - entropy_coef H(pi)``, and its terms.

    Source: Williams 1992; Mnih et al. 2016 (arXiv 1602.01783), section 4.
    """
    policy, value = net.apply(params, batch.obs)
    if config.psi == "q":
        value = _taken(net.apply(params, batch.obs, method="action_value"), batch.action)
    log_prob = net.distribution.log_prob(policy, batch.action)
    terms = {
        "objective": jnp.mean(surrogates.policy_gradient(log_prob, batch.weight)),
        "value_loss": jnp.mean(surrogates.value_loss(value, batch.target)),
        "entropy": jnp.mean(net.distribution.entropy(policy)),
    }
    total = hypers.value_coef * terms["value_loss"] - terms["objective"] - hypers.entropy_coef * terms["entropy"]
    return total, terms


def learn(
    net: ActorCritic,
    config: PolicyGradientConfig,
    hypers: PolicyGradientHypers,
    state: PolicyGradientState,
    transitions: Transition,
    key: jax.Array,
) -> tuple[PolicyGradientState, Metrics]:
    """Learn from a rollout ``[T, B]``: one gradient step on all of it; the parameters from before it wait to act."""
    reward, state = collect.scale_reward(config, hypers.gamma, state, transitions)
    batch, state = make_batch(net, config, hypers, state, transitions, reward)
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    params, opt_state, terms = gradient_step(
        functools.partial(loss, net, config),
        optimizer,
        hypers.learning_rate,
        state.params,
        state.opt_state,
        hypers,
        batch,
    )
    if state.old_params is not None:
        queue = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), state.old_params, state.params)
        state = state.replace(old_params=queue)
    state = state.replace(params=params, opt_state=opt_state)
    return collect.next_moments(config, state, transitions), terms | {"weight": jnp.mean(batch.weight)}


def _taken(values: jax.Array, action: jax.Array) -> jax.Array:
    """The values ``[..., A]`` of the actions ``[...]``."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]
