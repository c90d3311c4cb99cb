"""Dynamic programming: the values and the best policy of a known finite process.

Plain pure functions of an :class:`~purerl.mdp.MDP`, and where sweeps suffice of a
:class:`~purerl.mdp.SparseMDP` as well: ``jit`` them, ``vmap`` them over many processes at once
(each freezes when it is done, its counts are its own). All of them stop by the same rule and say how far from the
answer they may be. One sweep ``V' = T V`` with a contraction ``T`` of factor gamma, whose fixed point is ``V*``, gives

    ``max |V' - V*| <= gamma / (1 - gamma) max |V' - V|``    and    ``max |V - V*| <= 1 / (1 - gamma) max |T V - V|``

so a small last change alone says little: at gamma = 0.99 the error may be 99 times as large. Policies that are
greedy with respect to ``V'`` lose at most twice the bound against the best. At ``gamma = 1`` no such bound exists
(it is infinite), and sweeps converge where every policy that never ends loses without limit, or where values only
rise towards the answer, as from 0 with rewards of at least 0.

Bounds are those of exact arithmetic; rounding adds about ``eps max|V| / (1 - gamma)``. A tolerance below a few units
of the values' last digit is met as soon as changes are that small, for they may never be smaller.

Which method is fastest depends on the process: policy iteration is Newton's method, few expensive steps; the sweeps of
value iteration number about ``log(1 / tolerance) / (1 - gamma)``.

    solution = value_iteration(mdp)
    policy = mdp.greedy(mdp.lookahead(mdp, solution.value))
"""

from purerl.algorithms.tabular.backward_induction import Plan, backward_induction
from purerl.algorithms.tabular.policy_evaluation import policy_evaluation
from purerl.algorithms.tabular.policy_iteration import modified_policy_iteration, policy_improvement, policy_iteration
from purerl.algorithms.tabular.prioritized_sweeping import prioritized_sweeping
from purerl.algorithms.tabular.sweeps import Solution
from purerl.algorithms.tabular.value_iteration import value_iteration

__all__ = [
    "Plan",
    "Solution",
    "backward_induction",
    "modified_policy_iteration",
    "policy_evaluation",
    "policy_improvement",
    "policy_iteration",
    "prioritized_sweeping",
    "value_iteration",
]
