"""Teams: several agents who act at once, each by what it sees itself, for one reward.

    env = joint(two_step())          # an ordinary environment: observations [I, ...], actions [I], one reward

Learning may look at all of it, acting may not: training is central, execution is decentralised. Axis letter I: agents.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.base import Environment, in_float
from purerl.spaces import Box, Discrete, MultiDiscrete


class Team(NamedTuple):
    """A team of I agents alike in what they can see and do.

    Attributes:
        name: for titles and messages.
        reset: ``(key) -> (obs [I, ...], state)``.
        step: ``(key, state, action [I]) -> (obs [I, ...], state, reward [I], terminated, truncated, info)``.
        observation_space: of one agent.
        action_space: of one agent.
        num_agents: I.
    """

    name: str
    reset: Callable
    step: Callable
    observation_space: Box
    action_space: Discrete
    num_agents: int


def joint(team: Team) -> Environment:
    """Environment of a whole team, as one that acts with an action of each agent.

    The reward is the mean of the agents', which ``info["rewards"]`` has one by one, ``[I]``.

    Args:
        team: the team.

    Returns:
        The environment: observations ``[I, ...]``, actions ``[I]``.
    """
    seen, number = team.observation_space, team.num_agents
    low, high = (np.broadcast_to(bound, seen.shape) for bound in (seen.low, seen.high))
    space = Box(np.stack([low] * number), np.stack([high] * number), (number, *seen.shape), seen.dtype)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple:
        obs, state, rewards, terminated, truncated, info = team.step(key, state, action)
        rewards = in_float(rewards)
        return obs, state, jnp.mean(rewards), terminated, truncated, {**info, "rewards": rewards}

    return Environment(team.name, team.reset, step, space, MultiDiscrete((team.action_space.n,) * number))


def matrix_team(payoff: Any, name: str = "matrix_team") -> Team:
    """Team of two who meet once: both get ``u(a_1, a_2)``, and there is nothing to see.

    Args:
        payoff: ``[A, A]``.
        name: for titles and messages.
    """
    table = np.asarray(payoff, np.float32)
    seen = jnp.ones((2, 1), jnp.float32)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        reward = jnp.asarray(table)[action[0], action[1]]
        return seen, state + 1, jnp.stack([reward, reward]), jnp.array(True), jnp.array(False), {}

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return seen, jnp.int32(0)

    return Team(name, reset, step, Box(1.0, 1.0, (1,)), Discrete(len(table)), 2)


def climbing() -> Team:
    """The climbing game: the best outcome, 11, lies between two of -30, so that both climb down to 5.

    Source: Claus and Boutilier 1998, figure 3.
    """
    return matrix_team([[11, -30, 0], [-30, 7, 6], [0, 0, 5]], "team/climbing")


def two_step() -> Team:
    """The two-step game: the first agent's first action chooses between a sure 7 and a game that pays 0, 1, 1 or 8.

    Observations are the state, one-hot: the choice, the sure game, the other one. In the last, 8 takes both.

    Source: Rashid et al. 2018 (arXiv 1803.11485), section 5.
    """
    paid = np.array([[[0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]]], np.float32)

    def see(state: jax.Array) -> jax.Array:
        return jnp.tile(jax.nn.one_hot(state, 3, dtype=jnp.float32), (2, 1))

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return see(jnp.int32(0)), jnp.int32(0)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        reward = jnp.asarray(paid)[state, action[0], action[1]]
        after = jnp.where(state == 0, 1 + action[0], state).astype(jnp.int32)
        return see(after), after, jnp.stack([reward, reward]), state > 0, jnp.array(False), {}

    return Team("team/two_step", reset, step, Box(0.0, 1.0, (3,)), Discrete(2), 2)
