"""Control with a table of action values, one step at a time: the agent that SARSA, Q-learning and all between share.

    algorithm = control(purerl.envs.make("CliffWalking"), n_step(3, "sampled"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

What all share is here: acting, exploring, counting visits, starting episodes anew. An
:class:`~purerl.algorithms.tabular.update_rule.UpdateRule` makes the difference. Each algorithm has a file of its own
name beside this one: :mod:`.sarsa`, :mod:`.expected_sarsa`, :mod:`.q_learning`, :mod:`.double_q_learning`,
:mod:`.tree_backup`, :mod:`.q_sigma`, :mod:`.sarsa_lambda`, :mod:`.q_lambda`, :mod:`.monte_carlo_control`.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from purerl import rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.tabular.update_rule import ControlTransition, UpdateRule
from purerl.config_checks import check_config, config_or_default
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.spaces import Discrete
from purerl.types import Mean, Metrics, PyTree, Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """Static settings of tabular control: what fixes a loop's length or a branch.

    Raises:
        ValueError: at construction, for a choice that does not exist or a number below 1.
    """

    num_steps: int = 100
    """Environment steps per update, over which metrics are averaged."""
    exploration: Literal["epsilon-greedy", "boltzmann", "ucb"] = "epsilon-greedy"
    """How the agent that learns behaves. Optimism is a high hypers.initial_value."""
    exploring_starts: bool = False
    """The first action of every episode is drawn uniformly. Where it starts is the environment's business."""
    max_episode_steps: int = 1000
    """After how many steps evaluation stops an episode: a greedy policy may go round in circles."""

    def __post_init__(self) -> None:
        check_config(self)


class ControlHypers(struct.PyTreeNode):
    """Hyperparameters of tabular control; what an algorithm has no use for plays no part."""

    step_size: float = hyper(0.1, above=0)
    """Step size of a pair's first visit, at most 1 where nothing is weighed."""
    step_decay: float = hyper(0.0, low=0)
    """Exponent e of step_size / N^e at a pair's visit N: 0 stays, 1 averages; (1/2, 1] for convergence."""
    gamma: float = hyper(1.0, low=0, high=1)
    """Discount."""
    initial_value: float = hyper(0.0, initial=True)
    """Of every action; optimistic where it exceeds every return."""
    epsilon: float = hyper(0.1, low=0, high=1)
    """Share of uniformly drawn actions at a state's first visit; 0 with optimism, 1 for any action."""
    temperature: float = hyper(1.0, above=0)
    """Of Boltzmann's exploration at a state's first visit, in units of value."""
    exploration_decay: float = hyper(0.0, low=0)
    """Exponent e of epsilon / N^e and temperature / N^e at a state's visit N: 0 stays, 1 is greedy in the limit."""
    bonus: float = hyper(1.0, low=0)
    """Width of UCB's bounds, in units of value."""
    target_epsilon: float = hyper(0.0, low=0, high=1)
    """Epsilon of the policy that is learned where it is not the behaviour; 0 for the greedy one."""
    sigma: float = hyper(0.5, low=0, high=1)
    """Share of sampling of Q(sigma)."""
    lambda_: float = hyper(0.9, low=0, high=1)
    """Decay of eligibility traces."""


class ControlState(struct.PyTreeNode):
    """An agent in the middle of an episode, about to act."""

    tables: PyTree  # of the update rule
    count: jax.Array  # [S, A] times that a pair was visited
    env_state: PyTree
    obs: jax.Array  # [] the state
    action: jax.Array  # [] chosen, not taken yet
    probability: jax.Array  # [] with which it was chosen
    episode_return: jax.Array  # [] undiscounted, so far
    episode_length: jax.Array  # [] steps so far


class ControlRollout(struct.PyTreeNode):
    """What happened in an update, step by step."""

    transition: ControlTransition  # leaves [T]
    error: Mean  # leaves [T]
    episode_return: jax.Array  # [T] of the episode up to and with this step
    episode_length: jax.Array  # [T]


@recorded
def control(env: Environment, rule: UpdateRule, config: ControlConfig | None = None) -> Algorithm:
    """Tabular control: an agent that acts, explores and learns in one environment.

    Metrics: ``episode_return`` and ``episode_length`` of the episodes that ended, and ``td_error``, the mean of
    ``|target - Q(s, a)|`` over what was learned.

    Args:
        env: discrete observations, each the number of a state, and discrete actions.
        rule: how it learns.
        config: sizes, and how to explore.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    config = config_or_default(config, ControlConfig)
    act = partial(act_from_table, rule, config)
    settings = {"env": env.name, **rule.settings, **dataclasses.asdict(config)}
    evaluate = rollout.evaluation(env, no_carry, act, max_steps=config.max_episode_steps)
    return Algorithm(
        init=partial(init_control, env, rule, config, table_sizes(env)),
        update=partial(update_control, env, rule, config),
        start=no_carry,
        act=act,
        spec=Spec(rule.name, config.num_steps, evaluate, settings, hypers_class=ControlHypers),
    )


def init_control(
    env: Environment,
    rule: UpdateRule,
    config: ControlConfig,
    sizes: tuple[int, int],
    hypers: ControlHypers,
    key: jax.Array,
) -> ControlState:
    """``Algorithm.init``: initial tables of ``sizes``, states and actions, and a first episode."""
    env_key, action_key = jax.random.split(key)
    obs, env_state = env.reset(env_key)
    tables = rule.init(hypers, *sizes)
    count = jnp.zeros(sizes)
    uniform = jax.random.uniform(action_key, dtype=count.dtype)
    action, probability = choose_action(rule, config, hypers, tables, count, obs, uniform, first=jnp.array(True))
    nothing = jnp.zeros_like(uniform)
    return ControlState(
        tables=tables,
        count=count,
        env_state=env_state,
        obs=obs,
        action=action,
        probability=probability,
        episode_return=nothing,
        episode_length=nothing,
    )


def update_control(
    env: Environment,
    rule: UpdateRule,
    config: ControlConfig,
    hypers: ControlHypers,
    state: ControlState,
    key: jax.Array,
) -> tuple[ControlState, Metrics]:
    """``Algorithm.update``: act and learn for ``config.num_steps`` steps."""
    state, steps = control_rollout(env, rule, config, hypers, state, key)
    ended = steps.transition.terminated | steps.transition.truncated
    number = jnp.sum(ended, dtype=steps.episode_return.dtype)
    return state, {
        "episode_return": Mean(jnp.sum(jnp.where(ended, steps.episode_return, 0.0)), number),
        "episode_length": Mean(jnp.sum(jnp.where(ended, steps.episode_length, 0.0)), number),
        "td_error": jax.tree.map(jnp.sum, steps.error),
    }


def act_from_table(
    rule: UpdateRule,
    config: ControlConfig,
    hypers: ControlHypers,
    state: ControlState,
    carry: tuple,
    seen: Seen,
    key: jax.Array,
    sample: bool = False,
) -> tuple[tuple, jax.Array]:
    """``Algorithm.act``: the first of the greedy actions, or a sample from the behaviour policy."""
    value = jax.vmap(partial(rule.values, state.tables))(seen.obs)  # [B, A]
    if not sample:
        return carry, jnp.argmax(value, axis=-1).astype(jnp.int32)
    policy = behaviour_policy(config, hypers, value, state.count[seen.obs])
    uniform = jax.random.uniform(key, value.shape[:1], state.count.dtype)
    return carry, exploration.sample(policy, uniform)


def table_sizes(env: Environment) -> tuple[int, int]:
    """How many states and actions a table of action values has.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    states, actions = env.observation_space, env.action_space
    if not isinstance(states, Discrete):
        raise ValueError(f"{env.name}: a table needs Discrete observations, but they are {states}; number the states.")
    if not isinstance(actions, Discrete):
        raise ValueError(f"{env.name}: a table needs Discrete actions, but they are {actions}; choose a few of them.")
    return states.n, actions.n


def control_rollout(
    env: Environment,
    rule: UpdateRule,
    config: ControlConfig,
    hypers: ControlHypers,
    state: ControlState,
    key: jax.Array,
) -> tuple[ControlState, ControlRollout]:
    """The loop of tabular control: acting and learning for ``config.num_steps`` steps, of which all are returned."""
    step_key, start_key, uniform_key = jax.random.split(key, 3)
    inputs = (
        jax.random.split(step_key, config.num_steps),
        jax.vmap(env.reset)(jax.random.split(start_key, config.num_steps)),
        jax.random.uniform(uniform_key, (config.num_steps, 2), state.count.dtype),
    )
    return jax.lax.scan(partial(control_step, env, rule, config, hypers), state, inputs)


def control_step(
    env: Environment,
    rule: UpdateRule,
    config: ControlConfig,
    hypers: ControlHypers,
    state: ControlState,
    inputs: tuple,
) -> tuple[ControlState, ControlRollout]:
    """Take the chosen action, choose the next one, and learn, in the order that the rule asks for."""
    step_key, fresh, (uniform, own_uniform) = inputs
    next_obs, env_state, reward, terminated, truncated, info = env.step(step_key, state.env_state, state.action)
    ended = terminated | truncated
    obs, env_state = jax.tree.map(lambda s, n: jnp.where(ended, s, n), fresh, (next_obs, env_state))
    visit = state.count[state.obs, state.action] + 1
    count = state.count.at[state.obs, state.action].set(visit)
    transition = ControlTransition(
        obs=state.obs,
        action=state.action,
        probability=state.probability,
        step_size=exploration.power_decay(hypers.step_size, visit, hypers.step_decay),
        reward=jnp.asarray(reward, count.dtype),
        terminated=terminated,
        truncated=truncated,
        next_obs=next_obs,
        next_action=jnp.zeros_like(state.action),
        next_probability=jnp.ones_like(state.probability),
        uniform=own_uniform,
    )

    def target(value: jax.Array, at: jax.Array) -> jax.Array:
        return target_policy(rule, config, hypers, value, count[at])

    def choose(tables: PyTree) -> tuple[jax.Array, jax.Array]:
        return choose_action(rule, config, hypers, tables, count, obs, uniform, first=ended)

    if rule.learns_first:
        tables, error = rule.learn(hypers, state.tables, transition, target)
        action, probability = choose(tables)
    else:
        action, probability = choose(state.tables)
        transition = transition.replace(next_action=action, next_probability=probability)
        tables, error = rule.learn(hypers, state.tables, transition, target)

    length, total = state.episode_length + 1, info.get("episode_return", state.episode_return + transition.reward)
    total = total.astype(length.dtype)
    after = ControlState(
        tables=tables,
        count=count,
        env_state=env_state,
        obs=obs,
        action=action,
        probability=probability,
        episode_return=jnp.where(ended, 0.0, total),
        episode_length=jnp.where(ended, 0.0, length),
    )
    return after, ControlRollout(transition=transition, error=error, episode_return=total, episode_length=length)


# --- behaviour and target policies ------------------------------------------------------------------------


def behaviour_policy(config: ControlConfig, hypers: ControlHypers, value: jax.Array, count: jax.Array) -> jax.Array:
    """Policy that acts: epsilon-greedy, Boltzmann or UCB, from action values and visits ``[..., A]``."""
    if config.exploration == "epsilon-greedy":
        return exploration.epsilon_greedy(value, exploration_rate(hypers, hypers.epsilon, count))
    if config.exploration == "boltzmann":
        return exploration.boltzmann(value, exploration_rate(hypers, hypers.temperature, count))
    return exploration.greedy(exploration.upper_confidence(value, count, hypers.bonus))


def target_policy(
    rule: UpdateRule, config: ControlConfig, hypers: ControlHypers, value: jax.Array, count: jax.Array
) -> jax.Array:
    """Policy that is learned: the one that acts, or off policy the epsilon-greedy one with hypers.target_epsilon."""
    if rule.on_policy:
        return behaviour_policy(config, hypers, value, count)
    return exploration.epsilon_greedy(value, hypers.target_epsilon)


def exploration_rate(hypers: ControlHypers, initial: Any, count: jax.Array) -> jax.Array:
    """Exploration that decays with the visits of the state, this one included: ``initial / N^e``, ``[..., 1]``.

    Greedy in the limit, with infinite exploration of every action.

    Source: Singh et al. 2000, "Convergence results for single-step on-policy reinforcement-learning algorithms".
    """
    visit = 1 + jnp.sum(count, axis=-1, keepdims=True)
    return exploration.power_decay(initial, visit, hypers.exploration_decay)


def choose_action(
    rule: UpdateRule,
    config: ControlConfig,
    hypers: ControlHypers,
    tables: PyTree,
    count: jax.Array,
    obs: jax.Array,
    uniform: jax.Array,
    first: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Sample an action of the behaviour policy at a state, with its probability; ``first`` of its episode or not."""
    policy = behaviour_policy(config, hypers, rule.values(tables, obs), count[obs])
    if config.exploring_starts:
        policy = jnp.where(first, 1 / policy.shape[-1], policy)
    action = exploration.sample(policy, uniform)
    return action, policy[action]
