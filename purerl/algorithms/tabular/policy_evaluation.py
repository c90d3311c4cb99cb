"""Iterative policy evaluation of a known finite process."""

import jax

from purerl.algorithms.tabular.sweeps import Solution, in_place_sweep, one_state, sweep_until_settled
from purerl.mdp import MDP, SparseMDP, backup, induced
from purerl.types import Scalar


def policy_evaluation(
    mdp: MDP | SparseMDP,
    policy: jax.Array,
    *,
    value: jax.Array | None = None,
    order: jax.Array | None = None,
    tolerance: Scalar = 1e-5,
    max_sweeps: int | jax.Array = 100_000,
) -> Solution:
    """Iterative policy evaluation: sweep until values settle. Exact by a linear solve: :func:`~purerl.mdp.state_value`.

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
        return backup(one_state(mrp, state), value)[0]

    sweep = in_place_sweep(at, order) if order is not None else lambda value: backup(mrp, value)
    return sweep_until_settled(sweep, mdp, value, tolerance, max_sweeps)
