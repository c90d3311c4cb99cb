"""Elo ratings from game results: maximum likelihood, online updates, bootstrap intervals, the cyclic part of payoffs.

Axis letter of this file: N players. Results are two tables: ``wins[i, j]``, how often i beat j, and the symmetric
``draws[i, j]``; their diagonals are ignored. A draw is half a win for either. Ratings are in points: 400 of them are
odds of ten to one, whatever the level, so that only differences mean anything.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit

from purerl.kernels.numerics import safe_divide
from purerl.types import Scalar

POINTS = 400 / math.log(10)  # in a rating difference that multiplies the odds by e


class Fit(NamedTuple):
    """Maximum likelihood ratings."""

    rating: jax.Array  # [N] points; NaN where the likelihood has no maximum
    residual: jax.Array  # [] games, largest |score - expected score| of a player; infinite where there is no maximum
    num_iterations: jax.Array  # [] int32


class Cycles(NamedTuple):
    """Transitive and cyclic part of a table of payoffs: ``payoff[i, j] = rating[i] - rating[j] + remainder[i, j]``."""

    rating: jax.Array  # [N] in the payoff's unit, sums to 0
    remainder: jax.Array  # [N, N] antisymmetric, each row sums to 0
    share: jax.Array  # [] in [0, 1], of the remainder in the sum of squares


def expected_score(rating_a: Scalar, rating_b: Scalar) -> jax.Array:
    """Elo expected score of A against B: ``1 / (1 + 10^((R_B - R_A) / 400))``.

    Args:
        rating_a: ``[...]`` points.
        rating_b: ``[...]`` points.

    Returns:
        ``[...]`` in [0, 1]: 1 a win, 1/2 a draw.

    Source: Elo 1978, with the logistic curve.
    """
    return jax.nn.sigmoid((jnp.asarray(rating_a) - rating_b) / POINTS)


def rating_gap(score: Scalar) -> jax.Array:
    """Elo rating difference of a mean score: ``400 log10(s / (1 - s))``, ``[...] -> [...]`` points.

    The inverse of :func:`expected_score`; infinite at 0 and 1.
    """
    return POINTS * logit(jnp.asarray(score, jnp.result_type(float)))


def elo_update(rating: jax.Array, a: jax.Array, b: jax.Array, score: Scalar, k: Scalar) -> jax.Array:
    """Online Elo update of one game: ``R_A += k (s - E_A)``, and ``R_B`` loses the same, so that the sum stays.

    It tracks players who change; the order of the games matters. For players who do not change use :func:`fit`.

    Args:
        rating: ``[N]`` points.
        a: ``[]`` int.
        b: ``[]`` int, another player.
        score: of A, in [0, 1].
        k: points at stake, > 0.

    Returns:
        ``[N]``.

    Source: Elo 1978.
    """
    gain = k * (score - expected_score(rating[a], rating[b]))
    return rating.at[a].add(gain).at[b].add(-gain)


def fit(
    wins: Any,
    draws: Any,
    anchor: Scalar = 0.0,
    prior: Scalar = 0.0,
    max_iterations: int = 100,
    tolerance: float = 1e-2,
) -> Fit:
    """Maximum likelihood Elo (Bradley-Terry) ratings: everyone's expected score is the score.

    ``max_R sum_ij (w_ij + d_ij / 2) log E_ij``, hence ``sum_j n_ij E_ij = sum_j (w_ij + d_ij / 2)`` for all i

    Newton's method from equal ratings. It converges from anywhere, as a step whose entries spread over ``b`` (in units
    of :data:`POINTS`) is shortened to ``ln(1 + b) / b`` of itself. Order and time of the games do not enter.

    The likelihood has a maximum exactly if everyone has scored against everyone, if only through others. It has none
    where a player, or a group against all others, won or lost everything or never met the rest. ``prior`` draws added
    between every two players cure that; a player who won all n games against one other then stands
    ``400 log10(1 + 2 n / prior)`` above.

    Args:
        wins: ``[N, N]``, at least 0; N at least 2.
        draws: ``[N, N]``, at least 0, symmetric.
        anchor: mean of the ratings, in points.
        prior: virtual draws of each pair, at least 0.
        max_iterations: at least 0.
        tolerance: in points; iterations end after a step no longer than that, beyond which the error is its square.

    Returns:
        The ratings, how well they fit, and the iterations made. Where there is no maximum, and this was not known
        before tracing, the ratings are NaN.

    Raises:
        ValueError: for tables that are none, or where there is no maximum and ``prior`` is 0; unless they are traced.

    Source: Zermelo 1929; Bradley and Terry 1952; Ford 1957, for the maximum's existence; Sun and Tran-Dinh 2019
    (arXiv 1703.04599), the damped step for nu = 2.
    """
    _check(wins, draws, prior)
    score = _scores(wins, draws, prior)
    bounded = jnp.all(_reaches(score > 0))

    def newton(strength: jax.Array) -> jax.Array:
        likely = jax.nn.sigmoid(strength[:, None] - strength)
        weight = (score + score.T) * likely * likely.T
        # Only differences count, so the curvature is 0 along equal entries: the constant fills that direction alone.
        curvature = jnp.diag(weight.sum(1)) - weight + weight.mean()
        step = jnp.linalg.solve(curvature, _surplus(score, strength))
        spread = jnp.maximum(jnp.ptp(step), jnp.finfo(step.dtype).tiny)
        return jnp.log1p(spread) / spread * step

    def unsettled(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, length, t = carry
        return (length > tolerance / POINTS) & (t < max_iterations)

    def iterate(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        strength, _, t = carry
        step = newton(strength)
        return strength + step, jnp.max(jnp.abs(step)), t + 1

    start = jnp.zeros(len(score), score.dtype)
    first = (start, jnp.where(bounded, jnp.inf, 0.0).astype(score.dtype), jnp.int32(0))
    strength, _, num_iterations = jax.lax.while_loop(unsettled, iterate, first)
    residual = jnp.max(jnp.abs(_surplus(score, strength)))
    return Fit(
        rating=jnp.where(bounded, anchor + POINTS * (strength - strength.mean()), jnp.nan),
        residual=jnp.where(bounded, residual, jnp.inf),
        num_iterations=num_iterations,
    )


def bootstrap(
    key: jax.Array, wins: Any, draws: Any, num_samples: int, anchor: Scalar = 0.0, prior: Scalar = 0.0
) -> jax.Array:
    """Bootstrap of ratings: fits of resampled results, whose quantiles are intervals.

    Every pair plays as many games again, won, drawn and lost as often as before on average. The virtual draws count as
    seen: after nothing but wins others remain possible, as they should.

    Args:
        key: one key.
        wins: ``[N, N]``, whole numbers.
        draws: ``[N, N]``, whole numbers, symmetric.
        num_samples: how many, static.
        anchor: as in :func:`fit`.
        prior: as in :func:`fit`. With 0, a sample in which someone wins everything is NaN.

    Returns:
        ``[num_samples, N]`` points. Differences of two players within a sample give the interval of their difference,
        which is narrower than the two intervals suggest.

    Raises:
        ValueError: as in :func:`fit`.

    Source: Efron 1979.
    """
    _check(wins, draws, prior)
    wins, draws = _tables(wins, draws)
    first, second = np.triu_indices(len(wins), 1)
    seen = jnp.stack([wins[first, second], draws[first, second], wins[second, first]], axis=-1)  # [pairs, 3]
    smooth = seen + jnp.array([0.0, 1.0, 0.0], seen.dtype) * prior
    shares = safe_divide(smooth, smooth.sum(-1, keepdims=True), 1 / 3)
    results = jax.random.multinomial(key, seen.sum(-1), shares, shape=(num_samples, *shares.shape), dtype=shares.dtype)

    def rate(result: jax.Array) -> jax.Array:
        won, drawn, lost = result.T
        nothing = jnp.zeros_like(wins)
        drawn = nothing.at[first, second].set(drawn)
        return fit(
            nothing.at[first, second].set(won).at[second, first].set(lost), drawn + drawn.T, anchor, prior
        ).rating

    return jax.vmap(rate)(results)


def payoff(wins: Any, draws: Any) -> jax.Array:
    """Payoff matrix: mean result of each player against each, ``(w_ij - w_ji) / n_ij``, 0 for two who never met.

    Args:
        wins: ``[N, N]``.
        draws: ``[N, N]``, symmetric.

    Returns:
        ``[N, N]`` antisymmetric, in [-1, 1]: 1 a win, 0 a draw, -1 a loss.
    """
    wins, draws = _tables(wins, draws)
    return safe_divide(wins - wins.T, wins + wins.T + draws)


def cyclic(payoff: jax.Array) -> Cycles:
    """Hodge decomposition of a payoff matrix into ratings and a cyclic, non-transitive part.

    ``rating_i = mean_j payoff_ij``, ``remainder_ij = payoff_ij - (rating_i - rating_j)``

    The two parts are orthogonal, so the ratings are also those that fit the table best in squares. Rock, paper,
    scissors is all remainder. Players whom Elo describes exactly leave none in a table of :func:`rating_gap`, and
    usually a little in one of :func:`payoff`, which is not linear in rating differences.

    Args:
        payoff: ``[N, N]`` antisymmetric, finite. Everyone has met everyone: a 0 for those who have not counts as even.

    Returns:
        Both parts; the share is 0 for a table of zeros.

    Source: Balduzzi et al. 2018 (arXiv 1806.02643), the Hodge decomposition.
    """
    rating = payoff.mean(1)
    remainder = payoff - (rating[:, None] - rating)
    return Cycles(rating, remainder, safe_divide(jnp.sum(remainder**2), jnp.sum(payoff**2)))


def _tables(wins: Any, draws: Any) -> tuple[jax.Array, jax.Array]:
    """Both as floats, with diagonals of 0."""
    wins, draws = (jnp.asarray(x, jnp.result_type(float)) for x in (wins, draws))
    others = 1 - jnp.eye(len(wins), dtype=wins.dtype)
    return wins * others, draws * others


def _scores(wins: Any, draws: Any, prior: Scalar) -> jax.Array:
    """``[N, N]``: points won against each, half a point a draw, virtual ones included."""
    wins, draws = _tables(wins, draws)
    return wins + (draws + prior * (1 - jnp.eye(len(wins), dtype=wins.dtype))) / 2


def _surplus(score: jax.Array, strength: jax.Array) -> jax.Array:
    """``sum_j s_ij - n_ij E_ij``, ``[N]``: the gradient of the log likelihood."""
    likely = jax.nn.sigmoid(strength[:, None] - strength)
    # = s_ij E_ji - s_ji E_ij, where nothing near 1 is subtracted from something near 1.
    flow = score * likely.T
    return jnp.sum(flow - flow.T, axis=1)


def _reaches(edge: Any) -> Any:
    """Which players a chain of edges leads to, ``[N, N] -> [N, N]`` bool; NumPy's arrays stay NumPy's."""
    reached = edge | np.eye(len(edge), dtype=bool)
    for _ in range(math.ceil(math.log2(len(edge)))):  # a square doubles the length of the chains
        reached = reached.astype(np.float32) @ reached.astype(np.float32) > 0
    return reached


def _check(wins: Any, draws: Any, prior: Scalar) -> None:
    """Shapes always; numbers where they are known."""
    shape = np.shape(wins)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2 or np.shape(draws) != shape:
        raise ValueError(
            f"wins has the shape {list(shape)} and draws {list(np.shape(draws))}; both must be [N, N], N at least 2."
        )
    if any(isinstance(x, jax.core.Tracer) for x in (wins, draws, prior)):
        return
    wins, draws = np.asarray(wins), np.asarray(draws)
    for name, table in (("wins", wins), ("draws", draws)):
        bad = ~(np.isfinite(table) & (table >= 0))  # so written that NaN is bad, too
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(f"{name}[{i}, {j}] = {table[i, j]}: a number of games is finite and at least 0.")
    if (uneven := draws != draws.T).any():
        i, j = np.argwhere(uneven)[0]
        raise ValueError(f"draws[{i}, {j}] = {draws[i, j]} and draws[{j}, {i}] = {draws[j, i]}: count each for both.")
    if not prior >= 0:
        raise ValueError(f"prior = {prior}: it is a number of virtual draws, at least 0.")
    if (apart := ~_reaches(wins + draws + prior > 0)).any():
        i, j = np.argwhere(apart)[0]
        raise ValueError(
            f"No ratings are likeliest: player {i} never scored against player {j}, not even through others. "
            "Play more games, or give prior > 0, so many virtual draws between every two."
        )
