"""Where a policy leads in a finite process: trajectory probabilities, state visitation and occupancy measures."""

import jax
import jax.numpy as jnp

from purerl.kernels.numerics import safe_divide
from purerl.mdp.bellman import induced
from purerl.mdp.processes import MDP


def trajectory_log_prob(mdp: MDP, policy: jax.Array, state: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of a trajectory. The dynamics drop out of its gradient with respect to the policy.

    ``log p(tau) = log start[s_0] + sum_{t<T} (log pi[s_t, a_t] + log P[s_t, a_t, s_{t+1}])``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        state: ``[T + 1]`` int.
        action: ``[T]`` int; no action is taken in the last state.

    Returns:
        ``[]``, minus infinity where the trajectory cannot happen.

    Source: Sutton & Barto 2018, section 5.5.
    """
    before, after = state[:-1], state[1:]
    steps = jnp.log(policy[before, action]) + jnp.log(mdp.transition[before, action, after])
    return jnp.log(mdp.start[state[0]]) + steps.sum()


def visitation(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Discounted state visitation distribution of a policy.

    ``d[s'] = (1 - gamma) start[s'] + gamma sum_{s,a} d[s] pi[s, a] P[s, a, s']``, that is
    ``d[s] = (1 - gamma) sum_t gamma^t Pr(s_t = s)``

    Args:
        mdp: the process, with ``gamma < 1``. An episode that has ended stays in its terminal state.
        policy: ``[S, A]``, rows sum to 1.

    Returns:
        ``[S]``, sums to 1.

    Source: Puterman 1994, section 6.9; Kakade & Langford 2002, section 2.
    """
    mrp = induced(mdp, policy)
    system = jnp.eye(len(mdp.start)) - mdp.gamma * mrp.transition
    return (1 - mdp.gamma) * jnp.linalg.solve(system.T, mdp.start)


def occupancy(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Occupancy measure ``rho[s, a] = d[s] pi[s, a]``, ``[S, A]``, sums to 1; ``J = sum rho R / (1 - gamma)``.

    Source: Syed, Bowling & Schapire 2008, (3) and (4), there not normalised.
    """
    return visitation(mdp, policy)[:, None] * policy


def policy_from_occupancy(rho: jax.Array) -> jax.Array:
    """Policy of a given occupancy measure.

    ``pi[s, a] = rho[s, a] / sum_b rho[s, b]``; uniform where a state is never visited, where any policy would do

    Args:
        rho: ``[S, A]``, at least 0.

    Returns:
        ``[S, A]``, rows sum to 1.

    Source: Syed, Bowling & Schapire 2008, theorem 2.
    """
    return safe_divide(rho, rho.sum(-1, keepdims=True), default=1 / rho.shape[-1])
