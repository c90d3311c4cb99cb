"""Dynamic programming: the values and the best policy of a known finite process.

Plain pure functions of an :class:`~purerl.mdp.MDP`, and where sweeps suffice of a
:class:`~purerl.mdp.SparseMDP` as well: ``jit`` them, ``vmap`` them over many processes at once
(each freezes when it is done, its counts are its own). All of them stop by the same rule and say how far from the
answer they may be. One sweep ``V' = T V`` with a contraction ``T`` of factor gamma, whose fixed point is ``V*``, gives

    ``max |V' - V*| <= gamma / (1 - gamma) max |V' - V|``    and    ``max |V - V*| <= 1 / (1 - gamma) max |T V - V|``

so a small last change alone promises little: at gamma = 0.99 the error may be 99 times as large. Policies that are
greedy with respect to ``V'`` earn at most twice the bound less than the best. At ``gamma = 1`` no such bound exists
(it is infinite), and sweeps converge where every policy that never ends loses without limit, or where values only
rise towards the answer, as from 0 with rewards of at least 0.

Bounds are those of exact arithmetic; rounding adds about ``eps max|V| / (1 - gamma)``. A tolerance below a few units
of the values' last digit is met as soon as changes are that small, for they may never be smaller.

Which method is fastest depends on the process: policy iteration is Newton's method, few dear steps; the sweeps of
value iteration number about ``log(1 / tolerance) / (1 - gamma)``.

    solution = value_iteration(mdp)
    policy = mdp.greedy(mdp.lookahead(mdp, solution.value))
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl import mdp as kernel
from purerl.mdp import MDP, SparseMDP, deterministic, expected_reward, induced, lookahead, state_value

Scalar = jax.Array | float

_ROUNDING = 4  # units of the last digit of the largest value: changes no larger than this are noise


class Solution(struct.PyTreeNode):
    """What a solver found, and how good it is."""

    value: jax.Array  # [S]
    iterations: jax.Array  # [] int: sweeps, improvements or backups of one state; each solver says which
    residual: jax.Array  # [] largest change of a value by the last iteration, or by one more
    bound: jax.Array  # [] on the largest error of `value`; infinite where gamma = 1


class Plan(struct.PyTreeNode):
    """Values and best actions when a known number of steps is left. H: horizon."""

    value: jax.Array  # [H + 1, S] from step t on; the last row is what the end is worth
    action: jax.Array  # [H, S] int


def policy_evaluation(
    mdp: MDP | SparseMDP,
    policy: jax.Array,
    *,
    value: jax.Array | None = None,
    order: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_sweeps: int | jax.Array = 100_000,
) -> Solution:
    """Iterative policy evaluation: sweep until values settle. Exact by a linear solve: ``mdp.state_value``.

    ``V_{k+1}(s) = sum_a pi[s, a] (R[s, a] + gamma sum_s' P[s, a, s'] V_k(s'))``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        value: ``[S]``, where to begin; zeros where None.
        order: None to update all states from the old values (Jacobi), or ``[S]`` int, a permutation: the order in
            which a sweep updates them in place, each from the newest values (Gauss-Seidel). The limit is the same.
        tolerance: stop once no value changes by more, at least 0.
        max_sweeps: stop after so many sweeps in any case.

    Returns:
        The values after the last sweep; ``iterations`` counts sweeps.

    Source: Sutton & Barto 2018, section 4.1; Puterman 1994, section 6.3.3 for the order.
    """

    mrp = induced(mdp, policy)

    def at(value: jax.Array, state: jax.Array) -> jax.Array:
        return kernel.backup(_rows(mrp, state), value)[0]

    sweep = _in_place(at, order) if order is not None else lambda value: kernel.backup(mrp, value)
    return _until_settled(sweep, mdp, value, tolerance, max_sweeps)


def value_iteration(
    mdp: MDP | SparseMDP,
    *,
    value: jax.Array | None = None,
    order: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_sweeps: int | jax.Array = 100_000,
) -> Solution:
    """Value iteration: sweep with the optimality operator until values settle.

    ``V_{k+1}(s) = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V_k(s'))``

    Args:
        mdp: the process.
        value: ``[S]``, where to begin; zeros where None.
        order: None for Jacobi sweeps, or ``[S]`` int for Gauss-Seidel sweeps in that order, as in
            :func:`policy_evaluation`.
        tolerance: stop once no value changes by more, at least 0.
        max_sweeps: stop after so many sweeps in any case.

    Returns:
        The values after the last sweep; ``iterations`` counts sweeps.

    Source: Sutton & Barto 2018, section 4.4; Puterman 1994, section 6.3.
    """

    reward = expected_reward(mdp)

    def at(value: jax.Array, state: jax.Array) -> jax.Array:
        return lookahead(_rows(mdp, state), value, reward[state][None])[0].max()

    sweep = _in_place(at, order) if order is not None else lambda value: lookahead(mdp, value, reward).max(-1)
    return _until_settled(sweep, mdp, value, tolerance, max_sweeps)


def policy_improvement(q: jax.Array, action: jax.Array, tolerance: Scalar = 1e-5) -> jax.Array:
    """The best action of every state; the old one where it is as good.

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
    return action, _with_bellman_bound(mdp, value, improvements)


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
        return jax.lax.fori_loop(1, num_sweeps, lambda _, value: kernel.backup(mrp, value), value)

    def body(carry: tuple) -> tuple:
        value, action, improvements, _ = carry
        evaluated = partially_evaluate(value, action)
        value, action = improve(evaluated)
        return value, action, improvements + 1, jnp.abs(value - evaluated).max()

    def unfinished(carry: tuple) -> jax.Array:
        value, _, improvements, residual = carry
        return _unsettled(residual, value, tolerance) & (improvements < max_improvements)

    begin = jnp.zeros_like(mdp.start) if value is None else value
    value, action = improve(begin)
    first = (value, action, jnp.int32(1), jnp.abs(value - begin).max())
    value, _, improvements, residual = jax.lax.while_loop(unfinished, body, first)
    return Solution(value, improvements, residual, _amplified(mdp.gamma, mdp.gamma * residual))


def prioritized_sweeping(
    mdp: MDP,
    *,
    value: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_backups: int | jax.Array = 1_000_000,
) -> Solution:
    """Back up the state whose value is most wrong, until none is wrong by more than the tolerance.

    ``s = argmax |E|``, ``E(s) = max_a Q(s, a) - V(s)``; then ``V(s) += E(s)`` and, for what leads there,
    ``Q(s', a) += gamma P[s', a, s] E(s)``

    Carrying Q makes the priorities exact Bellman errors, where a bound on them would do, at the same cost: one row of P
    and one column for each backup.

    Args:
        mdp: the process.
        value: ``[S]``, where to begin, 0 in terminal states; zeros where None.
        tolerance: on the largest Bellman error, at least 0.
        max_backups: stop after so many in any case.

    Returns:
        The values; ``iterations`` counts backups of one state. ``residual`` is the Bellman error that is left.

    Source: Moore & Atkeson 1993, section 4; Sutton & Barto 2018, section 8.4.
    """
    kernel.require_dense("prioritized_sweeping", mdp)
    value = jnp.zeros_like(mdp.start) if value is None else value
    leads_to = mdp.gamma * jnp.where(mdp.terminal[:, None, None], 0.0, mdp.transition)

    reward = expected_reward(mdp)

    def errors(value: jax.Array, q: jax.Array) -> jax.Array:
        return jnp.abs(q.max(-1) - value)

    def back_up(carry: tuple) -> tuple:
        value, q, backups = carry
        state = errors(value, q).argmax()
        # The row is computed afresh: carried on alone, the rounding of its changes would pile up.
        row = lookahead(_rows(mdp, state), value, reward[state][None])[0]
        change = row.max() - value[state]
        q = q.at[state].set(row) + leads_to[:, :, state] * change
        return value.at[state].set(row.max()), q, backups + 1

    def unfinished(carry: tuple) -> jax.Array:
        value, q, backups = carry
        return _unsettled(errors(value, q).max(), value, tolerance) & (backups < max_backups)

    first = (value, lookahead(mdp, value, reward), jnp.int32(0))
    value, _, backups = jax.lax.while_loop(unfinished, back_up, first)
    return _with_bellman_bound(mdp, value, backups)


def backward_induction(mdp: MDP | SparseMDP, horizon: int, *, final: jax.Array | None = None) -> Plan:
    """Best values and actions when the process stops after ``horizon`` steps: one sweep a step, from the end.

    ``V_H = final``, ``V_t(s) = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V_{t+1}(s'))``

    Args:
        mdp: the process; any gamma in [0, 1].
        horizon: H, number of steps, at least 0, static.
        final: ``[S]``, what stopping in a state is worth, 0 in terminal states; zeros where None.

    Returns:
        The plan. Row t of it is for step t, with ``H - t`` steps left.

    Raises:
        ValueError: if ``horizon < 0``.

    Source: Puterman 1994, section 4.5.
    """
    if horizon < 0:
        raise ValueError(f"backward_induction: horizon={horizon} must be at least 0.")
    final = jnp.zeros_like(mdp.start) if final is None else final

    reward = expected_reward(mdp)

    def earlier(value: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        q = lookahead(mdp, value, reward)
        return q.max(-1), (q.max(-1), q.argmax(-1))

    _, (value, action) = jax.lax.scan(earlier, final, length=horizon, reverse=True)
    return Plan(jnp.concatenate([value, final[None]]), action)


def _until_settled(
    sweep: Callable, mdp: MDP | SparseMDP, value: jax.Array | None, tolerance: Scalar, max_sweeps: int | jax.Array
) -> Solution:
    """Repeat ``sweep`` until no value changes by more than the tolerance."""

    def body(carry: tuple) -> tuple:
        value, sweeps, _ = carry
        swept = sweep(value)
        return swept, sweeps + 1, jnp.abs(swept - value).max()

    def unfinished(carry: tuple) -> jax.Array:
        value, sweeps, residual = carry
        return _unsettled(residual, value, tolerance) & (sweeps < max_sweeps)

    value = jnp.zeros_like(mdp.start) if value is None else value
    first = (value, jnp.int32(0), jnp.full((), jnp.inf, value.dtype))
    value, sweeps, residual = jax.lax.while_loop(unfinished, body, first)
    return Solution(value, sweeps, residual, _amplified(mdp.gamma, mdp.gamma * residual))


def _unsettled(residual: jax.Array, value: jax.Array, tolerance: Scalar) -> jax.Array:
    """Whether values change by more than the tolerance, and by more than rounding does."""
    rounding = _ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value).max()
    return residual > jnp.maximum(tolerance, rounding)


def _in_place(backup: Callable[[jax.Array, jax.Array], jax.Array], order: jax.Array) -> Callable:
    """A sweep that backs up one state after the other, each from the newest values."""

    def sweep(value: jax.Array) -> jax.Array:
        def one(value: jax.Array, state: jax.Array) -> tuple[jax.Array, None]:
            return value.at[state].set(backup(value, state)), None

        return jax.lax.scan(one, value, order)[0]

    return sweep


def _rows(process: Any, state: jax.Array) -> Any:
    """An MDP or MRP that keeps only the steps out of one state: a sweep of it backs up that state."""
    names = ("transition", "next_state", "reward", "terminal")
    return process.replace(**{name: getattr(process, name)[state][None] for name in names if hasattr(process, name)})


def _with_bellman_bound(mdp: MDP, value: jax.Array, iterations: jax.Array) -> Solution:
    """``max |V - V*| <= max |T V - V| / (1 - gamma)``: how far any ``V`` is from the answer."""
    residual = jnp.abs(kernel.optimality_backup(mdp, value) - value).max()
    return Solution(value, iterations, residual, _amplified(mdp.gamma, residual))


def _amplified(gamma: jax.Array, change: jax.Array) -> jax.Array:
    """``change / (1 - gamma)``, infinite where ``gamma = 1``."""
    return jnp.where(gamma < 1, change / jnp.where(gamma < 1, 1 - gamma, 1.0), jnp.inf)
