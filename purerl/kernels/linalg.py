"""Linear algebra without matrices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from purerl.kernels.numerics import safe_divide
from purerl.types import PyTree, Scalar


def conjugate_gradient(
    matvec: Callable[[PyTree], PyTree],
    b: PyTree,
    num_iterations: int,
    tolerance: float = 1e-10,
    damping: Scalar = 0.0,
) -> tuple[PyTree, jax.Array]:
    """Conjugate gradient method for a symmetric positive definite ``A`` known only through products.

    ``(A + damping I) x = b``

    The loop has a fixed length and freezes once ``|r|^2 <= tolerance |b|^2``, or once a direction has no
    positive curvature, which means that ``A`` is not positive definite to working precision.

    Args:
        matvec: ``v -> A v`` on pytrees like ``b``.
        b: pytree of float arrays.
        num_iterations: largest number of steps, static; as many as ``b`` has entries suffice in exact
            arithmetic.
        tolerance: on the squared relative residual.
        damping: added to the diagonal, at least 0.

    Returns:
        ``(x, |b - (A + damping I) x|)``, the solution as a pytree like ``b`` and the norm ``[]`` as tracked
        by the recurrence. ``b = 0`` gives ``x = 0``.

    Source: Hestenes & Stiefel 1952, (3:1).
    """
    b, unravel = ravel_pytree(b)
    damping = jnp.asarray(damping, b.dtype)

    def apply(v):
        return ravel_pytree(matvec(unravel(v)))[0] + damping * v

    def step(_, carry):
        x, residual, direction, squared = carry
        product = apply(direction)
        curvature = direction @ product
        active = (squared > tolerance * (b @ b)) & (curvature > 0)
        alpha = jnp.where(active, safe_divide(squared, curvature), 0)
        residual = residual - alpha * product
        remaining = residual @ residual
        conjugate = residual + safe_divide(remaining, squared) * direction
        return x + alpha * direction, residual, jnp.where(active, conjugate, direction), remaining

    x, _, _, squared = jax.lax.fori_loop(0, num_iterations, step, (jnp.zeros_like(b), b, b, b @ b))
    return unravel(x), jnp.sqrt(squared)
