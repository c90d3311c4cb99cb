"""Normal-form games: best responses, how far a profile is from equilibrium, dominance, what nobody would give up.

A game of n players is an array of payoffs ``[n, A_1, ..., A_n]``: what each of them earns when they play the actions
of the other axes. A profile is a tuple of n mixed strategies, probabilities ``[A_i]`` each. Every function takes one
game; ``jax.vmap`` takes many.

    game = zero_sum([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])      # rock, paper, scissors
    nash_conv(game, uniform(game))                             # 0

In the equations ``u_i`` is the payoff of player ``i``, ``x_i`` its strategy, and ``-i`` are all others.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.kernels import exploration
from purerl.types import Scalar

Profile = tuple[jax.Array, ...]  # [A_i] of each player


def bimatrix(row: Any, column: Any) -> jax.Array:
    """Game of two players, from what each of them earns.

    Args:
        row: ``[A, K]``, payoff of the player who chooses among A actions.
        column: ``[A, K]``, payoff of the one who chooses among K.

    Returns:
        ``[2, A, K]``.

    Raises:
        ValueError: if the two are no matrices of one shape, or a payoff is not finite.
    """
    if np.ndim(row) != 2 or np.shape(row) != np.shape(column):
        raise ValueError(
            f"payoffs of the shapes {np.shape(row)} and {np.shape(column)}: both must be [A, K], a row for each action "
            "of the first player and a column for each of the second."
        )
    for name, payoff in (("row", row), ("column", column)):
        if not isinstance(payoff, jax.core.Tracer) and not np.isfinite(np.asarray(payoff, float)).all():
            at = tuple(np.argwhere(~np.isfinite(np.asarray(payoff, float)))[0].tolist())
            raise ValueError(f"{name}{list(at)} = {np.asarray(payoff)[at]}: payoffs must be finite.")
    return jnp.stack([jnp.asarray(payoff, jnp.result_type(float)) for payoff in (row, column)])


def zero_sum(payoff: Any) -> jax.Array:
    """Zero-sum game of two players: ``u_2 = -u_1``.

    Args:
        payoff: ``[A, K]``, of the first.

    Returns:
        ``[2, A, K]``.

    Raises:
        ValueError: as :func:`bimatrix`.
    """
    payoff = jnp.asarray(payoff, jnp.result_type(float))
    return bimatrix(payoff, -payoff)


def symmetric(payoff: Any) -> jax.Array:
    """Symmetric game, in which it does not matter who is who: ``u_2(a, b) = u_1(b, a)``.

    Args:
        payoff: ``[A, A]``, of the one who plays the row.

    Returns:
        ``[2, A, A]``.

    Raises:
        ValueError: as :func:`bimatrix`.
    """
    return bimatrix(payoff, jnp.swapaxes(jnp.asarray(payoff), -1, -2))


def uniform(payoffs: jax.Array) -> Profile:
    """Profile in which everybody plays all actions alike: ``x_i(a) = 1 / A_i``.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
    """
    return tuple(jnp.full(size, 1 / size, payoffs.dtype) for size in payoffs.shape[1:])


def action_values(payoffs: jax.Array, profile: Profile) -> Profile:
    """Value of each player's actions against the others' strategies: ``q_i(a) = E[u_i(a, b)], b ~ x_{-i}``.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[A_i]`` of each player.

    Raises:
        ValueError: if the profile is of another game.
    """
    _check(payoffs, profile)
    return tuple(_against_others(payoffs[i], profile, i) for i in range(len(profile)))


def utilities(payoffs: jax.Array, profile: Profile) -> jax.Array:
    """What each player earns: ``u_i(x) = sum_a x_i(a) q_i(a)``.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[n]``.

    Raises:
        ValueError: if the profile is of another game.
    """
    return jnp.stack([jnp.sum(x * q) for x, q in zip(profile, action_values(payoffs, profile), strict=True)])


def best_response(payoffs: jax.Array, profile: Profile) -> Profile:
    """Best response of each player to the others, ties split: ``b_i(a) = 1[q_i(a) = max q_i] / |argmax q_i|``.

    A Nash equilibrium is a profile of which each strategy is *one of* the best responses; against the equilibrium of
    rock, paper, scissors every strategy is one.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[A_i]`` of each player.

    Raises:
        ValueError: if the profile is of another game.
    """
    return tuple(exploration.greedy(q) for q in action_values(payoffs, profile))


def deviation_gains(payoffs: jax.Array, profile: Profile) -> jax.Array:
    """What each player would gain by a best response alone: ``max_a q_i(a) - u_i(x)``.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[n]``, at least 0 but for rounding; 0 for everybody in a Nash equilibrium and there alone.

    Raises:
        ValueError: if the profile is of another game.

    Source: Nash 1951.
    """
    gains = [jnp.max(q) - jnp.sum(x * q) for x, q in zip(profile, action_values(payoffs, profile), strict=True)]
    return jnp.stack(gains)


def nash_conv(payoffs: jax.Array, profile: Profile) -> jax.Array:
    """NashConv, the distance from equilibrium: ``sum_i (max_a q_i(a) - u_i(x))``.

    The exploitability of a zero-sum game of two players is the half of it.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.

    Returns:
        ``[]``, 0 in a Nash equilibrium and there alone.

    Raises:
        ValueError: if the profile is of another game.

    Source: Lanctot et al. 2017 (arXiv 1711.00832), section 2.
    """
    return jnp.sum(deviation_gains(payoffs, profile))


def dominated(payoffs: jax.Array, alive: Profile | None = None, *, strict: bool = True) -> Profile:
    """Which actions another action of the same player dominates, whatever the others do.

    ``d_i(a) = any_b all_c u_i(b, c) > u_i(a, c)``, or with ``>=`` throughout and ``>`` somewhere where not strict

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        alive: ``[A_i]`` bool of each player, the actions that are played at all, at least one each; None: all.
        strict: strict dominance; static.

    Returns:
        ``[A_i]`` bool of each player; an action that is not alive is not dominated.

    Raises:
        ValueError: if ``alive`` is of another game.
    """
    alive = alive or tuple(jnp.ones(size, bool) for size in payoffs.shape[1:])
    _check(payoffs, alive)
    return tuple(_dominated(payoffs[i], alive, i, strict) for i in range(len(alive)))


def undominated(payoffs: jax.Array) -> Profile:
    """Iterated elimination of strictly dominated actions: ``alive <- alive & ~dominated(alive)`` until nothing changes.

    In whatever order one eliminates, the same actions remain; they hold every Nash equilibrium. Dominance is by a
    single action, not by a mixture.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.

    Returns:
        ``[A_i]`` bool of each player, what remains.

    Source: Gilboa, Kalai and Zemel 1990.
    """

    def eliminate(carry: tuple) -> tuple:
        alive, _ = carry
        rest = tuple(a & ~d for a, d in zip(alive, dominated(payoffs, alive), strict=True))
        return rest, jnp.any(jnp.stack([jnp.any(a != r) for a, r in zip(alive, rest, strict=True)]))

    every = tuple(jnp.ones(size, bool) for size in payoffs.shape[1:])
    return jax.lax.while_loop(lambda carry: carry[1], eliminate, (every, jnp.array(True)))[0]


def pareto_front(payoffs: jax.Array) -> jax.Array:
    """Pareto front: which outcomes no other one improves for somebody at nobody's cost.

    ``front(a) = not any_b (all_i u_i(b) >= u_i(a) and any_i u_i(b) > u_i(a))``

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.

    Returns:
        ``[A_1, ..., A_n]`` bool. Its memory is the square of the number of outcomes.
    """
    outcomes = payoffs.reshape(len(payoffs), -1)
    other, this = outcomes[:, :, None], outcomes[:, None, :]
    improved = jnp.all(other >= this, axis=0) & jnp.any(other > this, axis=0)
    return ~jnp.any(improved, axis=0).reshape(payoffs.shape[1:])


def logit_response(payoffs: jax.Array, profile: Profile, temperature: Scalar) -> Profile:
    """Logit (quantal) response of each player: ``l_i(a) = exp(q_i(a) / tau) / sum_b exp(q_i(b) / tau)``.

    Tau is the temperature. Its fixed points are the logit equilibria; at temperature 0 it becomes the best response.

    Args:
        payoffs: ``[n, A_1, ..., A_n]``.
        profile: ``[A_i]`` of each player.
        temperature: in units of payoff, > 0.

    Returns:
        ``[A_i]`` of each player.

    Raises:
        ValueError: if the profile is of another game.

    Source: McKelvey and Palfrey 1995.
    """
    return tuple(exploration.boltzmann(q, temperature) for q in action_values(payoffs, profile))


def _against_others(payoff: jax.Array, profile: Profile, player: int) -> jax.Array:
    """Mean of a payoff ``[A_1, ..., A_n]`` over the strategies of all but one, ``[A_i]``."""
    for other in reversed(range(len(profile))):  # the last first, so that the axes before it stay where they are
        if other != player:
            payoff = jnp.tensordot(payoff, profile[other], axes=(other, 0), precision="highest")
    return payoff


def _dominated(payoff: jax.Array, alive: Profile, player: int, strict: bool) -> jax.Array:
    own = jnp.moveaxis(payoff, player, 0).reshape(payoff.shape[player], -1)  # [A_i, outcomes of the others]
    others = jnp.ones((), bool)
    for other, lives in enumerate(alive):
        if other != player:
            others = others[..., None] & lives
    better, other_one, this_one = others.ravel(), own[:, None], own[None]
    if strict:
        dominates = jnp.all(other_one > this_one, axis=-1, where=better)
    else:
        somewhere = jnp.any(other_one > this_one, axis=-1, where=better)
        dominates = jnp.all(other_one >= this_one, axis=-1, where=better) & somewhere
    return jnp.any(dominates & alive[player][:, None], axis=0) & alive[player]


def _check(payoffs: jax.Array, profile: Profile) -> None:
    """A profile is of this game.

    Raises:
        ValueError: with both shapes.
    """
    sizes = tuple(jnp.shape(strategy) for strategy in profile)
    if len(payoffs) != payoffs.ndim - 1 or sizes != tuple((size,) for size in payoffs.shape[1:]):
        raise ValueError(
            f"payoffs of the shape {payoffs.shape} and strategies of the shapes {sizes}: a game of n players is "
            "[n, A_1, ..., A_n], and its profiles are n strategies [A_i]."
        )
