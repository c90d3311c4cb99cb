"""Exact equilibria of small games of two players, on the host, in double precision.

value, row, column = zero_sum_equilibrium(payoff)             # any zero-sum game, by a linear programme
for row, column in support_enumeration(payoffs): ...          # all equilibria of a small game
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_TOLERANCE = 1e-9  # relative to the largest payoff


class Equilibrium(NamedTuple):
    """An equilibrium of a zero-sum game."""

    value: float  # what the first player earns
    row: np.ndarray  # [A] strategy of the first
    column: np.ndarray  # [K] of the second


def zero_sum_equilibrium(payoff: np.ndarray) -> Equilibrium:
    """Nash equilibrium of a zero-sum game by two linear programmes: ``max_x min_k sum_a x_a u(a, k)`` and its dual.

    Args:
        payoff: ``[A, K]``, of the first player, finite.

    Raises:
        ValueError: if the payoffs are no finite matrix.

    Source: von Neumann 1928; Dantzig 1951.
    """
    payoff = _matrix(payoff)
    row, value = _maximin(payoff)
    column, _ = _maximin(-payoff.T)
    return Equilibrium(value, row, column)


def maximum_entropy_equilibrium(payoff: np.ndarray) -> Equilibrium:
    """The Nash equilibrium of a zero-sum game in which both players' entropies are highest, which is unique.

    ``argmax_x -sum_a x_a log x_a`` over all ``x`` that guarantee the value of the game. It treats copies of an action
    as one, so that it ranks players by a table of matches whoever was entered twice (Nash averaging).

    Args:
        payoff: ``[A, K]``, of the first player, finite.

    Raises:
        ValueError: if the payoffs are no finite matrix.

    Source: Ortiz, Schapire and Kakade 2007; Balduzzi et al. 2018 (arXiv 1806.02643), section 3.
    """
    payoff = _matrix(payoff)
    value = zero_sum_equilibrium(payoff).value
    return Equilibrium(value, _most_even(payoff, value), _most_even(-payoff.T, -value))


def support_enumeration(payoffs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All Nash equilibria of a non-degenerate game, by trying all pairs of supports of equal size.

    On its support each strategy makes the other player indifferent: ``sum_a x_a u_2(a, k) = v`` for all ``k`` that the
    other one plays, and no action outside earns more. A degenerate game may have more equilibria than are found.

    Args:
        payoffs: ``[2, A, K]``, finite.

    Yields:
        Strategies ``[A]`` and ``[K]``; small supports come first.

    Raises:
        ValueError: if the payoffs are no finite game of two players.

    Source: Nisan et al. 2007, "Algorithmic Game Theory", algorithm 3.4.
    """
    payoffs = np.asarray(payoffs, float)
    if payoffs.ndim != 3 or len(payoffs) != 2:
        raise ValueError(f"payoffs of the shape {payoffs.shape}: a game of two players is [2, A, K].")
    first, second = _matrix(payoffs[0]), _matrix(payoffs[1])
    for size in range(1, min(first.shape) + 1):
        rows, columns = (itertools.combinations(range(number), size) for number in first.shape)
        for own, other in itertools.product(rows, list(columns)):
            row = _indifferent(second.T, own, other)  # what the first plays makes the second indifferent
            column = _indifferent(first, other, own)
            if row is not None and column is not None:
                yield row, column


def _matrix(payoff: np.ndarray) -> np.ndarray:
    payoff = np.asarray(payoff, float)
    if payoff.ndim != 2 or not payoff.size or not np.isfinite(payoff).all():
        raise ValueError(f"payoff is {payoff.tolist()!s:.60}: it must be a matrix [A, K] of finite numbers.")
    return payoff


def _maximin(payoff: np.ndarray) -> tuple[np.ndarray, float]:
    """The strategy ``[A]`` that guarantees most, and how much."""
    from scipy.optimize import linprog

    num_actions, num_others = payoff.shape
    cost = np.zeros(num_actions + 1)
    cost[-1] = -1  # the last unknown is the value
    guarantee = np.hstack([-payoff.T, np.ones((num_others, 1))])
    whole = np.append(np.ones(num_actions), 0.0)[None]
    bounds = [(0, None)] * num_actions + [(None, None)]
    solution = linprog(cost, guarantee, np.zeros(num_others), whole, [1.0], bounds, method="highs")
    strategy = np.maximum(solution.x[:-1], 0)
    return strategy / strategy.sum(), float(solution.x[-1])


def _most_even(payoff: np.ndarray, value: float) -> np.ndarray:
    """The strategy ``[A]`` of highest entropy among those that guarantee a value.

    By the dual: the strategy is ``x_a ~ exp(sum_k w_k u(a, k))``, with weights ``w >= 0`` that minimise
    ``log sum_a exp(sum_k w_k (u(a, k) - v))``.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    scale = max(np.abs(payoff - value).max(), np.finfo(float).tiny)
    margin = (payoff - value) / scale

    def dual(weight: np.ndarray) -> tuple[float, np.ndarray]:
        logits = margin @ weight
        return float(logsumexp(logits)), softmax(logits) @ margin

    bounds, options = [(0, None)] * payoff.shape[1], {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000}
    weight = minimize(dual, np.zeros(payoff.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return softmax(margin @ weight)


def _indifferent(payoff: np.ndarray, support: tuple[int, ...], actions: tuple[int, ...]) -> np.ndarray | None:
    """A strategy on a support that makes an opponent's actions its best responses, all as good; None if none does.

    Args:
        payoff: ``[K, A]``, of the opponent, who chooses the row.
        support: of the strategy, some of A.
        actions: of the opponent, some of K, as many.
    """
    size = len(support)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size], system[:size, size], system[size, :size] = payoff[np.ix_(actions, support)], -1, 1
    try:
        solution = np.linalg.solve(system, np.append(np.zeros(size), 1.0))
    except np.linalg.LinAlgError:
        return None
    strategy = np.zeros(payoff.shape[1])
    strategy[list(support)] = solution[:size]
    close = _TOLERANCE * max(1.0, np.abs(payoff).max())
    if (solution[:size] <= _TOLERANCE).any() or (payoff @ strategy > solution[size] + close).any():
        return None
    return strategy
