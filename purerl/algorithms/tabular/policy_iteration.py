"""Policy iteration of a known finite process: policy improvement, exact and modified policy iteration."""

import jax
import jax.numpy as jnp

from purerl.algorithms.tabular.sweeps import Solution, amplified, unsettled, with_bellman_bound
from purerl.mdp import MDP, SparseMDP, backup, deterministic, expected_reward, induced, lookahead, state_value
from purerl.types import Scalar


def policy_improvement(q: jax.Array, action: jax.Array, tolerance: Scalar = 1e-5) -> jax.Array:
    """Policy improvement: the best action of every state; the old one where it is as good.

    Keeping it is what lets policy iteration stop: choosing afresh among equals may go round for ever.

    Args:
        q: ``[S, A]``, action values of the policy to improve.
        action: ``[S]`` int, what it does.
        tolerance: actions are as good if they differ by no more than this times ``max(1, |best|)``, which should
            exceed the rounding of ``q``.

    Returns:
        ``[S]`` int.

    Source: Sutton & Barto 2018, section 4.2 and exercise 4.4.
    """
    best = q.max(-1)
    kept = jnp.take_along_axis(q, action[:, None], axis=-1)[:, 0]
    as_good = kept >= best - tolerance * jnp.maximum(1.0, jnp.abs(best))
    return jnp.where(as_good, action, q.argmax(-1))


def policy_iteration(
    mdp: MDP,
    *,
    action: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_improvements: int | jax.Array = 1000,
) -> tuple[jax.Array, Solution]:
    """Policy iteration with exact evaluation: each policy is at least as good as the last in every state.

    ``V_k = (I - gamma P_k)^-1 r_k``, then ``pi_{k+1}(s) in argmax_a (R[s, a] + gamma sum_s' P[s, a, s'] V_k(s'))``

    Args:
        mdp: the process. At ``gamma = 1`` policies that never end must lose without limit (a cost for every step), or
            one of them may be met, which no linear solve evaluates; value iteration has no such trouble.
        action: ``[S]`` int, the first policy; greedy with respect to the uniform policy's values where None.
        tolerance: of :func:`policy_improvement`.
        max_improvements: stop after so many in any case; finitely many policies exist, and few are met.

    Returns:
        ``(action [S], Solution)``: the best policy and its value; ``iterations`` counts improvements, the last of which
        changed nothing. ``residual`` is by how much a sweep of value iteration would still change the value.

    Source: Howard 1960, chapter 4; Sutton & Barto 2018, section 4.3.
    """
    num_states, num_actions, _ = mdp.transition.shape
    if action is None:
        uniform = jnp.full((num_states, num_actions), 1 / num_actions)
        action = lookahead(mdp, state_value(mdp, uniform)).argmax(-1)

    def evaluate(action: jax.Array) -> jax.Array:
        return state_value(mdp, deterministic(action, num_actions))

    def improve(carry: tuple) -> tuple:
        action, value, improvements, _ = carry
        improved = policy_improvement(lookahead(mdp, value), action, tolerance)
        changed = (improved != action).any()
        return improved, evaluate(improved), improvements + 1, changed

    def unfinished(carry: tuple) -> jax.Array:
        *_, improvements, changed = carry
        return changed & (improvements < max_improvements)

    first = (action, evaluate(action), jnp.int32(0), jnp.array(True))
    action, value, improvements, _ = jax.lax.while_loop(unfinished, improve, first)
    return action, with_bellman_bound(mdp, value, improvements)


def modified_policy_iteration(
    mdp: MDP | SparseMDP,
    num_sweeps: int | jax.Array,
    *,
    value: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_improvements: int | jax.Array = 100_000,
) -> Solution:
    """Policy iteration that evaluates by a few sweeps only: between value iteration and policy iteration.

    ``W_k = T_{pi_k}^{m-1} V_k`` where ``pi_k`` is the policy that ``V_k = T W_{k-1}`` maximised over

    Args:
        mdp: the process.
        num_sweeps: m, sweeps for each policy, at least 1. The first is the improvement's own maximisation, so 1 is
            value iteration, and many are policy iteration.
        value: ``[S]``, where to begin; zeros where None.
        tolerance: stop once an improvement changes no value by more, at least 0.
        max_improvements: stop after so many in any case.

    Returns:
        The values after the last improvement; ``iterations`` counts improvements.

    Source: Puterman & Shin 1978; Puterman 1994, section 6.5.
    """

    num_actions, reward = mdp.transition.shape[1], expected_reward(mdp)

    def improve(value: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = lookahead(mdp, value, reward)
        return q.max(-1), q.argmax(-1)

    def partially_evaluate(value: jax.Array, action: jax.Array) -> jax.Array:
        mrp = induced(mdp, deterministic(action, num_actions))
        return jax.lax.fori_loop(1, num_sweeps, lambda _, value: backup(mrp, value), value)

    def body(carry: tuple) -> tuple:
        value, action, improvements, _ = carry
        evaluated = partially_evaluate(value, action)
        value, action = improve(evaluated)
        return value, action, improvements + 1, jnp.abs(value - evaluated).max()

    def unfinished(carry: tuple) -> jax.Array:
        value, _, improvements, residual = carry
        return unsettled(residual, value, tolerance) & (improvements < max_improvements)

    begin = jnp.zeros_like(mdp.start) if value is None else value
    value, action = improve(begin)
    first = (value, action, jnp.int32(1), jnp.abs(value - begin).max())
    value, _, improvements, residual = jax.lax.while_loop(unfinished, body, first)
    return Solution(value, improvements, residual, amplified(mdp.gamma, mdp.gamma * residual))
