"""Policy-space response oracles: a pool, a mixture of it to be met, and a best response that joins it.

    for round in psro(tree, num_rounds=20): ...            # double oracle: the mixture is an equilibrium of the pool
    for round in psro(tree, uniform, num_rounds=20): ...   # fictitious play
    for round in psro(tree, latest, num_rounds=20): ...    # answers to the last answer, which go round

What is met of the pool decides what becomes of it: that is the argument ``mixture``. Best responses are exact, in
small games with hidden cards as arrays (:mod:`purerl.games.extensive`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.games import sequence_form
from purerl.games.equilibria import zero_sum_equilibrium
from purerl.games.extensive import Side, Tree

Strategies = tuple[np.ndarray, np.ndarray]  # [N] of player 0 and of player 1, over their pools


class Round(NamedTuple):
    """What there is after some rounds, beside a first pool of one policy each."""

    pools: tuple[np.ndarray, np.ndarray]  # [N, L] realization plans of each player, the newest last
    payoff: np.ndarray  # [N, N] of player 0, who plays a row, in the game of the two pools
    mixture: Strategies  # [N] of each player
    nash_conv: float  # of the mixtures, in the whole game

    @property
    def plans(self) -> tuple[np.ndarray, np.ndarray]:
        """Realization plans of the mixtures, ``[L]`` of each player."""
        first, second = (weight @ pool for weight, pool in zip(self.mixture, self.pools, strict=True))
        return first, second


def equilibrium(payoff: np.ndarray) -> Strategies:
    """An equilibrium of the game of the two pools: the double oracle. Source: McMahan, Gordon and Blum 2003."""
    _, row, column = zero_sum_equilibrium(payoff)
    return row, column


def uniform(payoff: np.ndarray) -> Strategies:
    """All of the pool alike: fictitious play. Source: Brown 1951; Heinrich, Lanctot and Silver 2015."""
    first, second = (np.full(size, 1 / size) for size in payoff.shape)
    return first, second


def latest(payoff: np.ndarray) -> Strategies:
    """The newest alone: the self-play that forgets what it could do before."""
    first, second = (np.eye(size)[-1] for size in payoff.shape)
    return first, second


def psro(
    tree: Tree, mixture: Callable[[np.ndarray], Strategies] = equilibrium, *, num_rounds: int = 20
) -> Iterator[Round]:
    """Policy-space response oracles, from uniform policies: each round both pools get a best response.

    ``x_{k+1} = argmax_x x U y_k``, with ``y_k`` the mixture of the other's pool, and likewise for the other

    Args:
        tree: of the game.
        mixture: ``payoff [N, N] -> `` the mixture of each pool that the next responses answer.
        num_rounds: that many, of which the first has the uniform policies alone.

    Yields:
        Each round.

    Source: Lanctot et al. 2017 (arXiv 1711.00832), algorithm 1.
    """
    matrix = sequence_form.payoff_matrix(tree)
    answer = jax.jit(lambda plans: [_answer(tree.sides[i], plans[1 - i]) for i in range(2)])
    pools = [np.asarray(sequence_form.realization_plan(side, sequence_form.uniform(side)))[None] for side in tree.sides]
    for _ in range(num_rounds):
        payoff = pools[0] @ matrix @ pools[1].T
        weights = mixture(payoff)
        plans = [weight @ pool for weight, pool in zip(weights, pools, strict=True)]
        answers, earned = zip(*answer([jnp.asarray(plan, float) for plan in plans]), strict=True)
        yield Round((pools[0], pools[1]), payoff, weights, float(sum(earned)))
        pools = [np.concatenate([pool, np.asarray(plan)[None]]) for pool, plan in zip(pools, answers, strict=True)]


def _answer(side: Side, other_plan: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Plan ``[L]`` of a best response, and what it earns."""
    policy, earned = sequence_form.best_response(side, sequence_form.end_values(side, other_plan))
    return sequence_form.realization_plan(side, policy), earned
