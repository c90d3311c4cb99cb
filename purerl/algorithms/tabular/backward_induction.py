"""Backward induction: optimal control of a finite horizon."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.mdp import MDP, SparseMDP, expected_reward, lookahead


class Plan(struct.PyTreeNode):
    """Values and best actions when a known number of steps is left. H: horizon."""

    value: jax.Array  # [H + 1, S] from step t on; the last row is the value of the end
    action: jax.Array  # [H, S] int


def backward_induction(mdp: MDP | SparseMDP, horizon: int, *, final: jax.Array | None = None) -> Plan:
    """Backward induction: best values and actions of a finite horizon, one sweep a step, from the end.

    ``V_H = final``, ``V_t(s) = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V_{t+1}(s'))``

    Args:
        mdp: the process; any gamma in [0, 1].
        horizon: H, number of steps, at least 0, static.
        final: ``[S]``, the value of stopping in a state, 0 in terminal states; zeros where None.

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
