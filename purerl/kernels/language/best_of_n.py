"""Best-of-N: draw N answers, keep the one that a reward model likes best. The distribution of what is kept."""

import math

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def distribution(probability: jax.Array, score: jax.Array, n: Scalar) -> jax.Array:
    """Distribution of the best of n answers: ``Pr(y) = (Pr(R <= R_y)^n - Pr(R < R_y)^n) pi(y) / Pr(R = R_y)``.

    Among equally good answers the odds are those of one draw. Compares all pairs of answers.

    Args:
        probability: ``[..., Y]`` of all answers.
        score: ``[..., Y]``.
        n: at least 1.

    Returns:
        ``[..., Y]``.

    Source: Beirami et al. 2024, with ties.
    """
    chex.assert_equal_shape((probability, score))
    other, own = score[..., None, :], score[..., :, None]
    below = jnp.sum(jnp.where(other < own, probability[..., None, :], 0), axis=-1)
    equal = jnp.sum(jnp.where(other == own, probability[..., None, :], 0), axis=-1)
    return ((below + equal) ** n - below**n) * probability / jnp.where(equal > 0, equal, 1)


def kl_bound(n: int) -> float:
    """Bound on the KL divergence of the best of n from one draw: ``log n - (n - 1) / n``.

    An equality where no two answers are equally good and none has a chance of its own worth speaking of.

    Args:
        n: at least 1.

    Returns:
        the bound in nats, 0 for n = 1.

    Source: Stiennon et al. 2020, appendix G.3; as a bound, Beirami et al. 2024.
    """
    return math.log(n) - (n - 1) / n
