"""Prioritized sweeping of a known finite process."""

import jax
import jax.numpy as jnp

from purerl.algorithms.tabular.sweeps import Solution, one_state, unsettled, with_bellman_bound
from purerl.mdp import MDP, expected_reward, lookahead, require_dense
from purerl.types import Scalar


def prioritized_sweeping(
    mdp: MDP,
    *,
    value: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_backups: int | jax.Array = 1_000_000,
) -> Solution:
    """Prioritized sweeping: back up the state with the largest Bellman error, until none exceeds the tolerance.

    ``s = argmax |E|``, ``E(s) = max_a Q(s, a) - V(s)``; then ``V(s) += E(s)`` and, for the pairs that lead there,
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
    require_dense("prioritized_sweeping", mdp)
    value = jnp.zeros_like(mdp.start) if value is None else value
    leads_to = mdp.gamma * jnp.where(mdp.terminal[:, None, None], 0.0, mdp.transition)

    reward = expected_reward(mdp)

    def errors(value: jax.Array, q: jax.Array) -> jax.Array:
        return jnp.abs(q.max(-1) - value)

    def back_up(carry: tuple) -> tuple:
        value, q, backups = carry
        state = errors(value, q).argmax()
        # The row is computed afresh: carried on alone, the rounding of its changes would pile up.
        row = lookahead(one_state(mdp, state), value, reward[state][None])[0]
        change = row.max() - value[state]
        q = q.at[state].set(row) + leads_to[:, :, state] * change
        return value.at[state].set(row.max()), q, backups + 1

    def unfinished(carry: tuple) -> jax.Array:
        value, q, backups = carry
        return unsettled(errors(value, q).max(), value, tolerance) & (backups < max_backups)

    first = (value, lookahead(mdp, value, reward), jnp.int32(0))
    value, _, backups = jax.lax.while_loop(unfinished, back_up, first)
    return with_bellman_bound(mdp, value, backups)
