"""Value iteration of a known finite process, synchronous or Gauss-Seidel."""

import jax

from purerl.algorithms.tabular.sweeps import Solution, in_place_sweep, one_state, sweep_until_settled
from purerl.mdp import MDP, SparseMDP, expected_reward, lookahead
from purerl.types import Scalar


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
        return lookahead(one_state(mdp, state), value, reward[state][None])[0].max()

    sweep = in_place_sweep(at, order) if order is not None else lambda value: lookahead(mdp, value, reward).max(-1)
    return sweep_until_settled(sweep, mdp, value, tolerance, max_sweeps)
