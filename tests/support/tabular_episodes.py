"""Episodes of small processes for the tests of prediction: sampled ones, and all of a short horizon."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.tabular.episodes import Episode, sample_episodes
from purerl.algorithms.tabular.prediction import begin
from purerl.mdp import MDP, random_mdp
from tests.oracles import mdp as enumeration

NUM_STATES, NUM_ACTIONS, MAX_STEPS, GAMMA = 5, 2, 12, 0.9
GUESS = np.array([0.5, -1.0, 2.0, 0.3, 0.0])
POLICY, OTHER = (np.random.default_rng(seed).dirichlet(np.ones(NUM_ACTIONS) * 3, NUM_STATES) for seed in (1, 2))
THREE = np.random.default_rng(5).dirichlet(np.ones(2), 3)
THREE_OTHER = np.random.default_rng(6).dirichlet(np.ones(2), 3)


@functools.cache
def process() -> MDP:
    """Five states, the last an end."""
    with jax.enable_x64(True):
        return random_mdp(jax.random.key(3), NUM_STATES, NUM_ACTIONS, gamma=GAMMA, branching=3, num_terminal=1)


@functools.cache
def sampled(num_episodes: int = 24, max_steps: int = MAX_STEPS) -> Episode:
    """Episodes of the policy in double precision, some of them truncated."""
    with jax.enable_x64(True):
        return sample_episodes(process(), jnp.asarray(POLICY), jax.random.key(0), num_episodes, max_steps)


def ended(num_episodes: int) -> Episode:
    """Those of so many that terminated."""
    episodes = sampled(num_episodes)
    return jax.tree.map(lambda x: x[np.flatnonzero(episodes.terminated)], episodes)


def as_lists(episodes: Episode) -> list[tuple]:
    """Episodes for the oracle, without their padding."""
    numpy = jax.tree.map(np.asarray, episodes)
    return [
        (s[: n + 1], r[:n], bool(end))
        for s, r, n, end in zip(numpy.state, numpy.reward, numpy.length, numpy.terminated, strict=True)
    ]


def through_oracle(episodes: Episode, update) -> np.ndarray:
    """The oracle's values after all episodes."""
    value = GUESS.copy()
    for episode in as_lists(episodes):
        value = update(value, episode)
    return value


def enumerated(policy: np.ndarray, horizon: int = 3) -> tuple[enumeration.MDP, Episode, np.ndarray]:
    """All trajectories of a process of three states, as episodes whose states carry the time, so that none comes back:
    state s at step t is ``3 t + s``, and the value of ``s`` is learnt with step 1 from one target."""
    mdp = enumeration.random_mdp(0, num_states=3, num_actions=2)
    paths = enumeration.trajectories(mdp, policy, horizon)
    num_paths = len(paths.probability)
    episodes = Episode(
        jnp.asarray(paths.state.T + 3 * np.arange(horizon + 1)),
        jnp.asarray(paths.action.T),
        jnp.asarray(paths.reward.T),
        jnp.full(num_paths, horizon),
        jnp.zeros(num_paths, bool),
    )
    return mdp, episodes, paths.probability


def targets(update, value: jax.Array, episodes: Episode) -> jax.Array:
    """What each enumerated episode moves the value of its first state to, ``value [3]`` being that of every layer."""
    layers = begin(jnp.tile(value, episodes.state.shape[1]))

    def one(episode):
        return update(layers, episode).value[episode.state[0]]

    return jax.vmap(one)(episodes)


def by_start(mdp: enumeration.MDP, episodes: Episode, probability: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``E[x | s_0]``, ``[3]``."""
    total = np.zeros(3)
    np.add.at(total, np.asarray(episodes.state[:, 0]), probability * np.asarray(x))
    return total / mdp.start


def layered_ratios(episode: Episode, target: np.ndarray, behaviour: np.ndarray) -> jax.Array:
    """Ratios of an enumerated episode, whose states carry the time."""
    state = episode.state[:-1] % 3
    return jnp.asarray(target)[state, episode.action] / jnp.asarray(behaviour)[state, episode.action]
