"""Truncated sampling: which tokens may be drawn, and the log-probabilities of what is then really drawn.

A truncated sampler draws from another distribution than the model's. A learner that scores its text with the whole
vocabulary has ratios whose mean is below 1, and is off policy before it took a step. So the kept set travels with the
text, and both sides use :func:`log_probs`: the sampler to draw, the learner to score, with *the sampler's* set.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def top_k(logits: jax.Array, k: int) -> jax.Array:
    """Top-k, the k most probable tokens, of equal ones the first: ``1[rank_v < k]``.

    Args:
        logits: ``[..., V]``.
        k: at least 1, static; V or more keeps all.

    Returns:
        ``[..., V]`` bool.

    Raises:
        ValueError: if ``k < 1``.

    Source: Fan et al. 2018.
    """
    if k < 1:
        raise ValueError(f"top_k: k={k} must be at least 1; k=1 is greedy.")
    _, best = jax.lax.top_k(logits, min(k, logits.shape[-1]))
    return jnp.put_along_axis(jnp.zeros(logits.shape, bool), best, True, axis=-1, inplace=False)


def top_p(logits: jax.Array, p: Scalar) -> jax.Array:
    """Top-p (nucleus), the fewest most probable tokens whose probabilities sum to p at least.

    ``1[sum of what is more probable than v < p]``, the most probable one always

    Args:
        logits: ``[..., V]``; divide them by the temperature first, as samplers do.
        p: in (0, 1]; 1 keeps all.

    Returns:
        ``[..., V]`` bool.

    Source: Holtzman et al. 2020.
    """
    order = jnp.argsort(logits, axis=-1, descending=True)
    probability = jnp.take_along_axis(jax.nn.softmax(logits), order, axis=-1)
    # A sum of probabilities can round to 1 before the last of them: p = 1 must not depend on that.
    before = jnp.cumsum(probability, axis=-1) - probability
    kept = (before < p) | (jnp.asarray(p) >= 1) | (jnp.arange(logits.shape[-1]) == 0)
    return jnp.put_along_axis(jnp.zeros(logits.shape, bool), order, kept, axis=-1, inplace=False)


def log_probs(logits: jax.Array, temperature: Scalar = 1.0, kept: jax.Array | None = None) -> jax.Array:
    """Log-probabilities at a temperature, renormalised over what is kept: ``z_v / T - log sum_{w kept} exp(z_w / T)``.

    Args:
        logits: ``[..., V]``, z.
        temperature: T, greater than 0.
        kept: ``[..., V]`` bool, at least one True a row; None keeps all. The set of whoever *sampled*.

    Returns:
        ``[..., V]``, -inf for what is not kept.
    """
    scaled = logits / jnp.asarray(temperature, logits.dtype)  # as precise as the logits, whatever the temperature is
    if kept is None:
        return jax.nn.log_softmax(scaled)
    chex.assert_equal_shape((logits, kept))
    return jax.nn.log_softmax(jnp.where(kept, scaled, -jnp.inf))
