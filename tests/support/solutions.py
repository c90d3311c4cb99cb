"""Exact answers of finite decision processes, in NumPy and float64: linear solves, sweeps and policy iteration."""

from collections.abc import Sequence

import numpy as np

from purerl.mdp import MDP


def uniform(mdp: MDP) -> np.ndarray:
    num_states, num_actions, _ = mdp.transition.shape
    return np.full((num_states, num_actions), 1 / num_actions)


def one_hot(actions: Sequence[int] | np.ndarray, mdp: MDP) -> np.ndarray:
    return np.eye(mdp.transition.shape[1])[np.asarray(actions)]


def arrays(mdp: MDP) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Transitions, expected rewards ``[S, A]``, ends, gamma."""
    transition, reward = np.asarray(mdp.transition), np.asarray(mdp.reward)
    return transition, (transition * reward).sum(-1), np.asarray(mdp.terminal), float(mdp.gamma)


def evaluate(mdp: MDP, policy: np.ndarray) -> np.ndarray:
    """``V = (I - g P_pi)^-1 r_pi`` over the states that are not terminal."""
    transition, reward, terminal, gamma = arrays(mdp)
    inner = np.flatnonzero(~terminal)
    moves = np.einsum("sa,saz->sz", policy, transition)[np.ix_(inner, inner)]
    values = np.zeros(len(terminal))
    values[inner] = np.linalg.solve(np.eye(inner.size) - gamma * moves, (policy * reward).sum(-1)[inner])
    return values


def action_values(mdp: MDP, values: np.ndarray) -> np.ndarray:
    transition, reward, _, gamma = arrays(mdp)
    return reward + gamma * transition @ values


def sweep(mdp: MDP, num_sweeps: int = 20_000, tolerance: float = 1e-13) -> np.ndarray:
    """Value iteration from 0, until it settles."""
    transition, reward, terminal, gamma = arrays(mdp)
    flat, values = transition.reshape(-1, len(terminal)), np.zeros(len(terminal))
    for _ in range(num_sweeps):
        q = reward + gamma * (flat @ values).reshape(reward.shape)
        before, values = values, np.where(terminal, 0.0, q.max(1))
        if np.abs(values - before).max() < tolerance:
            break
    return values


def iterate(mdp: MDP) -> tuple[np.ndarray, np.ndarray]:
    """Policy iteration for ``gamma < 1``: the optimal values and actions."""
    policy = np.zeros(mdp.transition.shape[0], int)
    while True:
        values = evaluate(mdp, one_hot(policy, mdp))
        q = action_values(mdp, values)
        better = q.max(1) > q[np.arange(policy.size), policy] + 1e-9
        if not better.any():
            return values, policy
        policy = np.where(better, q.argmax(1), policy)


def at_start(mdp: MDP, values: np.ndarray) -> float:
    return float(np.asarray(mdp.start) @ values)


def cost_to_go(mdp: MDP) -> MDP:
    """The same world with reward -1 a step and no discount, whose values count steps."""
    cost = np.where(np.asarray(mdp.terminal)[:, None, None], 0.0, -1.0)
    return mdp.replace(reward=np.broadcast_to(cost, mdp.reward.shape), gamma=1.0)
