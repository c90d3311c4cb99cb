"""Probe environments: one idea each, with values known exactly.

A learner that fails tells little on CartPole and much here: each probe needs one part of an algorithm more
than the one before it, so the first that fails names the part. The parts, in order: the value's regression,
its use of the observation, discounting, the policy, the policy's use of the observation, bootstrapping at a
time limit, none at an end, continuous actions, memory. :data:`PROBES` holds each environment with its answer:

    answer = PROBES["delayed-reward"].answer(gamma)
    values(answer.obs) == answer.v

Source of the idea: Andy Jones 2021, "Debugging RL, Without the Agonizing Pain", section "Probe environments".
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.base import Environment
from purerl.envs.legal import expose_legal
from purerl.envs.wrappers import time_limit
from purerl.spaces import Box, Discrete, MultiDiscrete


class Answer(NamedTuple):
    """What the optimal agent knows.

    Attributes:
        obs: ``[N, D]``, what may be seen when an action is due.
        actions: ``[A]`` integers, or ``[A, 1]`` some continuous actions.
        v: ``[N]``, the value of each observation under optimal play.
        q: ``[N, A]``, the value of each action there, followed by optimal play.
    """

    obs: np.ndarray
    actions: np.ndarray
    v: np.ndarray
    q: np.ndarray


class Probe(NamedTuple):
    """An environment's factory, and ``gamma -> Answer`` for its default arguments."""

    env: Callable[..., Environment]
    answer: Callable[[float], Answer]


def constant_reward() -> Environment:
    """One step, reward 1, whatever is done: only a value can be learned.

    ``V = Q = 1``.
    """
    return _table("probe/constant-reward", obs=[[1], [0]], starts=[0], leads_to=[[1, 1]], reward=[[1, 1]])


def observation_reward() -> Environment:
    """One step, whose reward is the observation, +1 or -1: the value must look.

    ``V(o) = Q(o, a) = o``.
    """
    return _table(
        "probe/observation-reward",
        obs=[[-1], [1], [0]],
        starts=[0, 1],
        leads_to=[[2, 2], [2, 2]],
        reward=[[-1, -1], [1, 1]],
    )


def delayed_reward() -> Environment:
    """Two steps, reward 1 after the second: the value must be discounted and bootstrapped.

    ``V(first) = gamma``, ``V(second) = 1``; ``Q = V``.
    """
    return _table(
        "probe/delayed-reward",
        obs=[[1, 0], [0, 1], [0, 0]],
        starts=[0],
        leads_to=[[1, 1], [2, 2]],
        reward=[[0, 0], [1, 1]],
    )


def action_reward() -> Environment:
    """One step, reward -1 for action 0 and +1 for action 1: the policy must choose.

    ``Q = (-1, 1)``, ``V* = 1``.
    """
    return _table("probe/action-reward", obs=[[1], [0]], starts=[0], leads_to=[[1, 1]], reward=[[-1, 1]])


def observation_action() -> Environment:
    """One step, reward +1 if the action matches the observation, else -1: the policy must look.

    Action 0 matches -1 and action 1 matches +1: ``Q(-1, .) = (1, -1)``, ``Q(+1, .) = (-1, 1)``, ``V* = 1``.
    """
    return _table(
        "probe/observation-action",
        obs=[[-1], [1], [0]],
        starts=[0, 1],
        leads_to=[[2, 2], [2, 2]],
        reward=[[1, -1], [-1, 1]],
    )


def truncation(max_steps: int = 4) -> Environment:
    """Reward 1 a step for ever, recorded ``max_steps`` at a time: a time limit must not stop bootstrapping.

    ``V = Q = 1 / (1 - gamma)``. A learner that takes truncation for termination finds the fixed point of
    ``V = 1 + gamma (1 - 1/max_steps) V`` instead, e.g. 3.08 where 10 is right (``gamma = 0.9``, 4 steps).

    Source: Pardo et al. 2018, "Time Limits in Reinforcement Learning", section 3.
    """
    endless = _table("probe/truncation", obs=[[1]], starts=[0], leads_to=[[0, 0]], reward=[[1, 1]])
    return time_limit(endless, max_steps)


def termination(num_steps: int = 4) -> Environment:
    """Reward 1 a step, over after ``num_steps`` steps that are told apart: an end must stop bootstrapping.

    ``V(t) = Q(t, a) = sum_{k < num_steps - t} gamma^k``.
    """
    after = [[t + 1, t + 1] for t in range(num_steps)]
    obs = np.eye(num_steps + 1, num_steps)  # the end is all zeros
    return _table("probe/termination", obs=obs, starts=[0], leads_to=after, reward=np.ones((num_steps, 2)))


def continuous_action() -> Environment:
    """One step, reward ``-(a - o/2)^2`` for an observation ``o`` of +1 or -1: continuous control.

    ``Q(o, a) = -(a - o/2)^2``, ``V* = 0`` at ``a = o/2``. ``o`` and ``a`` lie in [-1, 1], ``[1]`` each.
    """

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        obs = jax.random.rademacher(key, (1,), jnp.float32)
        return obs, obs

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        reward = -jnp.sum(jnp.square(action - state / 2))
        return jnp.zeros_like(state), state, reward, jnp.array(True), jnp.array(False), {}

    unit = Box(-1.0, 1.0, (1,))
    return Environment("probe/continuous-action", reset, step, unit, unit)


def memory(delay: int = 1) -> Environment:
    """A cue of +1 or -1, ``delay`` steps later the question: +1 if the action matches the cue, else -1.

    Observations are ``(cue, asked)``: the cue is seen at the first step only, and at the last step nothing
    but ``asked = 1``. With memory ``V(cue) = Q(cue, a) = gamma^delay``; without it no policy has
    a mean return above 0.

    Args:
        delay: at least 1; the number of steps between seeing and answering.

    Raises:
        ValueError: if ``delay < 1``.
    """
    if delay < 1:
        raise ValueError(f"memory(delay={delay}): with a delay below 1 the cue is still in sight.")
    # State 2 t + c: time t, cue c. The last row is the end.
    times, cues = np.divmod(np.arange(2 * (delay + 1)), 2)
    end = len(times)
    obs = np.stack([np.where(times == 0, 2 * cues - 1, 0), times == delay], axis=-1)
    after = np.where(times == delay, end, np.arange(end) + 2)
    matches = np.where(np.arange(2) == cues[:, None], 1, -1)
    return _table(
        "probe/memory",
        obs=[*obs, [0, 0]],
        starts=[0, 1],
        leads_to=np.stack([after, after], axis=-1),
        reward=np.where(times[:, None] == delay, matches, 0),
    )


def masked() -> Environment:
    """Two steps with three actions, of which two are legal: what is not pays 10, and may be neither done nor hoped for.

    At the first, where 2 is not legal, all else pays nothing; at the second, where 0 is not, 1 pays 0 and 2 pays 1:
    ``V(first) = gamma``, ``V(second) = 1``.
    """
    reward = [[0, 0, 10], [10, 0, 1]]
    table = _table("probe/masked", obs=[[1, 0], [0, 1], [0, 0]], starts=[0], leads_to=[[1] * 3, [2] * 3], reward=reward)
    legal = jnp.array([[True, True, False], [False, True, True], [True, True, True]])
    return expose_legal(table, lambda state: legal[state])


def multi_discrete() -> Environment:
    """One step with two integers, of 2 and of 3 choices; each that matches the observation, -1 or +1, pays 1.

    The first matches -1 with 0 and +1 with 1, the second with 2 and 1: ``V* = 2``, and Q is 2 less one for each miss.
    """
    wanted = jnp.array([[0, 2], [1, 1]])

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        obs = jax.random.rademacher(key, (1,), jnp.float32)
        return obs, obs

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        matches = action == wanted[(state[0] > 0).astype(jnp.int32)]
        reward = jnp.sum(matches.astype(jnp.float32))
        return jnp.zeros_like(state), state, reward, jnp.array(True), jnp.array(False), {}

    return Environment("probe/multi-discrete", reset, step, Box(-1.0, 1.0, (1,)), MultiDiscrete((2, 3)))


def _table(name: str, obs: object, starts: object, leads_to: object, reward: object) -> Environment:
    """A deterministic process from its tables; its state is the row.

    Args:
        name: the environment's name.
        obs: ``[N, D]``, what each state shows.
        starts: ``[K]``, the states that an episode may start in, each as likely.
        leads_to: ``[N', A]``, the next state. The states from ``N'`` on are ends: reaching one terminates.
        reward: ``[N', A]``.
    """
    obs, reward = jnp.asarray(obs, jnp.float32), jnp.asarray(reward, jnp.float32)
    starts, leads_to = jnp.asarray(starts, jnp.int32), jnp.asarray(leads_to, jnp.int32)

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jax.random.choice(key, starts)
        return obs[state], state

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        after = leads_to[state, action]
        return obs[after], after, reward[state, action], after >= len(leads_to), jnp.array(False), {}

    space = Box(float(obs.min()), float(obs.max()), obs.shape[1:])
    return Environment(name, reset, step, space, Discrete(reward.shape[1]))


def _answer(obs: object, q: object, actions: object = (0, 1)) -> Answer:
    q = np.asarray(q, np.float64)
    return Answer(np.asarray(obs, np.float32), np.asarray(actions), q.max(axis=1), q)


def _termination_answer(gamma: float, num_steps: int = 4) -> Answer:
    value = [sum(gamma**k for k in range(num_steps - t)) for t in range(num_steps)]
    return _answer(np.eye(num_steps), np.stack([value, value], axis=1))


def _continuous_answer(gamma: float) -> Answer:
    obs, actions = np.array([[-1.0], [1.0]]), np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)
    return _answer(obs, -((actions - obs / 2) ** 2), actions[:, None])


PROBES: dict[str, Probe] = {
    "constant-reward": Probe(constant_reward, lambda gamma: _answer([[1]], [[1, 1]])),
    "observation-reward": Probe(observation_reward, lambda gamma: _answer([[-1], [1]], [[-1, -1], [1, 1]])),
    "delayed-reward": Probe(delayed_reward, lambda gamma: _answer(np.eye(2), [[gamma] * 2, [1, 1]])),
    "action-reward": Probe(action_reward, lambda gamma: _answer([[1]], [[-1, 1]])),
    "observation-action": Probe(observation_action, lambda gamma: _answer([[-1], [1]], [[1, -1], [-1, 1]])),
    "truncation": Probe(truncation, lambda gamma: _answer([[1]], [[1 / (1 - gamma)] * 2])),
    "termination": Probe(termination, _termination_answer),
    "continuous-action": Probe(continuous_action, _continuous_answer),
    "memory": Probe(memory, lambda gamma: _answer([[-1, 0], [1, 0]], [[gamma] * 2] * 2)),
}
