"""Multi-armed bandits: choose an arm, see its reward, learn, once a step.

    algorithm = bandit(purerl.envs.bandits.gaussian(num_arms=10), epsilon_greedy)
    state = algorithm.init(EpsilonGreedyHypers(epsilon=0.1), key)

Each seed of a run draws its own game, the same one for every agent, so a sweep over seeds is a sweep over games.

A :class:`BanditAgent` is a policy and what it learns; each has a file of its own beside this one, with its record of
hyperparameters. All of them are leaves: sample averages and constant steps, optimistic and neutral initial values, a
baseline and none are values of one program.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config, config_or_default
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.recipes import recorded
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree, Seen


class BanditAgent(NamedTuple):
    """A bandit algorithm, as pure functions of the statistics that it keeps.

    Attributes:
        name: of the algorithm that it makes.
        init: ``(hypers, num_arms, obs_shape) -> statistics``.
        policy: ``(hypers, statistics, obs, key) -> [A]``, the probability of each arm. The key is for an agent whose
            policy is itself sampled, as Thompson's is.
        learn: ``(hypers, statistics, obs, action, reward) -> statistics``.
        hypers_class: of its hyperparameters, as of :class:`~purerl.algorithm.Spec`.
        reward_range: that it is defined for; it learns from rewards clipped to it. None: any reward.
    """

    name: str
    init: Callable
    policy: Callable
    learn: Callable
    hypers_class: type | None = None
    reward_range: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BanditConfig:
    """Static settings of a bandit run: what fixes a loop's length.

    Raises:
        ValueError: at construction, if there is no step.
    """

    num_steps: int = 100
    """Pulls per update, over which metrics are averaged."""

    def __post_init__(self) -> None:
        check_config(self)


class BanditState(struct.PyTreeNode):
    """State of a bandit run: an agent in the middle of a game."""

    statistics: PyTree  # the agent's
    problem: PyTree  # the environment's state
    obs: jax.Array  # [...] seen before the next pull


@recorded
def bandit(env: Environment, agent: BanditAgent, config: BanditConfig | None = None) -> Algorithm:
    """Multi-armed bandit: an agent that plays one game for ever.

    Metrics are means over an update's pulls: ``reward`` and all that the environment's ``info`` holds, of the bandits
    of purerl ``regret`` (pseudo-regret per pull, from the true means) and ``optimal`` (share of pulls of a best arm);
    of an agent with a range of rewards also ``clipped_rewards``, the share of those outside, which it sees clipped.
    Nothing is evaluated: in a fresh game nothing is known, and in its own the agent is measured as it learns.

    Args:
        env: discrete actions, and episodes that do not end.
        agent: the bandit algorithm.
        config: sizes.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config_or_default(config, BanditConfig)
    if not isinstance(env.action_space, Discrete):
        raise ValueError(
            f"{env.name}: a bandit's arms are Discrete actions, but the action space is {env.action_space}."
        )
    num_arms, obs_shape = env.action_space.n, tuple(env.observation_space.shape)

    def init(hypers: PyTree, key: jax.Array) -> BanditState:
        obs, problem = env.reset(key)
        return BanditState(statistics=agent.init(hypers, num_arms, obs_shape), problem=problem, obs=obs)

    def update(hypers: PyTree, state: BanditState, key: jax.Array) -> tuple[BanditState, Metrics]:
        keys = jax.random.split(key, config.num_steps)
        state, metrics = jax.lax.scan(partial(pull, env, agent, hypers), state, keys)
        return state, jax.tree.map(jnp.mean, metrics)

    def act(
        hypers: PyTree, state: BanditState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        keys = jax.random.split(key, len(seen.obs))
        choose = jax.vmap(lambda obs, key: choose_arm(agent, hypers, state.statistics, obs, key, sample))
        return carry, choose(seen.obs, keys)

    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec(agent.name, config.num_steps, settings=settings, hypers_class=agent.hypers_class)
    return Algorithm(init, update, no_carry, act, spec)


def pull(
    env: Environment, agent: BanditAgent, hypers: PyTree, state: BanditState, key: jax.Array
) -> tuple[BanditState, Metrics]:
    """One pull of an arm, and what is learned from its reward."""
    action_key, env_key = jax.random.split(key)
    action = choose_arm(agent, hypers, state.statistics, state.obs, action_key, sample=True)
    obs, problem, reward, _, _, info = env.step(env_key, state.problem, action)
    metrics, learnt = {"reward": reward, **info}, reward
    if agent.reward_range is not None:
        learnt = jnp.clip(reward, *agent.reward_range)
        metrics["clipped_rewards"] = (reward != learnt).astype(jnp.float32)
    statistics = agent.learn(hypers, state.statistics, state.obs, action, learnt)
    return BanditState(statistics=statistics, problem=problem, obs=obs), metrics


def choose_arm(
    agent: BanditAgent, hypers: PyTree, statistics: PyTree, obs: jax.Array, key: jax.Array, sample: bool
) -> jax.Array:
    """An arm sampled from the policy, or else the arm of the highest probability."""
    policy_key, arm_key = jax.random.split(key)
    policy = agent.policy(hypers, statistics, obs, policy_key)
    if not sample:
        return jnp.argmax(policy).astype(jnp.int32)
    return exploration.sample(policy, jax.random.uniform(arm_key, dtype=policy.dtype))
