"""Distributional reinforcement learning: the return's distribution, categorical (C51) or by quantiles (QR-DQN, IQN).

A distribution is N numbers for an action: the logits of fixed *atoms*, or the atoms themselves, each as likely, which
are then estimates of quantiles. Networks give them as ``[..., A, N]``. A plain action value is the case N = 1: at level
1/2 the quantile Huber loss is half its Huber loss.

Axis letters of this file: A actions, N atoms that are learned, M atoms of the target. No gradient is stopped here: the
caller stops that of targets.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def support(v_min: Scalar, v_max: Scalar, num_atoms: int) -> jax.Array:
    """Support of a categorical return distribution, evenly spaced: ``z_i = v_min + i (v_max - v_min) / (N - 1)``.

    Args:
        v_min: smallest return, in units of the return.
        v_max: largest return, above ``v_min``.
        num_atoms: N, static, at least 2.

    Returns:
        ``[N]``.

    Raises:
        ValueError: if ``num_atoms < 2``.

    Source: Bellemare et al. 2017 (arXiv 1707.06887), section 4.
    """
    if num_atoms < 2:
        raise ValueError(f"support: num_atoms = {num_atoms} must be at least 2; one atom cannot tell returns apart.")
    return jnp.linspace(v_min, v_max, num_atoms)


def midpoints(num_atoms: int) -> jax.Array:
    """Quantile levels (QR-DQN), the midpoints of N equal intervals: ``tau_i = (2 i + 1) / (2 N)``.

    Quantiles at these levels are the N equally likely atoms nearest to a distribution in the 1-Wasserstein distance.

    Args:
        num_atoms: N, static, at least 1.

    Returns:
        ``[N]`` in (0, 1).

    Source: Dabney et al. 2018a (arXiv 1710.10044), lemma 2.
    """
    return (jnp.arange(num_atoms) + 0.5) / num_atoms


def q_values(output: jax.Array, atoms: jax.Array | None = None) -> jax.Array:
    """Action values of a distributional network: the means of the distributions in its output.

    ``q_a = sum_i softmax(output_a)_i z_i`` given the atoms z, ``q_a = 1/N sum_i output_{a,i}`` without

    Args:
        output: ``[..., A, N]``: logits of the atoms, or where there are none quantiles (or, for N = 1, values).
        atoms: ``[N]``, of a categorical distribution; None for quantiles.

    Returns:
        ``[..., A]``; of one action, ``[..., N] -> [...]``.
    """
    if atoms is None:
        return jnp.mean(output, axis=-1)
    chex.assert_shape(atoms, (output.shape[-1],))
    return jax.nn.softmax(output, axis=-1) @ atoms


def backup(reward: jax.Array, discount: jax.Array, atoms: jax.Array) -> jax.Array:
    """Distributional Bellman operator, applied to atoms.

    ``z_j -> r + d z_j``. Its mean is the ordinary Bellman step, and distances between distributions shrink by d.

    Args:
        reward: ``[...]``, of one step, or the discounted sum of several.
        discount: ``[...]`` in [0, 1], ``gamma^k (1 - terminated)`` after k steps; at 0 all atoms are the reward.
        atoms: ``[M]``, the same for all, or ``[..., M]``.

    Returns:
        ``[..., M]``.

    Source: Bellemare et al. 2017, (5).
    """
    chex.assert_equal_shape((reward, discount))
    if atoms.ndim > 1:
        chex.assert_equal_shape_prefix((atoms, reward), reward.ndim)
    reward, discount = reward[..., None], discount[..., None]
    return reward + discount * jnp.where(discount == 0, 0, atoms)


def project(atoms: jax.Array, probability: jax.Array, onto: jax.Array) -> jax.Array:
    """Categorical projection (C51) onto a fixed support: each atom's mass goes to its two neighbours.

    ``p_i = sum_j p_j max(0, 1 - |clip(z_j, onto_1, onto_N) - onto_i| / spacing)``

    It is the nearest distribution on that support in Cramér's distance. The shares are those of linear interpolation,
    so mass is kept, the mean is kept where no atom lies outside the support, and an atom that hits one of the support
    keeps its mass whole. Every pair of atoms is weighed, ``M N`` products and no scatter.

    Args:
        atoms: ``[..., M]``, may be infinite.
        probability: ``[..., M]``.
        onto: ``[N]``, evenly spaced and ascending, N at least 2.

    Returns:
        ``[..., N]`` probabilities.

    Source: Bellemare et al. 2017, (7); Rowland et al. 2018, proposition 1, on the distance (Cramér's).
    """
    chex.assert_equal_shape((atoms, probability))
    last = onto.shape[0] - 1
    # Counted in spacings, so that both shares of an atom come from one rounded number, and sum to 1.
    position = jnp.clip((atoms - onto[0]) / (onto[-1] - onto[0]) * last, 0, last)
    distance = jnp.abs(position[..., :, None] - jnp.arange(last + 1, dtype=position.dtype))
    # A sum, not a matrix product: it fuses, and the M x N shares of a batch are never stored.
    return jnp.sum(probability[..., :, None] * jnp.maximum(0, 1 - distance), axis=-2)


def clipped_mass(atoms: jax.Array, probability: jax.Array, onto: jax.Array) -> jax.Array:
    """Clipped mass: the share of a distribution that lies beyond a support, and that :func:`project` moves to its ends.

    ``sum_j p_j 1[z_j < onto_1 or z_j > onto_N]``, where an atom at an end, up to rounding, is not beyond it

    Where it is large, returns do not fit the support, and actions that lead there look alike.

    Args:
        atoms: ``[..., M]``, may be infinite.
        probability: ``[..., M]``.
        onto: ``[N]``, evenly spaced and ascending, N at least 2.

    Returns:
        ``[...]`` in [0, 1].
    """
    chex.assert_equal_shape((atoms, probability))
    rounding = 1e-3 * (onto[-1] - onto[0]) / (onto.shape[0] - 1)
    beyond = (atoms < onto[0] - rounding) | (atoms > onto[-1] + rounding)
    return jnp.sum(jnp.where(beyond, probability, 0), axis=-1)


def categorical_target(
    reward: jax.Array, discount: jax.Array, next_probability: jax.Array, atoms: jax.Array
) -> jax.Array:
    """C51 target: one distributional Bellman step, projected back onto the support.

    ``p = project(r + d z, p(s', a*), z)``

    The loss against it is the cross-entropy, ``optax.softmax_cross_entropy(logits, target)``.

    Args:
        reward: ``[...]``.
        discount: ``[...]``, ``gamma^k (1 - terminated)`` after k steps.
        next_probability: ``[..., N]``, distribution of the next action's return.
        atoms: ``[N]``, from :func:`support`.

    Returns:
        ``[..., N]`` probabilities.

    Source: Bellemare et al. 2017, algorithm 1.
    """
    return project(backup(reward, discount, atoms), next_probability, atoms)


def quantile_huber_loss(quantile: jax.Array, level: jax.Array, target: jax.Array, kappa: Scalar = 1.0) -> jax.Array:
    """Quantile Huber loss (QR-DQN, IQN), from every quantile to every atom of the target.

    ``sum_i 1/M sum_j |tau_i - 1[u_ij < 0]| L(u_ij)`` with ``u_ij = target_j - quantile_i`` and
    ``L(u) = u^2 / (2 kappa)`` if ``|u| < kappa``, else ``|u| - kappa / 2``

    At ``kappa = 0``, where ``L(u) = |u|``, the minimum is at the quantiles of the target. QR-DQN with its fixed
    levels and IQN with drawn ones are the same loss.

    Args:
        quantile: ``[..., N]``, estimates.
        level: tau in [0, 1]: ``[N]``, as :func:`midpoints`, or ``[..., N]``, as drawn for IQN.
        target: ``[..., M]``, equally likely atoms.
        kappa: half-width of the rounding, in units of the return, at least 0.

    Returns:
        ``[...]``: a sum over N, a mean over M.

    Source: Dabney et al. 2018a, (9) and (10), divided by kappa as in Dabney et al. 2018b (arXiv 1806.06923), (3), so
    that kappa rounds without scaling.
    """
    chex.assert_equal_shape_prefix((quantile, target), quantile.ndim - 1)
    chex.assert_is_broadcastable(level.shape, quantile.shape)
    error = target[..., None, :] - quantile[..., :, None]
    size = jnp.abs(error)
    # The branch not taken must not divide by 0 either: its gradient would be 0 * inf.
    rounded = jnp.square(error) / (2 * jnp.where(jnp.asarray(kappa) > 0, kappa, 1))
    loss = jnp.where(size < kappa, rounded, size - kappa / 2)
    weight = jnp.abs(level[..., :, None] - (error < 0))
    return jnp.sum(jnp.mean(weight * loss, axis=-1), axis=-1)
