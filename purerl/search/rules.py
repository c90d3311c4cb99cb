"""Selection rules of tree search: UCT, PUCT, the improved policy, sequential halving, chance nodes.

A rule scores the actions of a node, and a simulation follows the highest score. Its prior is computed from the model's
logits once, when the node is added.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.search import qtransforms
from purerl.search.tree import Node
from purerl.types import Scalar


class Rule(NamedTuple):
    """Selection rule: a prior, and a score of actions whose argmax a simulation follows.

    Attributes:
        prior: ``(logits [B, A]) -> [B, A]``, kept as ``Node.prior``. It says which actions are allowed, too: a
            probability above 0, or a logit above -inf.
        score: ``(Node) -> [B, A]``, -inf for an action that is not allowed.
    """

    prior: Callable[[jax.Array], jax.Array]
    score: Callable[[Node], jax.Array]


def allowed(logits: jax.Array) -> jax.Array:
    """Masked logits: log-probabilities up to a constant, 0 at most, and -inf where an action is not allowed.

    Args:
        logits: ``[..., A]``; one below half the lowest number of its type says that the action is not allowed. Where
            none is, all count as allowed: a search needs an action.
    """
    possible = logits > jnp.finfo(logits.dtype).min / 2
    shifted = logits - jnp.max(jnp.where(possible, logits, -jnp.inf), axis=-1, keepdims=True)
    masked = jnp.where(possible, jnp.maximum(shifted, jnp.finfo(logits.dtype).min), -jnp.inf)
    return jnp.where(jnp.any(possible, axis=-1, keepdims=True), masked, 0.0)


def probabilities(logits: jax.Array) -> jax.Array:
    """Masked softmax: prior probabilities ``[..., A]``, 0 where an action is not allowed, and nowhere else."""
    logits = allowed(logits)
    return positive(jax.nn.softmax(logits), logits > -jnp.inf)


def positive(prior: jax.Array, possible: jax.Array) -> jax.Array:
    """Prior that tells what is allowed: at least the smallest normal number where an action is, 0 where it is not.

    However unlikely an action is, it does not become a forbidden one by rounding.
    """
    return jnp.where(possible, jnp.maximum(prior, jnp.finfo(prior.dtype).tiny), 0.0)


def masked_argmax(score: jax.Array) -> jax.Array:
    """Argmax over actions, ``[..., A] -> [...]``, ties to the first; where a score is NaN, the first that is not -inf.

    Two passes that the CPU does with vectors, where ``argmax`` is one that it cannot: half of a search's time at 82
    actions. The barrier keeps the score one array: were it worked out twice, it might be rounded differently.
    """
    num_actions = score.shape[-1]
    score = jax.lax.optimization_barrier(score)
    lower = (score < jnp.max(score, axis=-1, keepdims=True)) | (score == -jnp.inf)
    first = jnp.min(jnp.where(lower, num_actions - 1, jnp.arange(num_actions)), axis=-1)
    return first.astype(jnp.int32)


def uct(exploration: Scalar = 2.0**0.5) -> Rule:
    """UCT selection score, UCB1 in a tree: ``Q_a + c sqrt(ln N / N_a)``; unvisited actions come first.

    The regret of the bandit's rule is bounded for returns between 0 and 1; for other ranges scale ``c``.

    Args:
        exploration: c, at least 0.

    Source: Kocsis & Szepesvári 2006.
    """

    def score(node: Node) -> jax.Array:
        total = jnp.sum(node.visits, axis=-1, keepdims=True)
        width = jnp.sqrt(jnp.log(jnp.maximum(total, 1.0)) / jnp.maximum(node.visits, 1.0))
        bound = jnp.where(node.visits > 0, node.value + exploration * width, jnp.inf)
        return jnp.where(node.prior > 0, bound, -jnp.inf)

    return Rule(probabilities, score)


def puct(value: Callable = qtransforms.min_max, c_init: Scalar = 1.25, c_base: Scalar = 19652.0) -> Rule:
    """PUCT selection score: ``Q_a + c(n) p_a sqrt(n) / (1 + N_a)``, ``c(n) = c_init + ln((n + c_base + 1) / c_base)``.

    ``n = 1 + sum_b N_b`` counts the visit that added the node too, so that the prior decides while nothing else does.

    Args:
        value: transform of ``Q``, ``(Node) -> [B, A]``, of :mod:`purerl.search.qtransforms`.
        c_init: weight of the prior.
        c_base: visits after which it grows.

    Source: Silver et al. 2018 (AlphaZero), pseudocode; Schrittwieser et al. 2020 (MuZero), appendix B (2).
    """

    def score(node: Node) -> jax.Array:
        visits = 1 + jnp.sum(node.visits, axis=-1, keepdims=True)
        c = c_init + jnp.log((visits + c_base + 1) / c_base)
        bonus = jnp.sqrt(visits) * c * node.prior / (1 + node.visits)
        return jnp.where(node.prior > 0, value(node) + bonus, -jnp.inf)

    return Rule(probabilities, score)


def improved_policy(value: Callable = qtransforms.completed_q) -> Rule:
    """Deterministic selection by the improved policy: ``pi'_a - N_a / (1 + sum_b N_b)``.

    ``pi' = softmax(logits + sigma(Q))``. Each visit goes to the action whose share of visits is furthest below ``pi'``,
    so that visits follow the improved policy.

    Args:
        value: ``sigma(Q)``, ``(Node) -> [B, A]``, added to logits.

    Source: Danihelka et al. 2022, (14).
    """

    def score(node: Node) -> jax.Array:
        target = jax.nn.softmax(node.prior + value(node))
        deficit = target - node.visits / (1 + jnp.sum(node.visits, axis=-1, keepdims=True))
        return jnp.where(node.prior > -jnp.inf, deficit, -jnp.inf)

    return Rule(allowed, score)


def sequential_halving(gumbel: jax.Array, value: Callable, max_considered: int, num_simulations: int) -> Callable:
    """Sequential halving at the root, among actions sampled without replacement by the Gumbel top-k trick.

    Of the ``m`` allowed actions with the highest ``gumbel + logits``, all get the same number of visits; then the
    better half by ``gumbel + logits + sigma(Q)`` does; and so on.

    Args:
        gumbel: ``[B, A]``, standard Gumbel noise, scaled.
        value: ``sigma(Q)``, ``(Node) -> [B, A]``, added to logits.
        max_considered: m, if so many are allowed.
        num_simulations: of the whole search.

    Returns:
        ``(Node) -> [B, A]``. After the last simulation its argmax is the action to play.

    Source: Danihelka et al. 2022, algorithm 2; Karnin, Koren & Somekh 2013.
    """
    table = jnp.asarray([halving_visits(m, num_simulations) for m in range(max_considered + 1)])

    def score(node: Node) -> jax.Array:
        possible = node.prior > -jnp.inf
        considered = jnp.minimum(jnp.sum(possible, axis=-1), max_considered)
        simulation = jnp.sum(node.visits, axis=-1).astype(jnp.int32)
        wanted = jnp.where(
            simulation < num_simulations,
            table[considered, jnp.minimum(simulation, num_simulations - 1)],
            jnp.max(node.visits, axis=-1),
        )
        total = jnp.maximum(gumbel + node.prior + value(node), -1e9)
        return jnp.where(possible & (node.visits == wanted[:, None]), total, -jnp.inf)

    return score


def halving_visits(num_actions: int, num_simulations: int) -> np.ndarray:
    """Visit schedule of sequential halving: visits that each simulation's action has before it, ``[num_simulations]``.

    Sequential halving spends equal shares of the simulations on rounds with ``m, m / 2, ..., 2`` actions, which are
    visited in turn; further simulations go to the last two.
    """
    if num_actions <= 1:
        return np.arange(num_simulations, dtype=np.float32)
    num_rounds = math.ceil(math.log2(num_actions))
    order: list[int] = []
    considered, turn = num_actions, 0
    while len(order) < num_simulations:
        num_turns = max(1, num_simulations // (num_rounds * considered))
        for _ in range(num_turns):
            order += [turn] * considered
            turn += 1
        considered = max(2, considered // 2)
    return np.asarray(order[:num_simulations], np.float32)


def chance_score(node: Node) -> jax.Array:
    """Chance node selection score ``p_a / (1 + N_a)``: outcomes are visited in proportion to their probabilities.

    Source: Antonoglou et al. 2022 (Stochastic MuZero), section 4.
    """
    return jnp.where(node.prior > 0, node.prior / (1 + node.visits), -jnp.inf)
