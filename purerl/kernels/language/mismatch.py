"""Text from another policy than it is taken to come from: weights that correct for it, and masks that leave it out.

The ratio of a policy to what really drew a token has two parts, ``pi / mu = (old / mu) (pi / old)``. The second is
staleness, which surrogates clip. The first is the *gap* between the engine that trains and the one that generated:
other kernels and precision, another routing of experts, a truncated vocabulary. ``log_gap`` is ``log old - log mu``. It
is a constant, and so is every weight made of it. For a whole sequence pass the sum over its tokens
(:func:`~purerl.kernels.language.sequences.total`): only that is unbiased for sequences, and its variance grows with
their length.

The mean of :func:`~purerl.kernels.surrogates.approximate_kl` of the gap is ``KL(mu ; old)``, a number to log at every
update; it is 0 where sampler and scorer agree.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.types import Scalar


def truncated_weight(log_gap: jax.Array, bound: Scalar) -> jax.Array:
    """Truncated importance weight (TIS): ``sg(min(exp(log_gap), bound))``; unbiased where the bound is not met.

    Args:
        log_gap: ``[...]``, of tokens or of sequences.
        bound: at least 1; infinite for the plain weight. Usually 2.

    Returns:
        ``[...]``, at least 0.

    Source: Ionides 2008; Yao et al. 2025, for text.
    """
    weight = jnp.exp(jnp.minimum(log_gap, jnp.log(jnp.asarray(bound, log_gap.dtype))))
    return jax.lax.stop_gradient(weight)


def masked_weight(log_gap: jax.Array, low: Scalar, high: Scalar) -> jax.Array:
    """Masked importance weight (MIS, IcePop): ``sg(w 1[low <= w <= high])`` with ``w = exp(log_gap)``.

    What differs too much is left out and not held at a bound: the mean of the rest stays that of the policy.

    Args:
        log_gap: ``[...]``, of tokens or of sequences.
        low: at least 0; usually 1/2, or 0 for no lower limit.
        high: at least 1; usually 2 to 5.

    Returns:
        ``[...]``, at least 0.

    Source: Liu et al. 2025b; Ling Team 2025.
    """
    low, high = jnp.asarray(low, log_gap.dtype), jnp.asarray(high, log_gap.dtype)
    inside = (log_gap >= jnp.log(low)) & (log_gap <= jnp.log(high))
    return jax.lax.stop_gradient(jnp.where(inside, jnp.exp(jnp.where(inside, log_gap, 0)), 0))


def on_policy_enough(log_ratio: jax.Array, mask: jax.Array, advantage: jax.Array, delta: Scalar) -> jax.Array:
    """Off-policy sequence mask: keep all but bad sequences that the policy has moved away from.

    ``1 - 1[A < 0, 1/l sum_t log(mu_t / pi_t) > delta]``. Pushing down what is hardly written any more teaches nothing
    and destabilises, while a good sequence is always worth learning from.

    Args:
        log_ratio: ``[T, B]``, ``log pi - log mu``, mu being what generated.
        mask: ``[T, B]`` bool.
        advantage: ``[B]``.
        delta: at least 0, in nats a token; infinite keeps all.

    Returns:
        ``[B]`` bool, True to keep.

    Source: DeepSeek-AI 2025.
    """
    moved = -sequences.average(log_ratio, mask)
    chex.assert_equal_shape((moved, advantage))
    return (advantage >= 0) | (moved <= delta)
