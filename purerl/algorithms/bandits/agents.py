"""Bandits: choose an arm, see what it earns, learn, once a step.

    algorithm = bandit(purerl.envs.bandits.gaussian(num_arms=10), epsilon_greedy)
    state = algorithm.init(EpsilonGreedyHypers(epsilon=0.1), key)

A seed of a run draws a game of its own, the same one for every agent, so a sweep over seeds is a sweep over games.

An agent is a policy and what it learns, and most learn the same, the arms' means. A record of hyperparameters stands
beside each. All of them are leaves: sample averages and constant steps, optimistic and neutral beginnings, a baseline
and none are values of one program.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import xlogy

from purerl.algorithm import Algorithm, Spec
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree

_BISECTIONS = 20  # halve an interval of at most 1 down to float32's last bits


class Agent(NamedTuple):
    """A player, as pure functions of its memory.

    Attributes:
        name: of the algorithm that it makes.
        init: ``(hypers, num_arms, obs_shape) -> memory``.
        policy: ``(hypers, memory, obs, key) -> [A]``, how likely it pulls each arm. The key is for a player whose
            policy is itself drawn, as Thompson's is.
        learn: ``(hypers, memory, obs, action, reward) -> memory``.
    """

    name: str
    init: Callable
    policy: Callable
    learn: Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class BanditConfig:
    """What fixes a loop's length.

    Raises:
        ValueError: at construction, if there is no step.
    """

    num_steps: int = 100
    """Pulls per update, over which metrics are averaged."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"BanditConfig.num_steps = {self.num_steps}: it must be at least 1.")


class BanditState(struct.PyTreeNode):
    """A player in the middle of a game."""

    memory: PyTree  # the agent's
    problem: PyTree  # the environment's state
    obs: jax.Array  # [...] seen before the next pull


def bandit(env: Environment, agent: Agent, config: BanditConfig | None = None) -> Algorithm:
    """An agent that plays one bandit for ever.

    Metrics are means over an update's pulls: ``reward`` and all that the environment's ``info`` holds, of the bandits
    of purerl ``regret`` (pseudo-regret per pull, from the true means) and ``optimal`` (share of pulls of a best arm).
    Nothing is evaluated: in a fresh game nothing is known, and in its own the agent is measured as it learns.

    Args:
        env: discrete actions, and episodes that do not end.
        agent: who plays.
        config: sizes.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config or BanditConfig()
    if not isinstance(env.action_space, Discrete):
        raise ValueError(
            f"{env.name}: a bandit's arms are Discrete actions, but the action space is {env.action_space}."
        )
    num_arms, obs_shape = env.action_space.n, tuple(env.observation_space.shape)

    def init(hypers: PyTree, key: jax.Array) -> BanditState:
        obs, problem = env.reset(key)
        return BanditState(memory=agent.init(hypers, num_arms, obs_shape), problem=problem, obs=obs)

    def pull(hypers: PyTree, state: BanditState, key: jax.Array) -> tuple[BanditState, Metrics]:
        action_key, env_key = jax.random.split(key)
        action = act(hypers, state, state.obs, action_key, sample=True)
        obs, problem, reward, _, _, info = env.step(env_key, state.problem, action)
        memory = agent.learn(hypers, state.memory, state.obs, action, reward)
        return BanditState(memory=memory, problem=problem, obs=obs), {"reward": reward, **info}

    def update(hypers: PyTree, state: BanditState, key: jax.Array) -> tuple[BanditState, Metrics]:
        keys = jax.random.split(key, config.num_steps)
        state, metrics = jax.lax.scan(lambda state, key: pull(hypers, state, key), state, keys)
        return state, jax.tree.map(jnp.mean, metrics)

    def act(hypers: PyTree, state: BanditState, obs: jax.Array, key: jax.Array, sample: bool = False) -> jax.Array:
        """A draw from the policy, or else the arm that is likeliest under it."""
        policy_key, arm_key = jax.random.split(key)
        policy = agent.policy(hypers, state.memory, obs, policy_key)
        if not sample:
            return jnp.argmax(policy).astype(jnp.int32)
        return exploration.sample(policy, jax.random.uniform(arm_key, dtype=policy.dtype))

    settings = {"env": env.name, **dataclasses.asdict(config)}
    return Algorithm(init, update, act, Spec(agent.name, config.num_steps, settings=settings))


# --- what most agents learn ------------------------------------------------------------------------------


class ArmValues(struct.PyTreeNode):
    """What is known of the arms."""

    value: jax.Array  # [A] estimate of the mean reward
    count: jax.Array  # [A] pulls


def move_towards(values: ArmValues, action: jax.Array, reward: jax.Array, step: float, decay: float) -> ArmValues:
    """``Q_a += step N_a^-decay (r - Q_a)`` of the arm pulled, after ``N_a += 1``.

    Step 1 and decay 1 make ``Q_a`` the mean of the arm's rewards. Decay 0 weighs a reward that came ``i`` pulls before
    the last by ``step (1 - step)^i``, and what ``Q_a`` was at the beginning by ``(1 - step)^N``.

    Args:
        values: so far.
        action: ``[]``, the arm pulled.
        reward: ``[]``, what it earned.
        step: step size of an arm's first pull, in (0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, (2.3) and (2.5).
    """
    pulled = _one_hot(action, values.value)
    count = values.count + pulled
    size = exploration.power_decay(step, jnp.maximum(count, 1), decay)
    return ArmValues(value=values.value + pulled * size * (reward - values.value), count=count)


def _no_values(hypers: PyTree, num_arms: int, obs_shape: tuple[int, ...]) -> ArmValues:
    return ArmValues(value=jnp.zeros(num_arms), count=jnp.zeros(num_arms))


def _average(hypers: PyTree, values: ArmValues, obs: jax.Array, action: jax.Array, reward: jax.Array) -> ArmValues:
    return move_towards(values, action, reward, 1.0, 1.0)


# --- epsilon-greedy ---------------------------------------------------------------------------------------


class EpsilonGreedyHypers(struct.PyTreeNode):
    """Of epsilon-greedy, greedy (epsilon 0) and optimistic (a high initial value) agents."""

    epsilon: float = 0.1
    """Share of uniformly drawn arms at the first pull, in [0, 1]."""
    epsilon_decay: float = 0.0
    """Exponent e of epsilon / t^e at pull t: 0 stays, 1 is greedy in the limit with infinite exploration."""
    step_size: float = 1.0
    """Step size of an arm's first pull, in (0, 1]."""
    step_decay: float = 1.0
    """Exponent e of step_size / N^e at an arm's pull N: 1 averages, 0 follows arms that change."""
    initial_value: float = 0.0
    """What an arm is thought to earn before it is pulled. An average forgets it at once, a constant step slowly."""


def _initial_values(hypers: EpsilonGreedyHypers, num_arms: int, obs_shape: tuple[int, ...]) -> ArmValues:
    nothing = _no_values(hypers, num_arms, obs_shape)
    return nothing.replace(value=nothing.value + hypers.initial_value)


def _epsilon_greedy(hypers: EpsilonGreedyHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    pull = 1 + jnp.sum(values.count)
    return exploration.epsilon_greedy(values.value, exploration.power_decay(hypers.epsilon, pull, hypers.epsilon_decay))


def _step(
    hypers: EpsilonGreedyHypers, values: ArmValues, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> ArmValues:
    return move_towards(values, action, reward, hypers.step_size, hypers.step_decay)


epsilon_greedy = Agent("epsilon-greedy", _initial_values, _epsilon_greedy, _step)
"""The arm of the highest estimate, and now and then any. Sutton & Barto 2018, sections 2.2 to 2.6."""


# --- upper confidence bounds ------------------------------------------------------------------------------


class UCB1Hypers(struct.PyTreeNode):
    """Of UCB1."""

    bonus: float = math.sqrt(2)
    """c, in units of reward; sqrt(2) is what the regret bound for rewards in [0, 1] is proved with."""


def _ucb1(hypers: UCB1Hypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exploration.greedy(exploration.upper_confidence(values.value, values.count, hypers.bonus))


ucb1 = Agent("ucb1", _no_values, _ucb1, _average)
"""Optimism in the face of uncertainty; regret below ``8 ln n sum 1/gap + (1 + pi^2/3) sum gap`` after n pulls."""


class KLUCBHypers(struct.PyTreeNode):
    """Of KL-UCB."""

    log_log: float = 0.0
    """c of the budget ln n + c ln ln n: 3 in the proof of optimality, 0 in practice."""


def bernoulli_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """``KL(p ; q) = p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))`` of two coins, ``[...]``, with ``0 ln 0 = 0``."""
    return xlogy(p, p) - xlogy(p, q) + xlogy(1 - p, 1 - p) - xlogy(1 - p, 1 - q)


def kl_ucb_index(values: ArmValues, log_log: float) -> jax.Array:
    """``max {q : N_a KL(Q_a ; q) <= ln n + c ln ln n}``, by bisection; infinite for an untried arm. ``[A]``.

    Source: Garivier and Cappé 2011 (arXiv 1102.2490), algorithm 1.
    """
    log_pulls = jnp.log(jnp.maximum(jnp.sum(values.count), 1))
    budget = log_pulls + log_log * jnp.log(jnp.maximum(log_pulls, 1))
    mean = jnp.clip(values.value, 0, 1)  # an average of zeros and ones may leave [0, 1] by its rounding

    def halve(_, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        plausible = values.count * bernoulli_kl(mean, middle) <= budget
        return jnp.where(plausible, middle, low), jnp.where(plausible, high, middle)

    low, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (mean, jnp.ones_like(mean)))
    return _untried_first(values, low)


def _kl_ucb(hypers: KLUCBHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exploration.greedy(kl_ucb_index(values, hypers.log_log))


kl_ucb = Agent("kl-ucb", _no_values, _kl_ucb, _average)
"""UCB with the bound that fits coins, rewards in [0, 1]: its regret is asymptotically the least there can be."""


def _untried_first(values: ArmValues, index: jax.Array) -> jax.Array:
    return jnp.where(values.count == 0, jnp.inf, index)


# --- gradient ---------------------------------------------------------------------------------------------


class GradientHypers(struct.PyTreeNode):
    """Of the gradient bandit."""

    step_size: float = 0.1
    """Length of a step along the gradient, > 0."""
    baseline: float = 1.0
    """Share of the mean reward that a reward is compared to: 1 or 0."""


class Preferences(struct.PyTreeNode):
    """What a gradient bandit remembers."""

    preference: jax.Array  # [A] logits of its policy
    mean_reward: jax.Array  # [] over all pulls so far
    count: jax.Array  # [] pulls


def _no_preferences(hypers: GradientHypers, num_arms: int, obs_shape: tuple[int, ...]) -> Preferences:
    return Preferences(preference=jnp.zeros(num_arms), mean_reward=jnp.zeros(()), count=jnp.zeros(()))


def _softmax(hypers: GradientHypers, memory: Preferences, obs: jax.Array, key: jax.Array) -> jax.Array:
    return jax.nn.softmax(memory.preference)


def _ascend(
    hypers: GradientHypers, memory: Preferences, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> Preferences:
    # The mean leaves out the present reward, so that it depends on no present choice, and the step has no bias.
    baseline = hypers.baseline * jnp.where(memory.count > 0, memory.mean_reward, reward)
    score = _one_hot(action, memory.preference) - jax.nn.softmax(memory.preference)
    count = memory.count + 1
    return Preferences(
        preference=memory.preference + hypers.step_size * (reward - baseline) * score,
        mean_reward=memory.mean_reward + (reward - memory.mean_reward) / count,
        count=count,
    )


gradient = Agent("gradient-bandit", _no_preferences, _softmax, _ascend)
"""Stochastic ascent, ``H_a += alpha (r - baseline) (1[a pulled] - pi_a)``. Sutton & Barto 2018, (2.12)."""


# --- Thompson sampling ------------------------------------------------------------------------------------


class GaussianThompsonHypers(struct.PyTreeNode):
    """Of Thompson sampling for normal rewards."""

    prior_mean: float = 0.0
    """Of an arm's mean."""
    prior_std: float = 1.0
    """Of an arm's mean, > 0."""
    noise_std: float = 1.0
    """Of a reward around it, > 0; taken as known."""


def gaussian_posterior(hypers: GaussianThompsonHypers, values: ArmValues) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of what an arm may earn on average, ``[A]`` each.

    ``1/s^2 = 1/prior_std^2 + N/noise_std^2``, ``m = s^2 (prior_mean/prior_std^2 + N Q/noise_std^2)``
    """
    prior, seen = hypers.prior_std**-2, values.count * hypers.noise_std**-2
    precision = prior + seen
    return (prior * hypers.prior_mean + seen * values.value) / precision, precision**-0.5


def _gaussian_thompson(hypers: GaussianThompsonHypers, values: ArmValues, obs: jax.Array, key: jax.Array) -> jax.Array:
    mean, std = gaussian_posterior(hypers, values)
    return exploration.greedy(mean + std * jax.random.normal(key, mean.shape, mean.dtype))


gaussian_thompson = Agent("gaussian-thompson", _no_values, _gaussian_thompson, _average)
"""Pull an arm as often as it is likely to be the best, rewards being normal. Thompson 1933."""


class BernoulliThompsonHypers(struct.PyTreeNode):
    """Of Thompson sampling for rewards 0 and 1."""

    prior_successes: float = 1.0
    """First parameter of the Beta prior, > 0."""
    prior_failures: float = 1.0
    """Second parameter of the Beta prior, > 0."""


def bernoulli_posterior(hypers: BernoulliThompsonHypers, values: ArmValues) -> tuple[jax.Array, jax.Array]:
    """Parameters of the Beta distribution of each arm's mean: prior and what was seen added up, ``[A]`` each."""
    successes = values.count * values.value
    return hypers.prior_successes + successes, hypers.prior_failures + values.count - successes


def _bernoulli_thompson(
    hypers: BernoulliThompsonHypers, values: ArmValues, obs: jax.Array, key: jax.Array
) -> jax.Array:
    return exploration.greedy(jax.random.beta(key, *bernoulli_posterior(hypers, values)))


bernoulli_thompson = Agent("bernoulli-thompson", _no_values, _bernoulli_thompson, _average)
"""Pull an arm as often as it is likely to be the best, rewards being 0 or 1. Chapelle and Li 2011, algorithm 2."""


# --- EXP3 -------------------------------------------------------------------------------------------------


class EXP3Hypers(struct.PyTreeNode):
    """Of EXP3."""

    exploration: float = 0.1
    """gamma: share of uniformly drawn arms, and the learning rate, in (0, 1]."""


class RewardSums(struct.PyTreeNode):
    """What EXP3 remembers."""

    total: jax.Array  # [A] unbiased estimate of all that an arm would have earned


def _no_sums(hypers: EXP3Hypers, num_arms: int, obs_shape: tuple[int, ...]) -> RewardSums:
    return RewardSums(total=jnp.zeros(num_arms))


def exp3_policy(total: jax.Array, gamma: float) -> jax.Array:
    """``(1 - gamma) softmax(gamma G / A) + gamma / A`` of estimated totals G, ``[A] -> [A]``."""
    num_arms = total.shape[-1]
    return (1 - gamma) * exploration.boltzmann(total, num_arms / gamma) + gamma / num_arms


def _exp3(hypers: EXP3Hypers, memory: RewardSums, obs: jax.Array, key: jax.Array) -> jax.Array:
    return exp3_policy(memory.total, hypers.exploration)


def _reweigh(
    hypers: EXP3Hypers, memory: RewardSums, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> RewardSums:
    pulled = _one_hot(action, memory.total)
    return RewardSums(total=memory.total + pulled * reward / exp3_policy(memory.total, hypers.exploration))


exp3 = Agent("exp3", _no_sums, _exp3, _reweigh)
"""Exponential weights for rewards in [0, 1] that an adversary may choose: it falls behind the best arm, which earns G,
by at most ``(e - 1) gamma G + A ln A / gamma``. Auer et al. 2002, The nonstochastic multiarmed bandit problem."""


# --- LinUCB -----------------------------------------------------------------------------------------------


class LinUCBHypers(struct.PyTreeNode):
    """Of LinUCB."""

    bonus: float = 1.0
    """alpha: how many standard deviations above the estimate the bound stands, at least 0."""
    ridge: float = 1.0
    """Weight of the penalty on the coefficients, > 0."""


class LinearModels(struct.PyTreeNode):
    """A ridge regression for every arm."""

    inverse: jax.Array  # [A, D, D] (ridge I + sum x x')^-1
    weighted: jax.Array  # [A, D] sum of r x


def _no_models(hypers: LinUCBHypers, num_arms: int, obs_shape: tuple[int, ...]) -> LinearModels:
    if len(obs_shape) != 1:
        raise ValueError(f"LinUCB needs an observation of one axis, its features, but the shape is {obs_shape}.")
    (num_features,) = obs_shape
    inverse = jnp.broadcast_to(jnp.eye(num_features) / hypers.ridge, (num_arms, num_features, num_features))
    return LinearModels(inverse=inverse, weighted=jnp.zeros((num_arms, num_features)))


def coefficients(models: LinearModels) -> jax.Array:
    """The ridge estimates ``(ridge I + sum x x')^-1 sum r x``, ``[A, D]``."""
    return jnp.einsum("aij,aj->ai", models.inverse, models.weighted)


def _linucb(hypers: LinUCBHypers, models: LinearModels, obs: jax.Array, key: jax.Array) -> jax.Array:
    variance = jnp.einsum("aij,i,j->a", models.inverse, obs, obs)
    return exploration.greedy(coefficients(models) @ obs + hypers.bonus * jnp.sqrt(jnp.maximum(variance, 0)))


def _regress(
    hypers: LinUCBHypers, models: LinearModels, obs: jax.Array, action: jax.Array, reward: jax.Array
) -> LinearModels:
    # Sherman and Morrison: the inverse of a matrix plus x x' without inverting anything anew.
    moved = models.inverse @ obs  # [A, D]
    change = jnp.einsum("ai,aj->aij", moved, moved) / (1 + moved @ obs)[:, None, None]
    pulled = _one_hot(action, models.weighted[:, 0])
    return LinearModels(
        inverse=models.inverse - pulled[:, None, None] * change,
        weighted=models.weighted + pulled[:, None] * reward * obs,
    )


linucb = Agent("linucb", _no_models, _linucb, _regress)
"""UCB on a linear model of each arm's reward in the observation. Li et al. 2010 (arXiv 1003.0146), algorithm 1."""


def _one_hot(action: jax.Array, like: jax.Array) -> jax.Array:
    """1 at the action and 0 elsewhere, ``[A]``: under ``vmap`` far faster than writing at an index."""
    return (jnp.arange(like.shape[0]) == action).astype(like.dtype)
