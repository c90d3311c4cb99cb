"""Accuracy of a policy and a value against perfect play, in solved positions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Quality(NamedTuple):
    """Accuracy measures: means over positions."""

    accuracy: jax.Array  # [] of whether the most probable legal move keeps the value of the position, in [0, 1]
    mass: jax.Array  # [] of the policy's probability of optimal moves among the legal ones, in [0, 1]
    value_error: jax.Array  # [] of (v - v*)^2


def quality(logits: jax.Array, value: jax.Array, q: jax.Array) -> Quality:
    """Policy accuracy among the legal moves, and value error, against perfect play.

    ``v* = max_a q(a)``, the optimal moves are ``q(a) = v*``, and ``mass = sum_best p(a) / sum_legal p(a)``

    Args:
        logits: ``[B, A]``, with those of illegal moves.
        value: ``[B]``, from the perspective of the player to move.
        q: ``[B, A]``, value of each move to that player under perfect play, -inf where it is not legal.
    """
    legal = jnp.where(jnp.isfinite(q), logits, -jnp.inf)
    best = jnp.max(q, axis=-1)
    return Quality(
        accuracy=jnp.mean(keeps_value(q, jnp.argmax(legal, axis=-1))),
        mass=jnp.mean(jnp.sum(jax.nn.softmax(legal), axis=-1, where=q == best[:, None])),
        value_error=jnp.mean((value - best) ** 2),
    )


def keeps_value(q: jax.Array, action: jax.Array) -> jax.Array:
    """Whether moves are optimal, ``q(a) = max_a q(a)``, ``[B]`` bool.

    Args:
        q: ``[B, A]``, -inf where a move is not legal.
        action: ``[B]`` int.
    """
    return jnp.take_along_axis(q, action[:, None], axis=-1)[:, 0] == jnp.max(q, axis=-1)
