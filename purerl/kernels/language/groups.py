"""Advantages of a group: several completions of the same prompt, each compared with the others, without a critic.

The last axis, G, is the group. Rewards are floats: an average of integers is a fault waiting to happen. A NaN reward
makes its own group NaN and no other. A group of one has nothing to compare with, and equal rewards differ in nothing:
both have advantage exactly 0.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def centered(reward: jax.Array) -> jax.Array:
    """Centred group advantage (Dr. GRPO): ``A_i = R_i - mean_j R_j``.

    The mean contains R_i, so its expected policy gradient is ``(1 - 1/G)`` times the true one: the right direction.

    Args:
        reward: ``[..., G]`` float.

    Returns:
        ``[..., G]``, which sum to 0.

    Source: Liu et al. 2025.
    """
    chex.assert_type(reward, float)
    # Relative to one of the group, equal rewards are exactly 0, and so is their mean.
    shifted = reward - reward[..., :1]
    return shifted - jnp.mean(shifted, axis=-1, keepdims=True)


def leave_one_out(reward: jax.Array) -> jax.Array:
    """Leave-one-out group advantage (RLOO): ``A_i = R_i - mean_{j != i} R_j = G / (G - 1) (R_i - mean_j R_j)``.

    The baseline does not depend on the completion that it is for, so its expected policy gradient is the true one.

    Args:
        reward: ``[..., G]`` float.

    Returns:
        ``[..., G]``, which sum to 0; 0 for a group of one.

    Source: Kool et al. 2019; Ahmadian et al. 2024.
    """
    G = reward.shape[-1]
    return centered(reward) * (G / max(G - 1, 1))


def standardized(reward: jax.Array, ddof: int, epsilon: Scalar = 1e-6) -> jax.Array:
    """Standardised group advantage (GRPO): ``A_i = (R_i - mean_j R_j) / (std_j R_j + epsilon)``.

    ``std^2 = sum_j (R_j - mean)^2 / (G - ddof)``. Dividing by it gives every prompt the same say, easy, hard or in
    between, and so changes what is maximised.

    Args:
        reward: ``[..., G]`` float.
        ddof: 0 for the standard deviation of the group as it is, 1 for the estimate of its distribution's, which
            trainers built on torch use; static.
        epsilon: greater than 0, in units of reward.

    Returns:
        ``[..., G]``, which sum to 0; 0 for equal rewards and for a group of one.

    Raises:
        ValueError: if ddof is neither 0 nor 1.

    Source: Shao et al. 2024, section 4.1.2.
    """
    return centered(reward) / (deviation(reward, ddof)[..., None] + epsilon)


def deviation(reward: jax.Array, ddof: int) -> jax.Array:
    """Standard deviation of a group: ``std^2 = sum_j (R_j - mean_k R_k)^2 / (G - ddof)``; 0 for a group of one.

    Args:
        reward: ``[..., G]`` float.
        ddof: 0 or 1; static.

    Returns:
        ``[...]``.

    Raises:
        ValueError: if ddof is neither 0 nor 1.
    """
    if ddof not in (0, 1):
        raise ValueError(
            f"standardized: ddof={ddof} must be 0 (deviation of the group) or 1 (estimate of its distribution's)."
        )
    return jnp.sqrt(jnp.sum(jnp.square(centered(reward)), axis=-1) / max(reward.shape[-1] - ddof, 1))


def standardized_each(reward: jax.Array, weight: jax.Array, ddof: int, epsilon: Scalar = 1e-6) -> jax.Array:
    """Group advantage of several rewards, each standardised before they are added: ``A_i = sum_k w_k A_i^(k)``.

    Only so do weights mean what they say where rewards have different scales, and different mixtures of rewards with
    the same sum stay different.

    Args:
        reward: ``[..., G, K]`` float.
        weight: ``[K]``.
        ddof: as of :func:`standardized`.
        epsilon: greater than 0.

    Returns:
        ``[..., G]``, which sum to 0.

    Source: Liu et al. 2026, whose further standardisation over the batch is left to the caller.
    """
    chex.assert_equal_shape_suffix((reward, weight), 1)
    each = standardized(jnp.moveaxis(reward, -1, 0), ddof, epsilon)
    return jnp.tensordot(weight, each, axes=1)


def informative(reward: jax.Array) -> jax.Array:
    """Whether a group has a gradient, for dynamic sampling: ``1[max_i R_i > min_i R_i]``.

    Ask it of correctness. A length penalty or another shaped reward makes almost every group look informative.

    Args:
        reward: ``[..., G]``.

    Returns:
        ``[...]`` bool.

    Source: Yu et al. 2025, (11).
    """
    return jnp.max(reward, axis=-1) > jnp.min(reward, axis=-1)
