"""Batched Monte Carlo tree search. It knows no learning and no environment: a model is a function.

root = Root(logits, value, embedding)
decision = gumbel_muzero(params, key, root, model, num_simulations=32)
"""

from purerl.search.drawing import describe, plot_tree, principal_line
from purerl.search.mcts import Output, search
from purerl.search.policies import (
    ChanceOutput,
    Decision,
    gumbel_muzero,
    mixed_evaluation,
    muzero,
    stochastic_muzero,
    uct,
)
from purerl.search.tree import Root, Tree, init_tree, reuse_subtree

__all__ = [
    "ChanceOutput",
    "Decision",
    "Output",
    "Root",
    "Tree",
    "describe",
    "gumbel_muzero",
    "init_tree",
    "mixed_evaluation",
    "muzero",
    "plot_tree",
    "principal_line",
    "reuse_subtree",
    "search",
    "stochastic_muzero",
    "uct",
]
