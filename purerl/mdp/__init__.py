"""Finite Markov decision processes as arrays: what they are, and the value of a policy in them.

    process = mdp.make(transition, reward, gamma=0.9)
    value = mdp.state_value(process, policy)

Axis letters of this package: S states (or Markov reward process states), A actions, O observations. A policy is a table
``[S, A]`` whose rows sum to 1; a deterministic one is a one-hot table (:func:`deterministic`). The reward belongs to
the transition ``s, a -> s'``; its mean :func:`expected_reward` decides every value, the rest of it is noise.

Every function takes one process; ``jax.vmap`` takes many. A process of many states is better kept as
:class:`SparseMDP`, which lists each pair's successors (:mod:`purerl.mdp.sparse`).
"""

from purerl.mdp.bellman import (
    advantage,
    average,
    backup,
    deterministic,
    expectation_backup,
    expectation_backup_q,
    expected_reward,
    greedy,
    induced,
    lookahead,
    next_value,
    optimality_backup,
    optimality_backup_q,
    solve,
    start_value,
    state_value,
)
from purerl.mdp.occupancy_measures import (
    occupancy,
    policy_from_occupancy,
    trajectory_log_prob,
    visitation,
)
from purerl.mdp.pomdp import (
    POMDP,
    belief_update,
    make_pomdp,
    observation_distribution,
)
from purerl.mdp.processes import (
    MDP,
    MRP,
    SparseMDP,
    SparseMRP,
    make,
    random_mdp,
    require_dense,
)

__all__ = [
    "MDP",
    "MRP",
    "POMDP",
    "SparseMDP",
    "SparseMRP",
    "advantage",
    "average",
    "backup",
    "belief_update",
    "deterministic",
    "expectation_backup",
    "expectation_backup_q",
    "expected_reward",
    "greedy",
    "induced",
    "lookahead",
    "make",
    "make_pomdp",
    "next_value",
    "observation_distribution",
    "occupancy",
    "optimality_backup",
    "optimality_backup_q",
    "policy_from_occupancy",
    "random_mdp",
    "require_dense",
    "solve",
    "start_value",
    "state_value",
    "trajectory_log_prob",
    "visitation",
]
