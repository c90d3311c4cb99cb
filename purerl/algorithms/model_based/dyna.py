"""Dyna: learn from every real step, remember what it did, and learn on from what is remembered.

    algorithm = dyna(purerl.envs.make("DynaMaze"), DynaConfig(num_planning_steps=50))
    state = algorithm.init(DynaHypers(), key)

One real step is followed by ``n`` steps of planning, each a backup of a pair that is known to the model:

    ``Q(s, a) += alpha (r + gamma max_a' Q(s', a') - Q(s, a))``

Dyna-Q draws the pairs uniformly; with ``n = 0`` it is Q-learning. Dyna-Q+ adds ``kappa sqrt(tau)`` to the reward of a
pair not tried for ``tau`` real steps, and plans with actions that were never tried, too. Prioritised sweeping backs
up the pair that is most wrong. All of them are choices of :class:`DynaConfig` and numbers of :class:`DynaHypers`.

Axis letters of this file: S states, A actions, K real steps of an update, n planning steps. An outcome is the number of
the next state, or S for the end of the episode.

Sources: Sutton 1990, "Integrated architectures for learning, planning, and reacting based on approximating dynamic
programming"; Moore & Atkeson 1993, "Prioritized sweeping"; Sutton & Barto 2018, chapter 8.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import rollout
from purerl.algorithm import Algorithm, Spec
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.mdp import MDP
from purerl.spaces import Discrete, Space
from purerl.types import Episodes, Mean, Metrics, PyTree

# --- models of the world ----------------------------------------------------------------------------------


class LastSeen(struct.PyTreeNode):
    """What each pair did last: all there is to know of a world without chance, and quick to notice that it changed."""

    reward: jax.Array  # [S, A]
    outcome: jax.Array  # [S, A] int


class Averages(struct.PyTreeNode):
    """What each pair did on average: the likeliest model of a world with chance that stays as it is."""

    reward: jax.Array  # [S, A] mean
    transition: jax.Array  # [S, A, S + 1] share of each outcome
    count: jax.Array  # [S, A]


class Model(NamedTuple):
    """A kind of model, as pure functions of its memory, whose leaves begin with the axes ``[S, A]``.

    A pair that was never tried is thought to lead back to its state with reward 0.

    Attributes:
        init: ``(num_states, num_actions) -> memory``.
        observe: ``(memory, step) -> memory``.
        next_value: ``(memory [...], q [S, A]) -> [...]``, of some pairs or all: what best actions are worth afterwards.
        law: ``(memory) -> [S, A, S + 1]``, how likely each outcome is.
    """

    init: Callable
    observe: Callable
    next_value: Callable
    law: Callable


class Step(NamedTuple):
    """One step in the real world."""

    obs: jax.Array  # [] int
    action: jax.Array  # [] int
    reward: jax.Array  # []
    outcome: jax.Array  # [] int, the next state or S


def _init_last_seen(num_states: int, num_actions: int) -> LastSeen:
    itself = jnp.arange(num_states, dtype=jnp.int32)[:, None]
    return LastSeen(
        reward=jnp.zeros((num_states, num_actions)),
        outcome=jnp.broadcast_to(itself, (num_states, num_actions)),
    )


def _overwrite(model: LastSeen, step: Step) -> LastSeen:
    at = step.obs, step.action
    return LastSeen(reward=model.reward.at[at].set(step.reward), outcome=model.outcome.at[at].set(step.outcome))


def _last_seen_law(model: LastSeen) -> jax.Array:
    return jax.nn.one_hot(model.outcome, model.outcome.shape[0] + 1, dtype=model.reward.dtype)


def _init_averages(num_states: int, num_actions: int) -> Averages:
    nothing = jnp.zeros((num_states, num_actions))
    return Averages(reward=nothing, transition=_last_seen_law(_init_last_seen(num_states, num_actions)), count=nothing)


def _average(model: Averages, step: Step) -> Averages:
    """``x += (new - x) / N`` of the pair's reward and transition: exact means, the first of which leaves nothing of
    what was thought before."""
    at = step.obs, step.action
    count = model.count[at] + 1
    reward, transition = model.reward[at], model.transition[at]
    seen = jax.nn.one_hot(step.outcome, transition.shape[-1], dtype=transition.dtype)
    return Averages(
        reward=model.reward.at[at].set(reward + (step.reward - reward) / count),
        transition=model.transition.at[at].set(transition + (seen - transition) / count),
        count=model.count.at[at].set(count),
    )


def _mean_next_value(model: Averages, q: jax.Array) -> jax.Array:
    return jnp.matmul(model.transition[..., :-1], jnp.max(q, axis=-1), precision="highest")


def _best(q: jax.Array, outcome: jax.Array) -> jax.Array:
    """``max_a Q(s', a)`` of outcomes ``[...]``; the end, which Q has no row of, is worth 0."""
    if outcome.ndim:  # of all pairs: each state's best is found once
        return jnp.max(q, axis=-1).at[outcome].get(mode="fill", fill_value=0.0)
    return jnp.max(q.at[outcome].get(mode="fill", fill_value=0.0), axis=-1)


MODELS = {
    "last": Model(_init_last_seen, _overwrite, lambda model, q: _best(q, model.outcome), _last_seen_law),
    "counts": Model(_init_averages, _average, _mean_next_value, lambda model: model.transition),
}


# --- records ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaConfig:
    """What fixes a loop's length or a branch.

    Raises:
        ValueError: at construction, if a number is too small, a choice unknown, or nothing would ever be learnt.
    """

    num_steps: int = 100
    """Real steps per update, K."""
    num_planning_steps: int = 5
    """Backups from the model after each real step, n; at most so many where pairs are prioritised."""
    model: Literal["last", "counts"] = "last"
    """What is remembered of a pair: what it did last, for worlds without chance, or what it did on average."""
    planning: Literal["uniform", "prioritized"] = "uniform"
    """Which known pair is backed up: any, or the one that is most wrong. The latter does without a backup of the real
    step itself, and each costs a pass over all pairs."""
    plan_untried: bool = False
    """Whether planning knows all actions of a state that was visited, as Dyna-Q+ does, or those that were tried."""
    max_evaluation_steps: int = 1000
    """Evaluation breaks an episode off after so many steps, as a greedy policy may go round in circles."""

    def __post_init__(self) -> None:
        least = {"num_steps": 1, "num_planning_steps": 0, "max_evaluation_steps": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"DynaConfig.{name} = {getattr(self, name)}: it must be at least {bound}.")
        if self.model not in MODELS:
            raise ValueError(f'DynaConfig.model = {self.model!r}: choose "last" or "counts".')
        if self.planning not in ("uniform", "prioritized"):
            raise ValueError(f'DynaConfig.planning = {self.planning!r}: choose "uniform" or "prioritized".')
        if self.planning == "prioritized" and self.num_planning_steps == 0:
            raise ValueError(
                'DynaConfig.num_planning_steps = 0 with planning = "prioritized" learns nothing, as only planning '
                'learns there: make it at least 1, or choose planning = "uniform".'
            )


class DynaHypers(struct.PyTreeNode):
    """Numbers."""

    step_size: float = 0.1
    """alpha, of real and planned steps alike, in (0, 1]; 1 is best in a world without chance."""
    gamma: float = 0.95
    """Discount, in [0, 1]."""
    epsilon: float = 0.1
    """Share of uniformly drawn actions, in [0, 1]."""
    kappa: float = 0.0
    """Reward, in planning, for a pair not tried for tau real steps: kappa sqrt(tau); at least 0."""
    theta: float = 1e-4
    """Error up to which prioritised sweeping leaves a pair alone, at least 0 and above Q's rounding."""
    initial_value: float = 0.0
    """What every pair is thought to be worth at the beginning."""


class Memory(struct.PyTreeNode):
    """What was learnt."""

    q: jax.Array  # [S, A]
    model: PyTree  # of the kind that was chosen
    known: jax.Array  # [S, A] bool, the pairs that planning may use
    pairs: jax.Array  # [S * A] int, the same pairs s * A + a in the order in which they came; the rest means nothing
    num_pairs: jax.Array  # [] int
    tried_at: jax.Array  # [S, A] int, real step at which the pair was tried last; 0 where never
    time: jax.Array  # [] int, real steps so far


class DynaState(struct.PyTreeNode):
    """A learner in the middle of an episode."""

    memory: Memory
    obs: jax.Array  # [] int
    env_state: PyTree
    episode_return: jax.Array  # [] undiscounted, so far
    episode_length: jax.Array  # [] so far


class Draws(NamedTuple):
    """All that is random in an update. Where nothing was planned yet, behaviour does not depend on n."""

    action: jax.Array  # [K] uniform numbers that choose actions
    plan: jax.Array  # [K, n] uniform numbers that choose pairs
    step: jax.Array  # [K] keys of the environment
    fresh: tuple[jax.Array, PyTree]  # [K, ...] observation and environment state to begin anew from


# --- learning ---------------------------------------------------------------------------------------------


def init_memory(config: DynaConfig, hypers: DynaHypers, num_states: int, num_actions: int) -> Memory:
    """Nothing known."""
    shape = (num_states, num_actions)
    return Memory(
        q=jnp.zeros(shape) + hypers.initial_value,
        model=MODELS[config.model].init(*shape),
        known=jnp.zeros(shape, bool),
        pairs=jnp.zeros(num_states * num_actions, jnp.int32),
        num_pairs=jnp.int32(0),
        tried_at=jnp.zeros(shape, jnp.int32),
        time=jnp.int32(0),
    )


def learn(
    config: DynaConfig, hypers: DynaHypers, memory: Memory, step: Step, uniforms: jax.Array
) -> tuple[Memory, jax.Array]:
    """Learn from one real step, and from planning.

    Args:
        config: which model and plan.
        hypers: numbers.
        memory: so far.
        step: what happened.
        uniforms: ``[n]`` in [0, 1), which choose the pairs that are backed up.

    Returns:
        The memory, and the number of backups ``[]``: at most 1 + n.

    Source: Sutton & Barto 2018, section 8.2, "Tabular Dyna-Q", and section 8.4, "Prioritized sweeping".
    """
    memory = _remember(config, memory, step)
    if config.planning == "prioritized":
        q, backups = _sweep(config, hypers, memory)
        return memory.replace(q=q), backups
    at = step.obs, step.action
    target = step.reward + hypers.gamma * _best(memory.q, step.outcome)
    memory = memory.replace(q=memory.q.at[at].add(hypers.step_size * (target - memory.q[at])))
    return memory.replace(q=_replay(config, hypers, memory, uniforms)), jnp.int32(1 + config.num_planning_steps)


def _replay(config: DynaConfig, hypers: DynaHypers, memory: Memory, uniforms: jax.Array) -> jax.Array:
    """Q after a backup of a known pair for each uniform number."""

    def back_up(q: jax.Array, uniform: jax.Array) -> tuple[jax.Array, None]:
        # A uniform number just below 1 times the length may be rounded up to the length.
        index = jnp.minimum((uniform * memory.num_pairs).astype(jnp.int32), memory.num_pairs - 1)
        at = jnp.divmod(memory.pairs[index], q.shape[1])
        return q.at[at].add(hypers.step_size * model_errors(config, hypers, memory, q, at)), None

    return jax.lax.scan(back_up, memory.q, uniforms)[0]


def _sweep(config: DynaConfig, hypers: DynaHypers, memory: Memory) -> tuple[jax.Array, jax.Array]:
    """Q after backups of the most wrong known pair, until n are done or none is wrong by more than theta; how many.

    A heap that is told of a changed state's predecessors finds that pair with fewer operations, but one after the
    other. Computing every error anew is one pass over arrays, and no priority is ever out of date.
    """

    def most_wrong(q: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        errors = jnp.where(memory.known, model_errors(config, hypers, memory, q), 0.0)
        at = jnp.unravel_index(_first_largest(jnp.abs(errors).ravel()), q.shape)
        return at, errors[at]

    def unfinished(carry: tuple) -> jax.Array:
        _, backups, (_, error) = carry
        return (backups < config.num_planning_steps) & (jnp.abs(error) > hypers.theta)

    def back_up(carry: tuple) -> tuple:
        q, backups, (at, error) = carry
        q = q.at[at].add(hypers.step_size * error)
        return q, backups + 1, most_wrong(q)

    q, backups, _ = jax.lax.while_loop(unfinished, back_up, (memory.q, jnp.int32(0), most_wrong(memory.q)))
    return q, backups


def _first_largest(x: jax.Array) -> jax.Array:
    """``argmax x``, which XLA's own would take five times as long for on a CPU."""
    index = jnp.arange(x.size, dtype=jnp.int32)
    return jnp.min(jnp.where(x == jnp.max(x), index, x.size - 1))


def model_errors(config: DynaConfig, hypers: DynaHypers, memory: Memory, q: jax.Array, at: Any = ...) -> jax.Array:
    """``R(s, a) + kappa sqrt(tau) + gamma sum_s' P(s' | s, a) max_a' Q(s', a') - Q(s, a)``, R and P being the model's.

    Args:
        config: which model.
        hypers: numbers.
        memory: the model, and when each pair was tried.
        q: ``[S, A]``.
        at: index of some pairs; all of them where left out.

    Returns:
        One error a pair, ``[S, A]`` for all.

    Source: Sutton & Barto 2018, section 8.3 for the bonus.
    """
    model = jax.tree.map(lambda x: x[at], memory.model)
    bonus = hypers.kappa * jnp.sqrt((memory.time - memory.tried_at[at]).astype(q.dtype))
    return model.reward + bonus + hypers.gamma * MODELS[config.model].next_value(model, q) - q[at]


def learnt_mdp(config: DynaConfig, memory: Memory, gamma: float) -> MDP:
    """The model as a decision process of S + 1 states, the last of which is the end; what was never tried leads
    nowhere. It starts anywhere."""
    law = MODELS[config.model].law(memory.model)
    num_states, num_actions, num_outcomes = law.shape
    end = jnp.broadcast_to(jnp.eye(num_outcomes, dtype=law.dtype)[-1], (1, num_actions, num_outcomes))
    terminal = jnp.arange(num_outcomes) == num_states
    reward = jnp.pad(memory.model.reward, ((0, 1), (0, 0)))
    return MDP(
        transition=jnp.concatenate([law, end]),
        reward=jnp.broadcast_to(reward[..., None], (num_outcomes, num_actions, num_outcomes)),
        start=jnp.where(terminal, 0.0, 1 / num_states),
        terminal=terminal,
        gamma=jnp.asarray(gamma, law.dtype),
    )


def _remember(config: DynaConfig, memory: Memory, step: Step) -> Memory:
    """The model, and which pairs are known since when, after one more real step."""
    num_actions = memory.q.shape[1]
    actions = jnp.arange(num_actions, dtype=jnp.int32) if config.plan_untried else step.action[None]
    is_new = ~memory.known[step.obs, step.action]
    # Written behind the list in any case, which has a meaning only if the list then grows; a full list ignores it.
    behind = memory.num_pairs + jnp.arange(actions.size)
    time = memory.time + 1
    return memory.replace(
        model=MODELS[config.model].observe(memory.model, step),
        known=memory.known.at[step.obs, actions].set(True),
        pairs=memory.pairs.at[behind].set(step.obs * num_actions + actions, mode="drop"),
        num_pairs=memory.num_pairs + actions.size * is_new,
        tried_at=memory.tried_at.at[step.obs, step.action].set(time),
        time=time,
    )


# --- the algorithm ----------------------------------------------------------------------------------------


def draw(env: Environment, config: DynaConfig, key: jax.Array) -> Draws:
    """The randomness of an update, in one call for each kind."""
    action_key, plan_key, step_key, reset_key = jax.random.split(key, 4)
    return Draws(
        action=jax.random.uniform(action_key, (config.num_steps,)),
        plan=jax.random.uniform(plan_key, (config.num_steps, config.num_planning_steps)),
        step=jax.random.split(step_key, config.num_steps),
        fresh=jax.vmap(env.reset)(jax.random.split(reset_key, config.num_steps)),
    )


def dyna(env: Environment, config: DynaConfig | None = None) -> Algorithm:
    """A learner that plans between its steps, in one environment.

    Metrics: ``reward`` and ``backups`` per real step, ``known_pairs``, and ``episode_return`` and ``episode_length`` of
    the episodes that ended. ``act`` draws among the best actions evenly.

    Where the world changes, go on with another environment of the same sizes: what was learnt is in the state.

    Args:
        env: its observation is the number of its state, its actions are discrete.
        config: sizes and choices.

    Raises:
        ValueError: if observations or actions are not discrete.
    """
    config = config or DynaConfig()
    num_states = _size(env, "observations", env.observation_space)
    num_actions = _size(env, "actions", env.action_space)

    def init(hypers: DynaHypers, key: jax.Array) -> DynaState:
        obs, env_state = env.reset(key)
        memory = init_memory(config, hypers, num_states, num_actions)
        return DynaState(memory, obs, env_state, episode_return=jnp.zeros(()), episode_length=jnp.zeros(()))

    def live(hypers: DynaHypers, state: DynaState, drawn: Draws) -> tuple[DynaState, tuple]:
        action = _choose_action(hypers.epsilon, state.memory.q[state.obs], drawn.action)
        obs, env_state, reward, terminated, truncated, _ = env.step(drawn.step, state.env_state, action)
        outcome = jnp.where(terminated, num_states, obs)
        memory, backups = learn(config, hypers, state.memory, Step(state.obs, action, reward, outcome), drawn.plan)
        ended = terminated | truncated
        total, length = state.episode_return + reward, state.episode_length + 1
        obs, env_state = jax.tree.map(lambda new, old: jnp.where(ended, new, old), drawn.fresh, (obs, env_state))
        going_on = jnp.where(ended, 0.0, 1.0)
        state = DynaState(memory, obs, env_state, going_on * total, going_on * length)
        return state, (reward, backups, ended, total, length)

    def update(hypers: DynaHypers, state: DynaState, key: jax.Array) -> tuple[DynaState, Metrics]:
        state, (reward, backups, ended, total, length) = jax.lax.scan(
            lambda state, drawn: live(hypers, state, drawn), state, draw(env, config, key)
        )
        number = jnp.sum(ended, dtype=total.dtype)
        return state, {
            "reward": jnp.mean(reward),
            "backups": jnp.mean(backups, dtype=total.dtype),
            "known_pairs": state.memory.num_pairs.astype(total.dtype),
            "episode_return": Mean(jnp.sum(jnp.where(ended, total, 0.0)), number),
            "episode_length": Mean(jnp.sum(jnp.where(ended, length, 0.0)), number),
        }

    def act(hypers: DynaHypers, state: DynaState, obs: jax.Array, key: jax.Array, sample: bool = False) -> jax.Array:
        """A best action, or with ``sample`` one of the policy that learns; for ``obs [...]``."""
        q = state.memory.q[obs]
        return _choose_action(hypers.epsilon if sample else 0.0, q, jax.random.uniform(key, jnp.shape(obs)))

    def evaluate(
        hypers: DynaHypers, state: DynaState, key: jax.Array, num_episodes: int, sample: bool = False
    ) -> Episodes:
        def policy(memory: tuple, obs: jax.Array, key: jax.Array) -> tuple[tuple, jax.Array]:
            return memory, act(hypers, state, obs, key, sample)

        return rollout.episodes(env, policy, key, num_episodes, max_steps=config.max_evaluation_steps)

    settings = {"env": env.name, **dataclasses.asdict(config)}
    return Algorithm(init, update, act, Spec("dyna", config.num_steps, evaluate, settings=settings))


def _choose_action(epsilon: jax.Array | float, q: jax.Array, uniform: jax.Array) -> jax.Array:
    return exploration.sample(exploration.epsilon_greedy(q, epsilon), uniform)


def _size(env: Environment, what: str, space: Space) -> int:
    if not isinstance(space, Discrete):
        raise ValueError(
            f"{env.name}: dyna keeps tables, so {what} must be Discrete, but their space is {space}. "
            "Number them, or choose an algorithm with function approximation."
        )
    return space.n
