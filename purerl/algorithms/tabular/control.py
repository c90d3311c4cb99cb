"""Control with a table of action values, one step at a time: SARSA, Q-learning and all between.

    algorithm = q_learning(purerl.envs.make("CliffWalking"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

What all share is here: acting, exploring, counting visits, starting episodes anew. A :class:`Learner` is what makes the
difference, and a function beside it is named as the textbook names it. Here are those that look n steps ahead, from
sampling every action to averaging over all; those with eligibility traces are in :mod:`.traces`, those that wait for
the episode's end in :mod:`.monte_carlo`.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct

from purerl import rollout
from purerl.algorithm import Algorithm, Spec
from purerl.envs.base import Environment
from purerl.kernels import backups, exploration
from purerl.mdp import average
from purerl.spaces import Discrete
from purerl.types import Episodes, Mean, Metrics, PyTree

Backup = Literal["sampled", "expected", "mixed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """What fixes a loop's length or a branch.

    Raises:
        ValueError: at construction, for what does not exist or has no step.
    """

    num_steps: int = 100
    """Environment steps per update, over which metrics are averaged."""
    exploration: Literal["epsilon-greedy", "boltzmann", "ucb"] = "epsilon-greedy"
    """How the agent that learns behaves. Optimism is a high hypers.initial_value."""
    exploring_starts: bool = False
    """The first action of every episode is drawn uniformly. Where it starts is the environment's business."""
    max_episode_steps: int = 1000
    """Where evaluation cuts an episode: a greedy policy may go round in circles."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "max_episode_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"ControlConfig.{name} = {getattr(self, name)}: it must be at least 1.")
        if self.exploration not in _BEHAVIOURS:
            raise ValueError(
                f"ControlConfig.exploration = {self.exploration!r}: choose one of {', '.join(_BEHAVIOURS)}."
            )


class ControlHypers(struct.PyTreeNode):
    """Of all learners; what one has no use for plays no part.

    Raises:
        ValueError: at construction, for a plain number out of its range. Arrays, as in a sweep, are not looked into.
    """

    step_size: float = 0.1
    """Step size of a pair's first visit, > 0, at most 1 where nothing is weighed."""
    step_decay: float = 0.0
    """Exponent e of step_size / N^e at a pair's visit N: 0 stays, 1 averages; (1/2, 1] for convergence."""
    gamma: float = 1.0
    """Discount, in [0, 1]."""
    initial_value: float = 0.0
    """Of every action; optimistic where it exceeds all that can be earned."""
    epsilon: float = 0.1
    """Share of uniformly drawn actions at a state's first visit, in [0, 1]; 0 with optimism, 1 for any action."""
    temperature: float = 1.0
    """Of Boltzmann's exploration at a state's first visit, in units of value, > 0."""
    exploration_decay: float = 0.0
    """Exponent e of epsilon / N^e and temperature / N^e at a state's visit N: 0 stays, 1 is greedy in the limit."""
    bonus: float = 1.0
    """Width of UCB's bounds, in units of value, at least 0."""
    target_epsilon: float = 0.0
    """Epsilon of the policy that is learned where it is not the behaviour; 0 for the greedy one."""
    sigma: float = 0.5
    """Share of sampling of Q(sigma), in [0, 1]."""
    lambda_: float = 0.9
    """Decay of eligibility traces, in [0, 1]."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, int | float) and not low <= value <= high:
                raise ValueError(f"ControlHypers.{name} = {value}: it must lie in [{low:g}, {high:g}].")


_TINY = 1e-30  # what must be positive is at least this
_SHARE = (0.0, 1.0)
_NOT_NEGATIVE = (0.0, sys.float_info.max)
_POSITIVE = (_TINY, sys.float_info.max)
_FINITE = (-sys.float_info.max, sys.float_info.max)
_RANGES: dict[str, tuple[float, float]] = {
    "step_size": _POSITIVE,
    "step_decay": _NOT_NEGATIVE,
    "gamma": _SHARE,
    "initial_value": _FINITE,
    "epsilon": _SHARE,
    "temperature": _POSITIVE,
    "exploration_decay": _NOT_NEGATIVE,
    "bonus": _NOT_NEGATIVE,
    "target_epsilon": _SHARE,
    "sigma": _SHARE,
    "lambda_": _SHARE,
}


class Step(struct.PyTreeNode):
    """What a learner is told of one step. ``b`` is the policy that acted."""

    obs: jax.Array  # [] the state
    action: jax.Array  # []
    probability: jax.Array  # [] b(action | obs)
    step_size: jax.Array  # [] for this visit of the pair
    reward: jax.Array  # []
    terminated: jax.Array  # [] bool
    truncated: jax.Array  # [] bool
    next_obs: jax.Array  # [] where it led to, before any reset
    next_action: jax.Array  # [] taken there, if the episode goes on; 0 if it is not chosen yet
    next_probability: jax.Array  # [] b(next_action | next_obs); 1 if it is not chosen yet
    uniform: jax.Array  # [] in [0, 1), the learner's own chance


class Learner(NamedTuple):
    """What is made of experience, as pure functions of a memory.

    Attributes:
        name: of the algorithm that it makes.
        init: ``(hypers, num_states, num_actions) -> memory``.
        values: ``(memory, state) -> [A]``, what it thinks of the actions there.
        learn: ``(hypers, memory, step, target) -> (memory, error)``. ``target`` is the policy that is learned:
            ``(values [..., A], state [...]) -> [..., A]``. ``error`` is a ``Mean`` of absolute errors.
        on_policy: the policy that is learned is the one that acts. If not, it is epsilon-greedy with target_epsilon.
        learns_first: the next action is chosen when the step is learned, not before.
        settings: what else tells it from others of its kind.
    """

    name: str
    init: Callable
    values: Callable
    learn: Callable
    on_policy: bool
    learns_first: bool
    settings: Mapping[str, Any] = MappingProxyType({})


class ControlState(struct.PyTreeNode):
    """An agent in the middle of an episode, about to act."""

    memory: PyTree  # the learner's
    count: jax.Array  # [S, A] times that a pair was visited
    env_state: PyTree
    obs: jax.Array  # [] the state
    action: jax.Array  # [] chosen, not taken yet
    probability: jax.Array  # [] with which it was chosen
    episode_return: jax.Array  # [] undiscounted, so far
    episode_length: jax.Array  # [] steps so far


class Played(struct.PyTreeNode):
    """What happened, step by step."""

    step: Step  # leaves [T]
    error: Mean  # leaves [T]
    episode_return: jax.Array  # [T] of the episode up to and with this step
    episode_length: jax.Array  # [T]


def control(env: Environment, learner: Learner, config: ControlConfig | None = None) -> Algorithm:
    """An agent that acts, explores and learns in one environment.

    Metrics: ``episode_return`` and ``episode_length`` of the episodes that ended, and ``td_error``, the mean of
    ``|target - Q(s, a)|`` over what was learned.

    Args:
        env: discrete observations, each the number of a state, and discrete actions.
        learner: what is made of experience.
        config: sizes, and how to explore.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    config = config or ControlConfig()
    play, sizes = player(env, learner, config), table_sizes(env)

    def init(hypers: ControlHypers, key: jax.Array) -> ControlState:
        env_key, action_key = jax.random.split(key)
        obs, env_state = env.reset(env_key)
        memory = learner.init(hypers, *sizes)
        count = jnp.zeros(sizes)
        uniform = jax.random.uniform(action_key, dtype=count.dtype)
        action, probability = _choose(learner, config, hypers, memory, count, obs, uniform, first=jnp.array(True))
        nothing = jnp.zeros_like(uniform)
        return ControlState(
            memory=memory,
            count=count,
            env_state=env_state,
            obs=obs,
            action=action,
            probability=probability,
            episode_return=nothing,
            episode_length=nothing,
        )

    def update(hypers: ControlHypers, state: ControlState, key: jax.Array) -> tuple[ControlState, Metrics]:
        state, played = play(hypers, state, key)
        ended = played.step.terminated | played.step.truncated
        number = jnp.sum(ended, dtype=played.episode_return.dtype)
        return state, {
            "episode_return": Mean(jnp.sum(jnp.where(ended, played.episode_return, 0.0)), number),
            "episode_length": Mean(jnp.sum(jnp.where(ended, played.episode_length, 0.0)), number),
            "td_error": jax.tree.map(jnp.sum, played.error),
        }

    def act(
        hypers: ControlHypers, state: ControlState, obs: jax.Array, key: jax.Array, sample: bool = False
    ) -> jax.Array:
        """The first of the best actions, or else a draw from the behaviour."""
        if not sample:
            return jnp.argmax(learner.values(state.memory, obs)).astype(jnp.int32)
        uniform = jax.random.uniform(key, dtype=state.count.dtype)
        later = jnp.array(False)
        return _choose(learner, config, hypers, state.memory, state.count, obs, uniform, first=later)[0]

    def evaluate(
        hypers: ControlHypers, state: ControlState, key: jax.Array, num_episodes: int, sample: bool = False
    ) -> Episodes:
        def follow(memory: PyTree, obs: jax.Array, key: jax.Array) -> tuple[PyTree, jax.Array]:
            keys = jax.random.split(key, num_episodes)
            return memory, jax.vmap(lambda obs, key: act(hypers, state, obs, key, sample))(obs, keys)

        return rollout.episodes(env, follow, key, num_episodes, max_steps=config.max_episode_steps)

    settings = {"env": env.name, **learner.settings, **dataclasses.asdict(config)}
    return Algorithm(init, update, act, Spec(learner.name, config.num_steps, evaluate, settings))


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


def player(env: Environment, learner: Learner, config: ControlConfig) -> Callable:
    """The loop itself: ``(hypers, state, key) -> (state, Played)``, for those who want every step.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    table_sizes(env)
    choose = partial(_choose, learner, config)

    def play(hypers: ControlHypers, state: ControlState, key: jax.Array) -> tuple[ControlState, Played]:
        step_key, start_key, chance_key = jax.random.split(key, 3)
        inputs = (
            jax.random.split(step_key, config.num_steps),
            jax.vmap(env.reset)(jax.random.split(start_key, config.num_steps)),
            jax.random.uniform(chance_key, (config.num_steps, 2), state.count.dtype),
        )
        return jax.lax.scan(partial(one_step, hypers), state, inputs)

    def one_step(hypers: ControlHypers, state: ControlState, inputs: tuple) -> tuple[ControlState, Played]:
        step_key, start, (uniform, own_uniform) = inputs
        next_obs, env_state, reward, terminated, truncated, _ = env.step(step_key, state.env_state, state.action)
        ended = terminated | truncated
        obs, env_state = jax.tree.map(lambda s, n: jnp.where(ended, s, n), start, (next_obs, env_state))
        visit = state.count[state.obs, state.action] + 1
        count = state.count.at[state.obs, state.action].set(visit)
        step = Step(
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
        acts = _behaviour if learner.on_policy else _epsilon_greedy_target

        def target(value: jax.Array, at: jax.Array) -> jax.Array:
            return acts(config, hypers, value, count[at])

        if learner.learns_first:
            memory, error = learner.learn(hypers, state.memory, step, target)
            action, probability = choose(hypers, memory, count, obs, uniform, first=ended)
        else:
            action, probability = choose(hypers, state.memory, count, obs, uniform, first=ended)
            step = step.replace(next_action=action, next_probability=probability)
            memory, error = learner.learn(hypers, state.memory, step, target)

        total, length = state.episode_return + step.reward, state.episode_length + 1
        after = ControlState(
            memory=memory,
            count=count,
            env_state=env_state,
            obs=obs,
            action=action,
            probability=probability,
            episode_return=jnp.where(ended, 0.0, total),
            episode_length=jnp.where(ended, 0.0, length),
        )
        return after, Played(step=step, error=error, episode_return=total, episode_length=length)

    return play


# --- how to behave ----------------------------------------------------------------------------------------


def _epsilon_greedy(hypers: ControlHypers, value: jax.Array, count: jax.Array) -> jax.Array:
    return exploration.epsilon_greedy(value, _decayed(hypers, hypers.epsilon, count))


def _boltzmann(hypers: ControlHypers, value: jax.Array, count: jax.Array) -> jax.Array:
    return exploration.boltzmann(value, _decayed(hypers, hypers.temperature, count))


def _upper_confidence(hypers: ControlHypers, value: jax.Array, count: jax.Array) -> jax.Array:
    return exploration.greedy(exploration.upper_confidence(value, count, hypers.bonus))


_BEHAVIOURS: dict[str, Callable] = {
    "epsilon-greedy": _epsilon_greedy,
    "boltzmann": _boltzmann,
    "ucb": _upper_confidence,
}


def _decayed(hypers: ControlHypers, initial: Any, count: jax.Array) -> jax.Array:
    """By the visits of the state, this one included: in the limit greedy, yet every action without end. ``[..., 1]``.

    Source: Singh et al. 2000, "Convergence results for single-step on-policy reinforcement-learning algorithms".
    """
    visit = 1 + jnp.sum(count, axis=-1, keepdims=True)
    return exploration.power_decay(initial, visit, hypers.exploration_decay)


def _behaviour(config: ControlConfig, hypers: ControlHypers, value: jax.Array, count: jax.Array) -> jax.Array:
    return _BEHAVIOURS[config.exploration](hypers, value, count)


def _epsilon_greedy_target(
    config: ControlConfig, hypers: ControlHypers, value: jax.Array, count: jax.Array
) -> jax.Array:
    return exploration.epsilon_greedy(value, hypers.target_epsilon)


def _choose(
    learner: Learner,
    config: ControlConfig,
    hypers: ControlHypers,
    memory: PyTree,
    count: jax.Array,
    obs: jax.Array,
    uniform: jax.Array,
    first: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """An action of the behaviour at a state, and how likely it was; ``first`` in its episode it may be any."""
    policy = _behaviour(config, hypers, learner.values(memory, obs), count[obs])
    if config.exploring_starts:
        policy = jnp.where(first, 1 / policy.shape[-1], policy)
    action = exploration.sample(policy, uniform)
    return action, policy[action]


# --- n steps ahead ----------------------------------------------------------------------------------------


class Window(struct.PyTreeNode):
    """What a learner that looks n steps ahead remembers: its table and the last n steps of this episode."""

    q: jax.Array  # [S, A]
    steps: Step  # leaves [n], the oldest first
    filled: jax.Array  # [n] bool, from the newest back to the episode's first


def n_step(n: int = 1, backup: Backup = "sampled", on_policy: bool = True, name: str = "n-step") -> Learner:
    """What is done with a pair n steps after it was visited, or as soon as the episode ends.

    ``Q(s_t, a_t) += alpha w_t (G_t - Q(s_t, a_t))``

    ``G_t`` is :func:`purerl.kernels.backups.q_sigma_returns` of the n steps, with sigma 1 where every action that was
    taken counts, 0 where all are averaged over, hypers.sigma where they are mixed. ``w_t = 1``, but where actions are
    sampled off policy their ratios, :func:`purerl.kernels.backups.sampling_ratios`. When an episode ends, all the pairs
    that wait get their update, the oldest first, their targets from the table as it was at the end.

    Args:
        n: steps, at least 1.
        backup: sigma: "sampled" for 1, "expected" for 0, "mixed" for hypers.sigma.
        on_policy: learn the policy that acts, or else the epsilon-greedy one with hypers.target_epsilon.
        name: of the algorithm.

    Raises:
        ValueError: if there is no step, no such backup, or it is mixed off policy: the ratios that a sampled action
            needs would weigh the averages, too, and what is learned would depend on who acts.

    Source: Sutton & Barto 2018, sections 6.4 to 6.6 and 7.2 to 7.6; De Asis et al. 2018 (arXiv 1703.01327).
    """
    if n < 1:
        raise ValueError(f"n_step(n={n}): it must be at least 1; n=1 learns from every step at once.")
    if backup not in get_args(Backup):
        raise ValueError(f"n_step(backup={backup!r}): choose one of {', '.join(get_args(Backup))}.")
    if backup == "mixed" and not on_policy:
        raise ValueError('n_step(backup="mixed", on_policy=False) has a bias: use "sampled" or "expected" off policy.')

    def init(hypers: ControlHypers, num_states: int, num_actions: int) -> Window:
        return Window(
            q=initial_table(hypers, num_states, num_actions),
            steps=jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), _no_step()),
            filled=jnp.zeros(n, bool),
        )

    def learn(hypers: ControlHypers, memory: Window, step: Step, target: Callable) -> tuple[Window, Mean]:
        q, sigma = memory.q, {"sampled": 1.0, "expected": 0.0, "mixed": hypers.sigma}[backup]
        steps, filled = _push(memory.steps, step), _push(memory.filled, jnp.array(True))
        ended = step.terminated | step.truncated

        next_q = q[steps.next_obs]  # [n, A]
        policy = target(next_q, steps.next_obs)
        probability, taken = (_at(table, steps.next_action) for table in (policy, next_q))
        goal = backups.q_sigma_returns(
            steps.reward,
            taken,
            average(policy, next_q),
            probability,
            steps.terminated,
            steps.truncated,
            hypers.gamma,
            sigma,
        )
        error = goal - q[steps.obs, steps.action]
        size = steps.step_size
        if not on_policy and backup == "sampled":
            ratio = probability / steps.next_probability
            size = size * backups.sampling_ratios(ratio, steps.terminated | steps.truncated)
        due = filled & (ended | (jnp.arange(n) == 0))
        size = jnp.where(due, size, 0.0)
        q = q.at[steps.obs, steps.action].add(_one_by_one(steps, size) * error)
        errors = Mean(jnp.sum(jnp.where(due, jnp.abs(error), 0.0)), jnp.sum(due, dtype=q.dtype))
        return Window(q=q, steps=steps, filled=filled & ~ended), errors

    return Learner(
        name=name,
        init=init,
        values=lambda memory, state: memory.q[state],
        learn=learn,
        on_policy=on_policy,
        learns_first=n == 1 and backup == "expected",  # nothing depends on which action comes next
        settings={"n": n, "backup": backup, "on_policy": on_policy},
    )


def _one_by_one(steps: Step, size: jax.Array) -> jax.Array:
    """Step sizes ``[n]`` that, all added at once, move a pair that occurs twice as one step after the other would.

    ``size_i prod_{j > i, same pair} (1 - size_j)``: the later steps shrink what the earlier ones have done.
    """
    if len(size) == 1:
        return size
    same = (steps.obs[:, None] == steps.obs) & (steps.action[:, None] == steps.action)
    return size * jnp.prod(jnp.where(jnp.triu(same, 1), 1 - size, 1.0), axis=1)


def _push(window: PyTree, newest: PyTree) -> PyTree:
    """``[n]``, the oldest forgotten."""
    return jax.tree.map(lambda old, new: jnp.append(old[1:], new), window, newest)


def _at(table: jax.Array, action: jax.Array) -> jax.Array:
    """``table[i, action_i]``, ``[n]``."""
    return jnp.take_along_axis(table, action[:, None], axis=1)[:, 0]


def _no_step() -> Step:
    """Fills the window before anything has happened."""
    number, probability, flag = jnp.zeros(()), jnp.ones(()), jnp.array(False)
    index = jnp.int32(0)
    return Step(
        obs=index,
        action=index,
        probability=probability,
        step_size=number,
        reward=number,
        terminated=flag,
        truncated=flag,
        next_obs=index,
        next_action=index,
        next_probability=probability,
        uniform=number,
    )


def initial_table(hypers: ControlHypers, num_states: int, num_actions: int) -> jax.Array:
    """``[S, A]``, every entry hypers.initial_value."""
    return jnp.zeros((num_states, num_actions)) + hypers.initial_value


def sarsa(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """``Q(s, a) += alpha (r + gamma Q(s', a') - Q(s, a))``, or with n rewards: the value of what one does.

    Source: Sutton & Barto 2018, (6.7), and (7.4) for n steps.
    """
    return control(env, n_step(n, "sampled", name="sarsa"), config)


def expected_sarsa(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """``Q(s, a) += alpha (r + gamma sum_b pi(b|s') Q(s', b) - Q(s, a))``: SARSA without the chance in its next action.

    Source: Sutton & Barto 2018, (6.9).
    """
    return control(env, n_step(1, "expected", name="expected-sarsa"), config)


def q_learning(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """``Q(s, a) += alpha (r + gamma max_b Q(s', b) - Q(s, a))``: the value of the best, whatever one does.

    Source: Watkins 1989; Sutton & Barto 2018, (6.8).
    """
    return control(env, n_step(1, "expected", on_policy=False, name="q-learning"), config)


def off_policy_sarsa(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """n-step SARSA of the policy with hypers.target_epsilon, its errors weighed by importance ratios.

    Source: Sutton & Barto 2018, (7.11).
    """
    return control(env, n_step(n, "sampled", on_policy=False, name="off-policy-sarsa"), config)


def tree_backup(
    env: Environment, config: ControlConfig | None = None, n: int = 1, on_policy: bool = False
) -> Algorithm:
    """n steps off policy without ratios: averaged over all actions, deeper along the one that was taken.

    Source: Precup et al. 2000; Sutton & Barto 2018, (7.16).
    """
    return control(env, n_step(n, "expected", on_policy, name="tree-backup"), config)


def q_sigma(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """Between n-step SARSA (hypers.sigma 1) and tree backup of the policy that acts (0).

    Source: De Asis et al. 2018 (arXiv 1703.01327).
    """
    return control(env, n_step(n, "mixed", name="q-sigma"), config)


# --- two tables -------------------------------------------------------------------------------------------


class TwoTables(struct.PyTreeNode):
    """What double learning remembers."""

    q: jax.Array  # [2, S, A]


def double(on_policy: bool = False, name: str = "double") -> Learner:
    """Two tables, of which each judges what the other would do; a coin decides which one learns.

    ``Q_i(s, a) += alpha (r + gamma sum_b pi_i(b|s') Q_j(s', b) - Q_i(s, a))``, where ``pi_i`` is the policy of ``Q_i``

    An action whose value is overestimated by one table is chosen by it, but not valued by it. The agent acts on the
    mean of both.

    Args:
        on_policy: learn the policy that acts, or else the epsilon-greedy one with hypers.target_epsilon.
        name: of the algorithm.

    Source: van Hasselt 2010, algorithm 1; Sutton & Barto 2018, (6.10).
    """

    def init(hypers: ControlHypers, num_states: int, num_actions: int) -> TwoTables:
        return TwoTables(q=jnp.stack([initial_table(hypers, num_states, num_actions)] * 2))

    def learn(hypers: ControlHypers, memory: TwoTables, step: Step, target: Callable) -> tuple[TwoTables, Mean]:
        learns = jnp.where(step.uniform < 0.5, 0, 1)
        pair = (learns, step.obs, step.action)
        policy = target(memory.q[learns, step.next_obs], step.next_obs)
        value = average(policy, memory.q[1 - learns, step.next_obs])
        error = step.reward + hypers.gamma * jnp.where(step.terminated, 0.0, value) - memory.q[pair]
        return TwoTables(q=memory.q.at[pair].add(step.step_size * error)), Mean(jnp.abs(error), jnp.ones_like(error))

    return Learner(
        name=name,
        init=init,
        values=lambda memory, state: jnp.mean(memory.q[:, state], axis=0),
        learn=learn,
        on_policy=on_policy,
        learns_first=True,
        settings={"on_policy": on_policy},
    )


def double_q_learning(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Q-learning without its bias towards what was lucky.

    Source: van Hasselt 2010; Sutton & Barto 2018, (6.10).
    """
    return control(env, double(name="double-q-learning"), config)


def double_expected_sarsa(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Expected SARSA with two tables.

    Source: Sutton & Barto 2018, exercise 6.13.
    """
    return control(env, double(on_policy=True, name="double-expected-sarsa"), config)
