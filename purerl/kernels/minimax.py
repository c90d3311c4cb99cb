"""Values of small zero-sum games inside compiled programs, where a linear programme cannot be."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Maximin(NamedTuple):
    """What the player who chooses rows can guarantee itself."""

    value: jax.Array  # []
    strategy: jax.Array  # [A] one that guarantees it


def maximin(payoff: jax.Array) -> Maximin:
    """Value of a zero-sum game and a strategy that guarantees it: ``v = max_x min_k sum_a x_a u(a, k)``.

    Among the best strategies there is one that makes as many columns as it has rows equally good, so that all square
    parts of the game are tried, one linear system each, and the strategy whose guarantee is highest is taken: the value
    is exact but for rounding, which can only lower it. There are ``binomial(A + K, A) - 1`` parts: 19 of a 3x3 game,
    251 of a 5x5 one. :mod:`purerl.games.equilibria` has the linear programme for larger ones.

    Args:
        payoff: ``[A, K]``, of the player who chooses rows, finite.

    Returns:
        The value and a strategy. ``maximin(-payoff.T)`` is the other player's.

    Source: Shapley and Snow 1950.
    """
    num_rows, _ = payoff.shape
    chosen, column = _square_parts(*payoff.shape)
    scaled = payoff / jnp.maximum(jnp.max(jnp.abs(payoff)), jnp.finfo(payoff.dtype).tiny)
    # Unknowns are x [A] and the value. A row that is played has the equation of its column, sum_a x_a u(a, k) = v, any
    # other row x_a = 0; the last equation is that of the sum.
    equal = jnp.concatenate([scaled.T[column], -jnp.ones((*column.shape, 1), payoff.dtype)], axis=-1)
    unplayed = jnp.eye(num_rows, num_rows + 1, dtype=payoff.dtype)
    whole = jnp.append(jnp.ones(num_rows, payoff.dtype), 0.0)
    system = jnp.where(chosen[..., None], equal, unplayed)
    system = jnp.concatenate([system, jnp.broadcast_to(whole, (len(system), 1, num_rows + 1))], axis=1)
    right = jnp.zeros((len(system), num_rows + 1, 1), payoff.dtype).at[:, -1].set(1.0)
    strategy = jnp.where(chosen, jnp.linalg.solve(system, right)[:, :num_rows, 0], 0.0)
    # A part without a solution gives no probabilities; whatever they are made, their guarantee is a true one.
    strategy = jnp.where(jnp.isfinite(strategy), jnp.clip(strategy, 0.0, 1e6), 0.0)
    total = jnp.sum(strategy, axis=-1, keepdims=True)
    strategy = jnp.where(total > 0, strategy / jnp.where(total > 0, total, 1.0), 1 / num_rows)
    guarantee = jnp.min(jnp.dot(strategy, payoff, precision="highest"), axis=-1)
    best = jnp.argmax(guarantee)
    return Maximin(guarantee[best], strategy[best])


def _square_parts(num_rows: int, num_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """All square parts of a matrix: which rows ``[C, A]`` bool, and the column that each of them is paired with."""
    chosen, column = [], []
    for size in range(1, min(num_rows, num_columns) + 1):
        for rows in itertools.combinations(range(num_rows), size):
            for columns in itertools.combinations(range(num_columns), size):
                chosen.append(np.isin(np.arange(num_rows), rows))
                column.append(np.zeros(num_rows, int))
                column[-1][list(rows)] = columns
    return np.stack(chosen), np.stack(column)
