"""Success within k attempts: pass@k from counts, and from a known probability."""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def pass_at_k(num_correct: jax.Array, num_attempts: jax.Array | int, k: int) -> jax.Array:
    """pass@k: unbiased estimate that one of k attempts succeeds, from n attempts of which c did.

    ``1 - C(n - c, k) / C(n, k) = 1 - prod_{i<k} (1 - c / (n - i))``

    A sum of logarithms: no binomial coefficient, which would overflow, is ever formed, and no small chance is lost in
    1 minus something. Putting ``c / n`` into ``1 - (1 - p)^k`` instead would be too low on average.

    Args:
        num_correct: c, ``[...]``, in 0..n.
        num_attempts: n, ``[...]`` or one number, at least k.
        k: attempts allowed, static, at least 1.

    Returns:
        ``[...]`` in [0, 1]; exactly 1 where fewer than k attempts failed. NaN where n is below k.

    Raises:
        ValueError: if ``k < 1``, or if n is a number below k.

    Source: Chen et al. 2021 (arXiv 2107.03374), (1).
    """
    if k < 1:
        raise ValueError(f"pass_at_k: k = {k} must be at least 1.")
    if isinstance(num_attempts, int) and num_attempts < k:
        raise ValueError(f"pass_at_k: k = {k} exceeds the {num_attempts} attempts; make at least k of them.")
    dtype = jnp.result_type(float)
    n, c = (jnp.asarray(x, dtype)[..., None] for x in (num_attempts, num_correct))
    one_succeeds = jnp.minimum(c / jnp.maximum(n - jnp.arange(k, dtype=dtype), 1), 1)
    some_succeed = -jnp.expm1(jnp.sum(jnp.log1p(-one_succeeds), axis=-1))
    return jnp.where(n[..., 0] < k, jnp.nan, some_succeed)


def success_within(p: Scalar, num_attempts: Scalar) -> jax.Array:
    """Probability of at least one success in n independent attempts, each with probability p.

    ``1 - (1 - p)^n``, by ``log1p`` and ``expm1``, so that it is exact to rounding for tiny p as well. It tends to 1
    with n only if p > 0, and the first success is then attempt ``1 / p`` on average.

    Args:
        p: ``[...]`` in [0, 1].
        num_attempts: n, ``[...]``, at least 0.

    Returns:
        ``[...]`` in [0, 1].
    """
    p, n = (jnp.asarray(x, jnp.result_type(float)) for x in (p, num_attempts))
    chex.assert_is_broadcastable(n.shape, jnp.broadcast_shapes(p.shape, n.shape))
    certain = p >= 1
    log_fail = n * jnp.log1p(-jnp.where(certain, 0.0, p))
    return jnp.where(certain, (n > 0).astype(p.dtype), -jnp.expm1(log_fail))
