"""Policy objectives of language models to *maximise*, and one loss: token by token ``[T, B]``, or a number a sequence.

``log_ratio`` is ``log pi - log old`` of a token, old being the policy that the text is taken to come from. Advantages
are constants. With equal widths and no bound, :func:`clip_higher` is :func:`purerl.kernels.surrogates.ppo_clip`.

At the old policy they all have the policy gradient, up to the weights of tokens. Away from it they differ in which
tokens still have a gradient, and how much:

=====================  ==========================================  ====================================
surrogate              coefficient on a token's score              where it is 0
=====================  ==========================================  ====================================
:func:`clip_higher`    rho_t A                                     tokens whose own ratio left the range
:func:`gspo`           s A / length, s the geometric mean of rho   all tokens of a sequence, or none
:func:`cispo`          clip(rho_t) A                               nowhere
:func:`mirror_descent` R - tau log Z - tau log(pi / old)           nowhere, but small near the optimum
=====================  ==========================================  ====================================
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.types import Scalar


def clip_higher(
    log_ratio: jax.Array, advantage: jax.Array, clip_low: Scalar, clip_high: Scalar, dual_clip: Scalar = jnp.inf
) -> jax.Array:
    """Clipped surrogate with two widths (clip-higher), and a bound for bad actions that became likely (dual clip).

    ``min(rho A, clip(rho, 1 - low, 1 + high) A)``, and at least ``c A`` where ``A < 0``

    A larger upper width lets rare tokens of good answers grow. Without the bound, a token of a bad answer whose ratio
    is large has a gradient as large.

    Args:
        log_ratio: ``[...]``.
        advantage: ``[...]``.
        clip_low: width below 1, in (0, 1]; usually .2.
        clip_high: width above 1, greater than 0; usually .28.
        dual_clip: c, greater than ``1 + clip_high``; infinite for none. Usually 3, or 10.

    Returns:
        ``[...]``.

    Source: Yu et al. 2025, (10); Ye et al. 2020, for the bound.
    """
    chex.assert_equal_shape((log_ratio, advantage))
    good = advantage > 0
    # Where the ratio is cut its exponential is not taken, or its overflow would make the gradient NaN.
    highest = jnp.where(good, jnp.log1p(clip_high), _log_bound(dual_clip, log_ratio.dtype))
    lowest = jnp.where(good, -jnp.inf, jnp.log1p(-clip_low))
    return jnp.exp(jnp.clip(log_ratio, lowest, highest)) * advantage


def gspo(log_ratio: jax.Array, mask: jax.Array, advantage: jax.Array, clip_low: Scalar, clip_high: Scalar) -> jax.Array:
    """GSPO, group sequence policy optimisation: ``min(s A, clip(s, 1 - low, 1 + high) A)``, one element a sequence.

    ``s = exp(1/l sum_t log rho_t)`` is the geometric mean of the tokens' ratios, and a sequence is clipped as a whole.
    The root keeps s in scale; it is not the importance weight of the sequence. Average over sequences
    (:func:`~purerl.kernels.language.aggregation.batch_mean`): under a token mean, long ones would count more.

    Args:
        log_ratio: ``[T, B]`` of tokens.
        mask: ``[T, B]`` bool.
        advantage: ``[B]``.
        clip_low: width below 1; usually 3e-4, three orders below that of a token's ratio.
        clip_high: width above 1; usually 4e-4.

    Returns:
        ``[B]``.

    Source: Zheng et al. 2025, (5) and (7).
    """
    return clip_higher(sequences.average(log_ratio, mask), advantage, clip_low, clip_high)


def gspo_token(
    log_prob: jax.Array,
    log_ratio: jax.Array,
    mask: jax.Array,
    advantage: jax.Array,
    clip_low: Scalar,
    clip_high: Scalar,
) -> jax.Array:
    """GSPO with advantages of tokens: the value is GSPO's, the gradient is each token's own.

    ``min(s_t A_t, clip(s_t, 1 - low, 1 + high) A_t)`` with ``s_t = sg(s) pi_t / sg(pi_t)``. With equal advantages its
    mean over the tokens of a sequence is :func:`gspo`, gradient and value.

    Args:
        log_prob: ``[T, B]``, log pi of the tokens.
        log_ratio: ``[T, B]``; its gradient is stopped.
        mask: ``[T, B]`` bool.
        advantage: ``[T, B]``.
        clip_low: width below 1.
        clip_high: width above 1.

    Returns:
        ``[T, B]``, 0 outside the mask.

    Source: Zheng et al. 2025, (13) and (14).
    """
    chex.assert_equal_shape((log_prob, log_ratio, mask, advantage))
    log_prob, advantage = jnp.where(mask, log_prob, 0), jnp.where(mask, advantage, 0)
    sequence = jax.lax.stop_gradient(sequences.average(log_ratio, mask))
    return clip_higher(sequence + log_prob - jax.lax.stop_gradient(log_prob), advantage, clip_low, clip_high)


def cispo(log_prob: jax.Array, log_ratio: jax.Array, advantage: jax.Array, clip_high: Scalar) -> jax.Array:
    """CISPO, clipped importance-sampling weights: ``sg(min(rho, 1 + high)) A log pi``.

    The weight is clipped and not the token dropped: every token keeps a gradient, rare and decisive ones included.

    Args:
        log_prob: ``[...]``, log pi of the tokens.
        log_ratio: ``[...]``; its gradient is stopped.
        advantage: ``[...]``.
        clip_high: width above 1, greater than 0. There is no lower bound, as in the paper's runs.

    Returns:
        ``[...]``.

    Source: MiniMax 2025, (4) and (5).
    """
    chex.assert_equal_shape((log_prob, log_ratio, advantage))
    weight = jnp.exp(jnp.minimum(log_ratio, jnp.log1p(clip_high)))
    return jax.lax.stop_gradient(weight) * advantage * log_prob


def log_partition(reward: jax.Array, tau: Scalar) -> jax.Array:
    """Log partition function of mirror descent, from a group of the old policy: ``log(1/G sum_i exp(R_i / tau))``.

    As tau grows, ``tau log Z`` tends to the group's mean reward, which is what the published runs use.

    Args:
        reward: ``[..., G]`` float.
        tau: greater than 0, in units of reward.

    Returns:
        ``[...]``.

    Source: Kimi Team 2025, section 2.3.2.
    """
    chex.assert_type(reward, float)
    return jax.nn.logsumexp(reward / tau, axis=-1) - jnp.log(reward.shape[-1])


def mirror_descent(log_ratio: jax.Array, reward: jax.Array, baseline: jax.Array, tau: Scalar) -> jax.Array:
    """Loss of policy mirror descent, to *minimise*: ``(R - tau log Z - tau log(pi / old))^2 / (2 tau)``.

    It is 0 for every answer at the optimum of ``E_pi[R] - tau KL(pi ; old)``, whatever the answers come from. At the
    old policy its gradient is that of REINFORCE with baseline ``tau log Z``, whatever tau is.

    Args:
        log_ratio: ``[...]`` of whole sequences, the *sum* over their tokens.
        reward: ``[...]``.
        baseline: ``[...]``, ``tau log Z`` of the prompt, or a group's mean reward in its place.
        tau: greater than 0, in units of reward.

    Returns:
        ``[...]``, at least 0.

    Source: Kimi Team 2025, section 2.3.2, divided by 2 tau.
    """
    chex.assert_equal_shape((log_ratio, reward, baseline))
    return jnp.square(reward - baseline - tau * log_ratio) / (2 * tau)


def _log_bound(bound: Scalar, dtype: jnp.dtype) -> jax.Array:
    """Logarithm of a bound on ratios; an infinite one is the largest number whose square is finite."""
    return jnp.minimum(jnp.log(jnp.asarray(bound, dtype)), jnp.log(jnp.finfo(dtype).max) / 2)
