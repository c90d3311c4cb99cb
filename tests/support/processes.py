"""Known finite processes for tests: random ones for the oracle, gridworld, frozen lake, corridor, hidden states."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl import mdp as kernel
from tests.oracles import mdp as oracle

GAMMA = 0.9
NUM_MDPS, NUM_STATES, NUM_ACTIONS = 64, 4, 3
ORDER = np.array([2, 0, 3, 1])


def random_pair(seed: int = 0) -> tuple[oracle.MDP, kernel.MDP, np.ndarray]:
    """The oracle's random process, the same as ours, and a random policy."""
    theirs = oracle.random_mdp(seed)
    ours = kernel.make(theirs.transition, theirs.reward, gamma=theirs.gamma, start=theirs.start)
    return theirs, ours, oracle.softmax(oracle.random_logits(seed + 1, theirs))


def random_mdps() -> kernel.MDP:
    """64 processes, sparse and dense, each with a gamma of its own between 0.5 and 0.99."""
    gammas = jnp.linspace(0.5, 0.99, NUM_MDPS)
    draw = jax.vmap(lambda key, gamma: kernel.random_mdp(key, NUM_STATES, NUM_ACTIONS, gamma=gamma, branching=3))
    return draw(jax.random.split(jax.random.key(0), NUM_MDPS), gammas)


def as_oracle(mdps: kernel.MDP, i: int) -> oracle.MDP:
    """One of them for the oracle."""
    mdp = jax.tree.map(lambda x: np.asarray(x[i]), mdps)
    return oracle.MDP(mdp.transition, np.asarray(kernel.expected_reward(mdp)), mdp.start, float(mdp.gamma))


def random_policies() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(NUM_ACTIONS), (NUM_MDPS, NUM_STATES))


def corners(gamma: float = 1.0) -> kernel.MDP:
    """The 4x4 gridworld with an end in two corners, reward -1 a step; moves off the edge stay."""
    row, column = np.divmod(np.arange(16), 4)
    moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    after = [4 * np.clip(row + dr, 0, 3) + np.clip(column + dc, 0, 3) for dr, dc in moves]
    return kernel.make(np.eye(16)[np.stack(after, 1)], -1.0, gamma=gamma, terminal=np.isin(np.arange(16), [0, 15]))


def frozen_lake(gamma: float) -> kernel.MDP:
    """The slippery lake, 4x4: an action and its two neighbours are as likely; 1 for reaching the goal."""
    row, column = np.divmod(np.arange(16), 4)
    moves = [(0, -1), (1, 0), (0, 1), (-1, 0)]  # left, down, right, up
    exact = np.eye(16)[[4 * np.clip(row + dr, 0, 3) + np.clip(column + dc, 0, 3) for dr, dc in moves]]  # [A, S, S]
    slippery = (exact + np.roll(exact, 1, axis=0) + np.roll(exact, -1, axis=0)) / 3
    goal = np.arange(16) == 15
    holes = np.isin(np.arange(16), [5, 7, 11, 12])
    arriving = goal[None, None, :].astype(float)
    return kernel.make(slippery.swapaxes(0, 1), arriving, gamma=gamma, start=np.eye(16)[0], terminal=goal | holes)


def corridor(length: int, gamma: float = 0.9) -> kernel.MDP:
    """One way, one action, 1 at the end: state i is worth ``gamma^(length - 1 - i)``."""
    ends = np.arange(length + 1) == length
    after = np.minimum(np.arange(length + 1) + 1, length)
    return kernel.make(np.eye(length + 1)[after][:, None], ends[None, None, :] * 1.0, gamma=gamma, terminal=ends)


def risky(high: float, low: float, gamma: float) -> kernel.MDP:
    """Three states: in the first, action 0 ends well (0.7) or badly (0.3), and action 1 stays."""
    transition = np.zeros((3, 2, 3))
    transition[0] = [[0, 0.7, 0.3], [1, 0, 0]]
    arriving = np.array([0, high, low])
    ends = np.array([False, True, True])
    return kernel.make(transition, arriving[None, None, :], gamma=gamma, terminal=ends)


def tiger(gamma: float = 0.95) -> kernel.POMDP:
    """A tiger behind one of two doors. Listen (-1, right with 0.85), or open a door: -100 or 10, and all anew."""
    anew = np.full((2, 2), 0.5)
    transition = np.stack([np.eye(2), anew, anew], axis=1)
    mdp = kernel.make(transition, [[-1, -100, 10], [-1, 10, -100]], gamma=gamma)
    heard = np.array([[0.85, 0.15], [0.15, 0.85]])
    return kernel.make_pomdp(mdp, np.stack([heard, anew, anew], axis=1))
