"""KL divergence of a policy from a reference, from text that the policy wrote: estimators, rewards and losses.

``log_ratio`` is ``log pi - log ref`` of what was drawn: of a token given its prefix, or of a whole sequence (the sum of
its tokens' log-ratios). Three estimators of ``KL(pi ; ref)`` are in use. They hardly differ as numbers; they differ in
what a gradient step does with them:

=========  ================  =====================  =========================================
estimator  mean under pi     mean gradient as loss  the same, times pi / old, on text of old
=========  ================  =====================  =========================================
k1         KL(pi ; ref)      0                      grad KL(pi ; ref)
k2         not a divergence  grad KL(pi ; ref)      grad of E_pi[k2]
k3         KL(pi ; ref)      grad KL(ref ; pi)      grad KL(pi ; ref)
=========  ================  =====================  =========================================

So k1 is for rewards (:func:`reward`) and never for losses. Of whole sequences the table is exact. Token by token it
holds with the prefixes frozen: such a loss misses that a token also decides which prefixes come after it. Rewards to
go make up for that, and so does :func:`loss`.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.distributions import categorical
from purerl.kernels.language.sequences import to_go
from purerl.kernels.surrogates import approximate_kl
from purerl.types import Scalar


def k1(log_ratio: jax.Array) -> jax.Array:
    """KL estimator k1: ``log(pi / ref)``, unbiased. As a loss its mean gradient is 0: use :func:`reward`.

    Args:
        log_ratio: ``[...]``.

    Returns:
        ``[...]``, of either sign.

    Source: Schulman 2020.
    """
    return log_ratio


def k2(log_ratio: jax.Array) -> jax.Array:
    """KL estimator k2: ``log(pi / ref)^2 / 2``, biased as a number, but with the right gradient as a loss.

    Args:
        log_ratio: ``[...]``.

    Returns:
        ``[...]``, at least 0.

    Source: Schulman 2020.
    """
    return 0.5 * jnp.square(log_ratio)


def k3(log_ratio: jax.Array) -> jax.Array:
    """KL estimator k3: ``r - 1 - log r`` with ``r = ref / pi``, unbiased and never negative.

    As a loss it descends the *other* divergence, ``KL(ref ; pi)``. Its variance is below that of k1 while pi is near
    ref; far from it, it can be larger without bound.

    Args:
        log_ratio: ``[...]``.

    Returns:
        ``[...]``, at least 0.

    Source: Schulman 2020; GRPO's penalty, Shao et al. 2024, (4).
    """
    return approximate_kl(-log_ratio)


def importance_weighted(estimate: jax.Array, log_weight: jax.Array) -> jax.Array:
    """Off-policy KL estimate, on text of an old policy: ``(pi / old) k``, the ratio differentiated as well.

    With k1 or k3 its value is unbiased, and so is its gradient. With log-weights of whole sequences that is the KL of
    sequences; with those of tokens, the prefixes stay those of the old policy.

    Args:
        estimate: ``[...]``, k1 or k3.
        log_weight: ``[...]``, ``log pi - log old``.

    Returns:
        ``[...]``.

    Source: DeepSeek-AI 2025, with k3 of tokens.
    """
    chex.assert_equal_shape((estimate, log_weight))
    return jnp.exp(log_weight) * estimate


def reward(log_ratio: jax.Array, beta: Scalar) -> jax.Array:
    """KL penalty as a reward of each token: ``-beta sg(log(pi / ref))``.

    The undiscounted return of a sequence is then ``R(y) - beta log(pi(y) / ref(y))``, and a policy gradient with
    rewards to go is that of ``E[R] - beta KL(pi ; ref)``.

    Args:
        log_ratio: ``[...]``.
        beta: at least 0, in units of reward.

    Returns:
        ``[...]``.

    Source: Ziegler et al. 2019, (2); Ouyang et al. 2022, (2).
    """
    return -beta * jax.lax.stop_gradient(log_ratio)


def loss(log_prob: jax.Array, log_ratio: jax.Array, mask: jax.Array) -> jax.Array:
    """KL penalty as a loss of each token, whose gradient is exact for whole sequences.

    ``k1_t + (log pi_t - sg(log pi_t)) sg(sum_{k >= t} k1_k)``. Its value is k1, and its gradient the score times the KL
    to go, as of a policy gradient with :func:`reward`. Sum it over the tokens.

    Args:
        log_prob: ``[T, ...]``, log pi of the tokens.
        log_ratio: ``[T, ...]``, their log-ratio; its gradient is stopped.
        mask: ``[T, ...]`` bool.

    Returns:
        ``[T, ...]``, 0 outside the mask.
    """
    chex.assert_equal_shape((log_prob, log_ratio, mask))
    log_prob, value = jnp.where(mask, log_prob, 0), jax.lax.stop_gradient(jnp.where(mask, log_ratio, 0))
    return value + (log_prob - jax.lax.stop_gradient(log_prob)) * to_go(value, mask)


def reverse(logits: jax.Array, ref_logits: jax.Array) -> jax.Array:
    """Reverse KL divergence over the whole vocabulary, exact for a prefix: ``sum_v pi_v log(pi_v / ref_v)``.

    Mode seeking: it is large where the policy writes what the reference would not.

    Args:
        logits: ``[..., V]``.
        ref_logits: ``[..., V]``.

    Returns:
        ``[...]``, at least 0.
    """
    return categorical.kl(logits, ref_logits)


def forward(logits: jax.Array, ref_logits: jax.Array) -> jax.Array:
    """Forward KL divergence over the whole vocabulary, exact for a prefix: ``sum_v ref_v log(ref_v / pi_v)``.

    Mode covering: it is large where the policy would not write what the reference does.

    Args:
        logits: ``[..., V]``.
        ref_logits: ``[..., V]``.

    Returns:
        ``[...]``, at least 0.
    """
    return categorical.kl(ref_logits, logits)


def adapt_coefficient(beta: jax.Array, kl: jax.Array, target_kl: Scalar, gain: Scalar = 0.1) -> jax.Array:
    """Adaptive KL coefficient of RLHF, a proportional controller: ``beta (1 + gain clip(kl / target - 1, -0.2, 0.2))``.

    Args:
        beta: ``[]``, coefficient of the last update, at least 0.
        kl: ``[]``, mean KL of sequences that was measured.
        target_kl: wanted divergence, greater than 0.
        gain: share of the clipped error by which beta moves, in [0, 5).

    Returns:
        ``[]``, the next coefficient.

    Source: Ziegler et al. 2019.
    """
    return beta * (1 + gain * jnp.clip(kl / target_kl - 1, -0.2, 0.2))


def optimum(ref_log_prob: jax.Array, reward: jax.Array, beta: Scalar) -> jax.Array:
    """KL-regularised optimum over finitely many answers, its logarithm: ``pi*(y) = ref(y) exp(R(y) / beta) / Z``.

    It maximises ``E_pi[R] - beta KL(pi ; ref)``, which is ``beta log Z - beta KL(pi ; pi*)`` for every pi.

    Args:
        ref_log_prob: ``[..., Y]``, log ref of the answers; it sums to 1, or is taken to.
        reward: ``[..., Y]``.
        beta: greater than 0, in units of reward.

    Returns:
        ``[..., Y]``.

    Source: Rafailov et al. 2023, (4).
    """
    return jax.nn.log_softmax(ref_log_prob + reward / beta)


def optimal_value(ref_log_prob: jax.Array, reward: jax.Array, beta: Scalar) -> jax.Array:
    """Value of the KL-regularised optimum: ``beta log Z``, with ``Z = sum_y ref(y) exp(R(y) / beta)``.

    Args:
        ref_log_prob: ``[..., Y]``, log ref of the answers.
        reward: ``[..., Y]``.
        beta: greater than 0, in units of reward.

    Returns:
        ``[...]``, between E_ref[R] and max R.

    Source: Rafailov et al. 2023, appendix A.1.
    """
    return beta * jax.nn.logsumexp(ref_log_prob + reward / beta, axis=-1)
