"""How players learn normal-form games, a step at a time: fictitious play, regrets, evolution, mirror descent.

A step is a pure function, to be scanned. In zero-sum games of two players the *averages* of fictitious play and of
play without regret converge to equilibrium, of rock, paper, scissors to (1/3, 1/3, 1/3); what is played last need not:
best responses go round, and so do replicators. The last iterate of mirror descent with a magnet converges, to the
equilibrium of a game with entropy.
"""

import jax
import jax.numpy as jnp

from purerl.kernels.normal_form import Profile, action_values, best_response
from purerl.kernels.numerics import safe_divide, safe_log
from purerl.types import Scalar


def fictitious_play(payoffs: jax.Array, counts: Profile) -> Profile:
    """Fictitious play: everybody answers the mixture of all that the others have played so far.

    ``n_i <- n_i + b_i(n_{-i} / |n_{-i}|)``, with ``b`` the best response

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        counts: ``[A_i]`` of each player, how often each action was played, not all 0; divided by their sum they are
            the average strategies.

    Returns:
        ``[A_i]`` of each player.

    Raises:
        ValueError: if the counts are of another game.

    Source: Brown 1951; its convergence in zero-sum games of two players: Robinson 1951.
    """
    answers = best_response(payoffs, tuple(n / jnp.sum(n) for n in counts))
    return tuple(n + answer for n, answer in zip(counts, answers, strict=True))


def regret_matching(regret: jax.Array, legal: jax.Array | None = None) -> jax.Array:
    """Regret matching: actions in proportion to their positive regrets, all alike where there is none.

    ``x(a) = max(R(a), 0) / sum_b max(R(b), 0)``

    Args:
        regret: ``[..., A]``, cumulative.
        legal: ``[..., A]`` bool, at least one in each row; None: all are.

    Returns:
        ``[..., A]`` probabilities.

    Source: Hart and Mas-Colell 2000, (2.2); Zinkevich et al. 2007, (8).
    """
    legal = jnp.ones(regret.shape, bool) if legal is None else legal
    positive = jnp.where(legal, jnp.maximum(regret, 0), 0)
    total = jnp.sum(positive, axis=-1, keepdims=True)
    even = legal / jnp.sum(legal, axis=-1, keepdims=True, dtype=regret.dtype)
    return jnp.where(total > 0, safe_divide(positive, total), even)


def add_regret(regret: jax.Array, value: jax.Array, policy: jax.Array, *, plus: bool = False) -> jax.Array:
    """Cumulative regret after one more round: ``R'(a) = R(a) + q(a) - sum_b x(b) q(b)``.

    Args:
        regret: ``[..., A]``.
        value: ``[..., A]``, ``q``, against what the others played.
        policy: ``[..., A]``, ``x``, what was played.
        plus: regret matching+, which forgets negative regrets: ``max(R'(a), 0)``; static.

    Returns:
        ``[..., A]``.

    Source: Hart and Mas-Colell 2000, (2.1); Tammelin 2014 (arXiv 1407.5042).
    """
    after = regret + value - jnp.sum(policy * value, axis=-1, keepdims=True)
    return jnp.maximum(after, 0) if plus else after


def replicator(payoffs: jax.Array, profile: Profile) -> Profile:
    """Replicator dynamics, the velocity of each strategy: ``dx_i(a)/dt = x_i(a) (q_i(a) - sum_b x_i(b) q_i(b))``.

    On rock, paper, scissors, with both players alike, it keeps the product of the three probabilities.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[A_i]`` of each player, with sum 0.

    Raises:
        ValueError: if the profile is of another game.

    Source: Taylor and Jonker 1978.
    """
    values = action_values(payoffs, profile)
    return tuple(x * (q - jnp.sum(x * q)) for x, q in zip(profile, values, strict=True))


def replicator_step(payoffs: jax.Array, profile: Profile, duration: Scalar) -> Profile:
    """One step of :func:`replicator` by the classical method of Runge and Kutta.

    ``x' = x + (k1 + 2 k2 + 2 k3 + k4) duration / 6``, with ``k1`` the velocity at its beginning, ``k2`` and ``k3`` in
    its middle and ``k4`` at its end; then scaled to the sum 1, which the dynamics keep but need not return to

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.
        duration: > 0, in units of time.

    Returns:
        ``[A_i]`` of each player.

    Raises:
        ValueError: if the profile is of another game.
    """

    def ahead(velocity: Profile, time: Scalar) -> Profile:
        return tuple(x + time * v for x, v in zip(profile, velocity, strict=True))

    k1 = replicator(payoffs, profile)
    k2 = replicator(payoffs, ahead(k1, duration / 2))
    k3 = replicator(payoffs, ahead(k2, duration / 2))
    k4 = replicator(payoffs, ahead(k3, duration))
    mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return tuple(x / jnp.sum(x) for x in ahead(mean, duration))


def mirror_step(
    policy: jax.Array, value: jax.Array, magnet: jax.Array, temperature: Scalar, step_size: Scalar
) -> jax.Array:
    """Magnetic mirror descent: ``x'(a) ~ (x(a) m(a)^(eta tau) exp(eta q(a)))^(1 / (1 + eta tau))``.

    With temperature 0 it is multiplicative weights (Hedge), whose average converges in zero-sum games. With a
    temperature and a magnet its last iterate converges, linearly, to the equilibrium of the game in which everybody
    also pays ``tau KL(x; m)``: with a uniform magnet to the logit equilibrium.

    Args:
        policy: ``[..., A]``, ``x``, probabilities.
        value: ``[..., A]``, ``q``, against the others.
        magnet: ``[..., A]``, ``m``, probabilities.
        temperature: ``tau``, at least 0, in units of payoff.
        step_size: ``eta``, > 0; to converge at most ``tau`` divided by the square of the largest payoff.

    Returns:
        ``[..., A]``.

    Source: Sokota et al. 2023 (arXiv 2206.05825), (9); Freund and Schapire 1999.
    """
    pull = step_size * temperature
    logits = safe_log(policy) + pull * safe_log(magnet) + step_size * value
    return jax.nn.softmax(logits / (1 + pull), axis=-1)
