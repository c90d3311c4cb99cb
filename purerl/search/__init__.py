"""Batched Monte Carlo tree search. It knows no learning and no environment: a model is a function.

root = Root(logits, value, embedding)
decision = gumbel_muzero(params, key, root, model, num_simulations=32)
"""

from purerl.search.drawing import describe, draw, principal_line
from purerl.search.policies import (
    ChanceOutput,
    Decision,
    gumbel_muzero,
    mixed_evaluation,
    muzero,
    stochastic_muzero,
    uct,
)
from purerl.search.search import Output, grow
from purerl.search.tree import Root, Tree, keep, plant

__all__ = [
    "ChanceOutput",
    "Decision",
    "Output",
    "Root",
    "Tree",
    "describe",
    "draw",
    "grow",
    "gumbel_muzero",
    "keep",
    "mixed_evaluation",
    "muzero",
    "plant",
    "principal_line",
    "stochastic_muzero",
    "uct",
]
