"""Learning with the opponent's learning in mind (LOLA), with exact values of iterated matrix games.

Both players remember the last pair of actions: observation 0 is the start, ``1 + a K + b`` what follows when the first
played ``a`` and the second ``b``. A policy is a table of logits ``[1 + A K, own actions]``. So the iterated game is a
Markov chain, and what each player earns is differentiable in both tables.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl.types import Scalar

Logits = tuple[jax.Array, jax.Array]  # [1 + A K, A] of the first player, [1 + A K, K] of the second


def iterated_values(payoffs: jax.Array, logits: Logits, gamma: Scalar) -> jax.Array:
    """Discounted return of both players in an iterated game: ``V_i = mu (I - gamma P)^-1 r_i``.

    ``P`` is the Markov chain of pairs of actions under both policies, ``mu`` its start. Times ``1 - gamma`` it is what
    they earn a step.

    Args:
        payoffs: ``[2, A, K]``, from :mod:`purerl.kernels.normal_form`.
        logits: of both players.
        gamma: discount in [0, 1).

    Returns:
        ``[2]``.

    Source: Foerster et al. 2018 (arXiv 1709.04326), appendix A.2.
    """
    first, second = (jax.nn.softmax(table, axis=-1) for table in logits)
    pairs = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)  # [1 + A K, A K]
    start, transition = pairs[0], pairs[1:]
    occupancy = jnp.linalg.solve(jnp.eye(len(start), dtype=pairs.dtype) - gamma * transition.T, start)
    return jnp.sum(payoffs.reshape(2, -1) * occupancy, axis=-1)


def naive_gradients(values: Callable[[Logits], jax.Array], logits: Logits) -> Logits:
    """Simultaneous gradient ascent: ``dV_i / dtheta_i`` of each player, as if the other stayed as it is.

    Args:
        values: ``logits -> [2]``.
        logits: of both players.
    """
    first = jax.grad(lambda own: values((own, logits[1]))[0])(logits[0])
    second = jax.grad(lambda own: values((logits[0], own))[1])(logits[1])
    return first, second


def lola_gradients(values: Callable[[Logits], jax.Array], logits: Logits, step_size: Scalar) -> Logits:
    """LOLA: each player's gradient with what it does to the other's next step.

    ``dV_i / dtheta_i + step_size d/dtheta_i <sg(dV_i / dtheta_j), dV_j / dtheta_j>``, with ``sg`` held constant: the
    first-order change of ``V_i`` when the other takes a naive step.

    Args:
        values: ``logits -> [2]``.
        logits: of both players.
        step_size: of the step that the other is thought to take, at least 0; 0 is naive.

    Returns:
        As ``logits``.

    Source: Foerster et al. 2018 (arXiv 1709.04326), (4).
    """

    def one(player: int) -> jax.Array:
        def value_of(whose: int, own: jax.Array, other: jax.Array) -> jax.Array:
            return values((own, other) if player == 0 else (other, own))[whose]

        own, other = logits[player], logits[1 - player]
        matters = jax.grad(value_of, argnums=2)(player, own, other)

        def shaped(own: jax.Array) -> jax.Array:
            others_step = jax.grad(value_of, argnums=2)(1 - player, own, other)
            return value_of(player, own, other) + step_size * jnp.sum(matters * others_step)

        return jax.grad(shaped)(own)

    return one(0), one(1)
