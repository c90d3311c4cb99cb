"""Exact answers for small Markov decision processes, in NumPy float64: linear solves and full enumeration.

Axis letters: S states, A actions, T steps, K all trajectories of T steps. Policies are tables ``[S, A]``
whose rows sum to one; ``theta [S, A]`` are the logits of a softmax table.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.optimize


class MDP(NamedTuple):
    """A tabular Markov decision process."""

    transition: np.ndarray  # [S, A, S], rows sum to one
    reward: np.ndarray  # [S, A]
    start: np.ndarray  # [S], sums to one
    gamma: float  # [0, 1); 1 only where the horizon is finite


class Values(NamedTuple):
    """What a policy earns: ``V``, ``Q`` and ``A = Q - V``."""

    state: np.ndarray  # [S], or [T + 1, S] for a finite horizon
    action: np.ndarray  # [S, A], or [T, S, A]
    advantage: np.ndarray  # [S, A], or [T, S, A]


class Trajectories(NamedTuple):
    """All trajectories of T steps with positive probability, time-major."""

    state: np.ndarray  # [T + 1, K] int
    action: np.ndarray  # [T, K] int
    reward: np.ndarray  # [T, K]
    probability: np.ndarray  # [K], sums to one


def random_mdp(seed: int, num_states: int = 4, num_actions: int = 3, gamma: float = 0.9) -> MDP:
    """A draw with Dirichlet transitions, normal rewards and a Dirichlet start."""
    rng = np.random.default_rng(seed)
    return MDP(
        transition=rng.dirichlet(np.ones(num_states), (num_states, num_actions)),
        reward=rng.normal(size=(num_states, num_actions)),
        start=rng.dirichlet(np.ones(num_states)),
        gamma=gamma,
    )


def random_logits(seed: int, mdp: MDP, scale: float = 1.0) -> np.ndarray:
    """Normal logits ``theta [S, A]`` for a softmax table."""
    return scale * np.random.default_rng(seed).normal(size=mdp.reward.shape)


def softmax(theta: np.ndarray) -> np.ndarray:
    """``pi[s, a] = exp theta[s, a] / sum_b exp theta[s, b]``."""
    weights = np.exp(theta - theta.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def score(theta: np.ndarray) -> np.ndarray:
    """``d log pi[s, a] / d theta[z, b] = 1[s = z] (1[a = b] - pi[s, b])``, ``[S, A, S, A]``."""
    num_states, num_actions = theta.shape
    within_state = np.eye(num_actions) - softmax(theta)[:, None, :]
    return np.einsum("sz,sab->sazb", np.eye(num_states), within_state)


def state_transition(mdp: MDP, policy: np.ndarray) -> np.ndarray:
    """``P_pi[s, z] = sum_a pi[s, a] P[s, a, z]``."""
    return np.einsum("sa,saz->sz", policy, mdp.transition)


def values(mdp: MDP, policy: np.ndarray) -> Values:
    """``V = (I - g P_pi)^-1 r_pi`` by a linear solve, and with it Q and A."""
    discounted = mdp.gamma * state_transition(mdp, policy)
    state = np.linalg.solve(np.eye(len(mdp.start)) - discounted, (policy * mdp.reward).sum(-1))
    action = mdp.reward + mdp.gamma * mdp.transition @ state
    return Values(state, action, action - state[:, None])


def visitation(mdp: MDP, policy: np.ndarray) -> np.ndarray:
    """``d[s] = (1-g) sum_t g^t Pr(s_t = s)``, normalised, by a linear solve of its flow equation."""
    discounted = mdp.gamma * state_transition(mdp, policy)
    return (1 - mdp.gamma) * np.linalg.solve((np.eye(len(mdp.start)) - discounted).T, mdp.start)


def objective(mdp: MDP, policy: np.ndarray) -> float:
    """``J = sum_s mu0[s] V[s]``."""
    return float(mdp.start @ values(mdp, policy).state)


def policy_gradient(mdp: MDP, theta: np.ndarray) -> np.ndarray:
    """``dJ/dtheta[s, a] = d[s] pi[s, a] A[s, a] / (1-g)`` of a softmax table, ``[S, A]``."""
    policy = softmax(theta)
    weight = visitation(mdp, policy)[:, None] * policy
    return weight * values(mdp, policy).advantage / (1 - mdp.gamma)


def finite_values(mdp: MDP, policy: np.ndarray, horizon: int) -> Values:
    """Values of an episode that ends after ``horizon`` steps, by backward induction; leading axis: step."""
    state = [np.zeros_like(mdp.start)]
    action: list[np.ndarray] = []
    for _ in range(horizon):
        action.insert(0, mdp.reward + mdp.gamma * mdp.transition @ state[0])
        state.insert(0, (policy * action[0]).sum(-1))
    states, actions = np.stack(state), np.stack(action)
    return Values(states, actions, actions - states[:-1, :, None])


def finite_objective(mdp: MDP, policy: np.ndarray, horizon: int) -> float:
    """``J_T = E[sum_{t<T} g^t r_t]``."""
    return float(mdp.start @ finite_values(mdp, policy, horizon).state[0])


def finite_policy_gradient(mdp: MDP, theta: np.ndarray, horizon: int) -> np.ndarray:
    """``dJ_T/dtheta[s, a] = sum_t g^t Pr(s_t = s) pi[s, a] A_t[s, a]`` of a softmax table, ``[S, A]``."""
    policy = softmax(theta)
    advantage = finite_values(mdp, policy, horizon).advantage
    gradient, occupancy = np.zeros_like(theta), mdp.start
    for t in range(horizon):
        gradient += mdp.gamma**t * occupancy[:, None] * policy * advantage[t]
        occupancy = occupancy @ state_transition(mdp, policy)
    return gradient


def trajectories(mdp: MDP, policy: np.ndarray, horizon: int) -> Trajectories:
    """Every trajectory with ``p = mu0[s_0] prod_t pi[s_t, a_t] P[s_t, a_t, s_{t+1}] > 0``, by enumeration."""
    num_states, num_actions = policy.shape
    choices = [range(num_states)] * (horizon + 1) + [range(num_actions)] * horizon
    table = np.array(list(itertools.product(*choices))).T
    state, action = table[: horizon + 1], table[horizon + 1 :]
    before, after = state[:-1], state[1:]
    steps = policy[before, action] * mdp.transition[before, action, after]
    probability = mdp.start[state[0]] * steps.prod(0)
    possible = probability > 0
    state, action = state[:, possible], action[:, possible]
    return Trajectories(state, action, mdp.reward[state[:-1], action], probability[possible])


def brute_force(mdp: MDP) -> np.ndarray:
    """``V*[s] = max V_pi[s]`` over all deterministic policies, each by a linear solve."""
    num_states, num_actions = mdp.reward.shape
    tables = (np.eye(num_actions)[list(choice)] for choice in np.ndindex(*(num_actions,) * num_states))
    return np.max([values(mdp, policy).state for policy in tables], axis=0)


def linear_program(mdp: MDP) -> np.ndarray:
    """``V* = argmin sum_s V[s]`` subject to ``V[s] >= R[s, a] + g sum_z P[s, a, z] V[z]`` for all s, a."""
    num_states, num_actions = mdp.reward.shape
    own = np.repeat(np.eye(num_states), num_actions, axis=0)
    constraint = mdp.gamma * mdp.transition.reshape(-1, num_states) - own
    solved = scipy.optimize.linprog(np.ones(num_states), constraint, -mdp.reward.ravel(), bounds=(None, None))
    assert solved.success, solved.message
    return solved.x


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``KL(p;q) = sum_a p log(p/q)`` over the last axis, for positive ``p`` and ``q``."""
    return (p * np.log(p / q)).sum(-1)


def finite_difference(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The gradient of ``function`` at ``x`` by central differences, of the shape of ``x``."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient
