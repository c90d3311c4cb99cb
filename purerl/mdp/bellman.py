"""Bellman backups and operators of a finite process, exact values by a linear solve, and greedy policies."""

from typing import Literal, overload

import jax
import jax.numpy as jnp

from purerl.mdp import checks
from purerl.mdp.processes import MDP, MRP, SparseMDP, SparseMRP, require_dense
from purerl.types import Scalar


def expected_reward(mdp: MDP | SparseMDP) -> jax.Array:
    """Expected reward of a state-action pair, ``R[s, a] = sum_s' P[s, a, s'] R[s, a, s']``, ``[S, A]``.

    Values depend on the reward through this mean alone; the noise of the reward given ``s, a`` is gone.

    Source: Sutton & Barto 2018, (3.5).
    """
    return (mdp.transition * mdp.reward).sum(-1)


def deterministic(action: jax.Array, num_actions: int) -> jax.Array:
    """Deterministic policy as a one-hot table: ``[S, A]`` that always takes ``action [S]``.

    Raises:
        ValueError: for an action that does not exist, unless it is traced.
    """
    checks.actions(action, num_actions)
    return jax.nn.one_hot(action, num_actions, dtype=float)


@overload
def induced(mdp: MDP, policy: jax.Array) -> MRP: ...
@overload
def induced(mdp: SparseMDP, policy: jax.Array) -> SparseMRP: ...
def induced(mdp: MDP | SparseMDP, policy: jax.Array) -> MRP | SparseMRP:
    """Markov reward process induced by a policy in a decision process.

    ``P_pi[s, s'] = sum_a pi[s, a] P[s, a, s']``, ``r_pi[s] = sum_a pi[s, a] R[s, a]``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.

    Returns:
        The reward process, in the form of the decision process.

    Source: Puterman 1994, section 5.6.
    """
    reward = average(policy, expected_reward(mdp))
    if isinstance(mdp, SparseMDP):
        transition = (policy[:, :, None] * mdp.transition).reshape(len(reward), -1)
        return SparseMRP(transition, mdp.next_state.reshape(transition.shape), reward, mdp.terminal, mdp.gamma)
    return MRP(_sum("sa,saz->sz", policy, mdp.transition), reward, mdp.terminal, mdp.gamma)


def next_value(process: MDP | MRP | SparseMDP | SparseMRP, value: jax.Array) -> jax.Array:
    """Expected value of the next state: ``sum_s' P[s, a, s'] V[s']``, ``[S, A]``, or ``[S]`` for a reward process."""
    if isinstance(process, SparseMDP | SparseMRP):
        return (process.transition * value[process.next_state]).sum(-1)
    return _sum("...z,z->...", process.transition, value)


def backup(mrp: MRP | SparseMRP, value: jax.Array) -> jax.Array:
    """Bellman backup of a reward process: ``V'[s] = r[s] + gamma sum_s' P[s, s'] V[s']``, ``[S]``; 0 where terminal.

    Source: Sutton & Barto 2018, (4.5).
    """
    return jnp.where(mrp.terminal, 0.0, mrp.reward + mrp.gamma * next_value(mrp, value))


def solve(mrp: MRP) -> jax.Array:
    """Exact values of a Markov reward process by one linear solve.

    ``V = (I - gamma P)^-1 r``, over the states that are not terminal

    Args:
        mrp: the process; at ``gamma = 1`` every state must lead to a terminal one, else the system is singular.

    Returns:
        ``[S]`` values, 0 in terminal states.

    Raises:
        TypeError: if the process is a sparse one.

    Source: Puterman 1994, theorem 6.1.1.
    """
    require_dense("solve", mrp)
    going_on = jnp.where(mrp.terminal[:, None], 0.0, mrp.transition)
    system = jnp.eye(len(mrp.reward)) - mrp.gamma * going_on
    return jnp.linalg.solve(system, jnp.where(mrp.terminal, 0.0, mrp.reward))


def state_value(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Exact state values of a policy, ``V_pi [S]``: :func:`solve` of the :func:`induced` process."""
    return solve(induced(mdp, policy))


def start_value(mdp: MDP, value: jax.Array) -> jax.Array:
    """Objective ``J = sum_s start[s] V[s]``, ``[]``: the expected return of an episode over its starts.

    Source: Sutton & Barto 2018, section 13.2, there for one start.
    """
    return mdp.start @ value


def lookahead(mdp: MDP | SparseMDP, value: jax.Array, reward: jax.Array | None = None) -> jax.Array:
    """One-step lookahead: action values from the values of the next states.

    ``Q[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] V[s']``, 0 in terminal states

    Args:
        mdp: the process.
        value: ``[S]``.
        reward: ``[S, A]``, :func:`expected_reward` of the process, to be given in a loop: it costs as much as the rest.

    Returns:
        ``[S, A]``.

    Source: Sutton & Barto 2018, (4.6).
    """
    reward = expected_reward(mdp) if reward is None else reward
    q = reward + mdp.gamma * next_value(mdp, value)
    return jnp.where(mdp.terminal[:, None], 0.0, q)


def average(policy: jax.Array, q: jax.Array) -> jax.Array:
    """State values from action values under a policy: ``V[s] = sum_a pi[s, a] Q[s, a]``, ``[S]``.

    Source: Sutton & Barto 2018, exercise 3.18.
    """
    return (policy * q).sum(-1)


def advantage(policy: jax.Array, q: jax.Array) -> jax.Array:
    """Advantage function ``A[s, a] = Q[s, a] - sum_b pi[s, b] Q[s, b]``, ``[S, A]``; its mean under the policy is 0."""
    return q - average(policy, q)[:, None]


def expectation_backup(mdp: MDP | SparseMDP, policy: jax.Array, value: jax.Array) -> jax.Array:
    """Bellman expectation operator of a policy on state values.

    ``(T_pi V)[s] = sum_a pi[s, a] (R[s, a] + gamma sum_s' P[s, a, s'] V[s'])``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        value: ``[S]``.

    Returns:
        ``[S]``.

    Source: Sutton & Barto 2018, (4.5).
    """
    return average(policy, lookahead(mdp, value))


def expectation_backup_q(mdp: MDP | SparseMDP, policy: jax.Array, q: jax.Array) -> jax.Array:
    """Bellman expectation operator of a policy on action values.

    ``(T_pi Q)[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] sum_a' pi[s', a'] Q[s', a']``, all ``[S, A]``

    Source: Sutton & Barto 2018, exercise 3.17.
    """
    return lookahead(mdp, average(policy, q))


def optimality_backup(mdp: MDP | SparseMDP, value: jax.Array) -> jax.Array:
    """Bellman optimality operator on state values.

    ``(T V)[s] = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V[s'])``, both ``[S]``

    Source: Sutton & Barto 2018, (4.10).
    """
    return lookahead(mdp, value).max(-1)


def optimality_backup_q(mdp: MDP | SparseMDP, q: jax.Array) -> jax.Array:
    """Bellman optimality operator on action values.

    ``(T Q)[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] max_a' Q[s', a']``, both ``[S, A]``

    Source: Sutton & Barto 2018, (4.2).
    """
    return lookahead(mdp, q.max(-1))


def greedy(q: jax.Array, ties: Literal["first", "split"] = "first", tolerance: Scalar = 0.0) -> jax.Array:
    """Greedy policy of action values.

    Args:
        q: ``[S, A]``.
        ties: "first" of the best actions, or "split" the probability evenly among them.
        tolerance: actions within so much of the best are best too, at least 0.

    Returns:
        ``[S, A]``, rows sum to 1.

    Source: Sutton & Barto 2018, (4.9).
    """
    best = q >= q.max(-1, keepdims=True) - tolerance
    if ties == "first":
        return deterministic(best.argmax(-1), q.shape[-1])
    return best / best.sum(-1, keepdims=True).astype(q.dtype)


def _sum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Sums of products in full precision: an accelerator's default would lose half of the digits."""
    return jnp.einsum(subscripts, *operands, precision="highest")
