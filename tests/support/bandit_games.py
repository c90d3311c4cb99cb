"""Histories of pulls and games for the tests of bandit"""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.bandits.bandit import BanditAgent, BanditConfig, bandit
from purerl.envs.base import Environment
from purerl.spaces import Box, Discrete

KEY = jax.random.key(0)
NO_OBS = jnp.ones(1)


def learned(agent: BanditAgent, hypers, actions, rewards, num_arms: int = 3):
    """The agent's statistics after a sequence of pulls."""

    def pull(statistics, what):
        return agent.learn(hypers, statistics, NO_OBS, *what), None

    start = agent.init(hypers, num_arms, (1,))
    return jax.lax.scan(pull, start, (jnp.asarray(actions), jnp.asarray(rewards, jnp.result_type(float))))[0]


def policy_of(agent: BanditAgent, hypers, statistics) -> np.ndarray:
    return np.asarray(agent.policy(hypers, statistics, NO_OBS, KEY))


def history(seed: int, num_pulls: int = 40, num_arms: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(num_arms, size=num_pulls), rng.normal(size=num_pulls)


def oblivious(rewards: np.ndarray) -> Environment:
    """An adversary whose rewards ``[T, A]`` are written down before the game."""
    table = jnp.asarray(rewards, jnp.float32)

    def step(key, t, action):
        no = jnp.array(False)
        return NO_OBS, t + 1, table[t, action], no, no, {}

    space = Box(1.0, 1.0, (1,))
    return Environment("oblivious", lambda key: (NO_OBS, jnp.int32(0)), step, space, Discrete(rewards.shape[1]))


def mean_reward(env: Environment, agent: BanditAgent, hypers, num_games: int, num_steps: int) -> np.ndarray:
    """Mean reward of each game."""
    algorithm = bandit(env, agent, BanditConfig(num_steps=num_steps))

    def game(key):
        init_key, key = jax.random.split(key)
        return algorithm.update(hypers, algorithm.init(hypers, init_key), key)[1]["reward"]

    return np.asarray(jax.jit(jax.vmap(game))(jax.random.split(KEY, num_games)))
