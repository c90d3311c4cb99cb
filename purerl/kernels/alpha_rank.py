"""alpha-rank: how long evolution stays with each strategy of a symmetric game."""

import jax
import jax.numpy as jnp

from purerl.types import Scalar


def fixation_probabilities(payoff: jax.Array, alpha: Scalar, population_size: int) -> jax.Array:
    """Fixation probability: how likely a single mutant is to take over a population in which all others are alike.

    ``rho(s, r) = 1 / (1 + sum_{l=1}^{m-1} prod_{p=1}^{l} exp(-alpha (f_r(p) - f_s(p))))``, with p mutants and their
    fitness ``f_r(p) = ((p - 1) u(r, r) + (m - p) u(r, s)) / (m - 1)``, and that of the others
    ``f_s(p) = (p u(s, r) + (m - p - 1) u(s, s)) / (m - 1)``

    Args:
        payoff: ``[A, A]``, ``u``, of the one who plays the row.
        alpha: how much fitness matters, at least 0, per unit of payoff.
        population_size: ``m``, at least 2, static.

    Returns:
        ``[A, A]`` in (0, 1): in the row of the population's strategy, the column of the mutant's.

    Source: Traulsen, Claussen and Hauert 2006; Omidshafiei et al. 2019 (arXiv 1903.01373), (8).
    """
    m, own = population_size, jnp.diagonal(payoff)
    p = jnp.arange(1, m, dtype=payoff.dtype)[:, None, None]  # [m - 1, 1, 1]
    mutant = ((p - 1) * own[None, :] + (m - p) * payoff.T) / (m - 1)
    resident = (p * payoff + (m - p - 1) * own[:, None]) / (m - 1)
    exponents = jnp.cumsum(-alpha * (mutant - resident), axis=0)
    # The 1 is the term with no factor. By logarithms, so that no product overflows.
    return jnp.exp(-jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(exponents[:1]), exponents]), axis=0))


def alpha_rank(payoff: jax.Array, alpha: Scalar, population_size: int = 50) -> jax.Array:
    """alpha-rank of a symmetric game: the stationary distribution of its Markov chain of populations.

    ``pi C = pi``, with ``C(s, r) = rho(s, r) / (A - 1)`` for ``r != s``, and rows that sum to 1

    A state is a population in which everybody plays the same. Mutants are rare, so one of them has taken over or died
    out before the next one comes.

    Args:
        payoff: ``[A, A]``, A at least 2, of the one who plays the row.
        alpha: how much fitness matters, above 0, per unit of payoff. Where it is large, chains come apart, and the
            result is as exact as the smallest ``rho``.
        population_size: at least 2, static.

    Returns:
        ``[A]`` probabilities, the ranking.

    Raises:
        ValueError: if the payoffs are no square matrix of at least two strategies.

    Source: Omidshafiei et al. 2019 (arXiv 1903.01373), section 2.
    """
    if payoff.ndim != 2 or payoff.shape[0] != payoff.shape[1] or len(payoff) < 2:
        raise ValueError(
            f"alpha_rank: payoff has the shape {payoff.shape}; it must be [A, A], of at least 2 strategies."
        )
    size = len(payoff)
    rate = jnp.where(jnp.eye(size, dtype=bool), 0, fixation_probabilities(payoff, alpha, population_size))
    # Stationary: (C - I)^T pi = 0, of which one equation follows from the others and makes room for sum pi = 1.
    flow = (rate - jnp.diag(jnp.sum(rate, axis=1))).T.at[-1].set(1.0)
    return jnp.linalg.solve(flow, jnp.zeros(size, payoff.dtype).at[-1].set(1.0))
