"""How near to perfect play a policy and a value come, in positions whose moves have known values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Quality(NamedTuple):
    """Means over positions."""

    accuracy: jax.Array  # [] of whether the most probable legal move keeps the value of the position, in [0, 1]
    mass: jax.Array  # [] of the probability that a legal move drawn from the policy does, in [0, 1]
    value_error: jax.Array  # [] of (v - v*)^2


def quality(logits: jax.Array, value: jax.Array, q: jax.Array) -> Quality:
    """A policy among the legal moves and a value, against those of perfect play.

    ``v* = max_a q(a)``, the best moves are ``q(a) = v*``, and ``mass = sum_best p(a) / sum_legal p(a)``

    Args:
        logits: ``[B, A]``, those of moves that are not legal too.
        value: ``[B]``, in the eyes of the player to move.
        q: ``[B, A]``, what each move is worth to that player under perfect play, -inf where it is not legal.
    """
    legal = jnp.where(jnp.isfinite(q), logits, -jnp.inf)
    best = jnp.max(q, axis=-1)
    return Quality(
        accuracy=jnp.mean(keeps_value(q, jnp.argmax(legal, axis=-1))),
        mass=jnp.mean(jnp.sum(jax.nn.softmax(legal), axis=-1, where=q == best[:, None])),
        value_error=jnp.mean((value - best) ** 2),
    )


def keeps_value(q: jax.Array, action: jax.Array) -> jax.Array:
    """Whether moves are best ones, ``q(a) = max_a q(a)``, ``[B]`` bool.

    Args:
        q: ``[B, A]``, -inf where a move is not legal.
        action: ``[B]`` int.
    """
    return jnp.take_along_axis(q, action[:, None], axis=-1)[:, 0] == jnp.max(q, axis=-1)
