"""Natural gradients: products with the Fisher matrix, a step to the edge of a trust region, and the way back."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.kernels.linalg import conjugate_gradient
from purerl.kernels.numerics import safe_divide
from purerl.types import PyTree, Scalar


def fisher_product(
    policy: Callable[[PyTree], PyTree], divergence: Callable[[PyTree, PyTree], jax.Array], params: PyTree
) -> Callable[[PyTree], PyTree]:
    """Fisher-vector product, the matrix being the second derivative of the mean divergence from the old policy.

    ``F v = J' H J v``, with ``J = d policy / d params`` and ``H = d^2 divergence(old, p) / dp^2``, both at the old
    parameters. There the divergence has gradient 0, so that nothing else of its second derivative is left, and ``F``
    has no negative curvature. A product is one pass forward and one back; the network itself is evaluated once.

    Args:
        policy: ``(params) -> parameters of the distributions``, pytree of float arrays.
        divergence: ``(old, new) -> []`` of such parameters, the mean of ``KL(old; new)``.
        params: of the old policy.

    Returns:
        ``v -> F v`` on pytrees like ``params``.

    Source: Schulman et al. 2015 (arXiv 1502.05477), appendix C.1.
    """
    old, push = jax.linearize(policy, params)
    pull = jax.linear_transpose(push, params)
    slope = jax.grad(divergence, argnums=1)

    def product(v: PyTree) -> PyTree:
        _, curved = jax.jvp(lambda new: slope(old, new), (old,), (push(v),))
        return pull(curved)[0]

    return product


def natural_step(
    gradient: PyTree,
    product: Callable[[PyTree], PyTree],
    radius: Scalar,
    num_iterations: int,
    damping: Scalar = 0.0,
) -> PyTree:
    """Step along the natural gradient to the edge of a trust region.

    ``sqrt(2 radius / x'(F + damping I)x) x`` with ``(F + damping I) x = gradient``: without damping, to second order it
    is the step of divergence ``radius`` that gains most; with damping it ends before.

    Args:
        gradient: of the objective, pytree of float arrays.
        product: ``v -> F v``, as :func:`fisher_product` makes it.
        radius: of the trust region, at least 0.
        num_iterations: of conjugate gradients, static.
        damping: at least 0.

    Returns:
        The step, a pytree like ``gradient``; 0 where the gradient is.

    Source: Kakade 2001; Schulman et al. 2015, appendix C.
    """
    x, _ = conjugate_gradient(product, gradient, num_iterations, damping=damping)
    curvature = _dot(x, product(x)) + damping * _dot(x, x)
    size = jnp.sqrt(safe_divide(2 * jnp.asarray(radius), jnp.maximum(curvature, 0)))
    return jax.tree.map(lambda leaf: size.astype(leaf.dtype) * leaf, x)


class Search(NamedTuple):
    """What a search along a step has found."""

    params: PyTree
    fraction: jax.Array  # [] of the step that was taken, 0 where none was
    gain: jax.Array  # [] of the objective, 0 where none was
    divergence: jax.Array  # [] of the new policy from the old one, 0 where none was


def backtrack(
    evaluate: Callable[[PyTree], tuple[jax.Array, jax.Array]],
    params: PyTree,
    step: PyTree,
    radius: Scalar,
    shrink: Scalar,
    num_trials: int,
) -> Search:
    """Backtracking line search: the longest of the steps tried that stays in the trust region and gains.

    ``params + shrink^k step`` for the least ``k < num_trials`` with divergence at most ``radius`` and an objective
    above that of ``params``; if there is none, ``params``, bit for bit. What is NaN is refused.

    Args:
        evaluate: ``(params) -> (objective [], divergence [])``.
        params: of the old policy, where the divergence is 0.
        step: a pytree like ``params``.
        radius: at least 0.
        shrink: in (0, 1).
        num_trials: K, static.

    Source: Schulman et al. 2015, appendix C.
    """
    before, _ = evaluate(params)

    def moved(fraction: jax.Array) -> PyTree:
        return jax.tree.map(lambda p, s: p + fraction.astype(p.dtype) * s, params, step)

    def undecided(now: tuple) -> jax.Array:
        k, found, *_ = now
        return (k < num_trials) & ~found

    def trial(now: tuple) -> tuple:
        k, _, fraction, *_ = now
        fraction = jnp.where(k == 0, fraction, (fraction * shrink).astype(fraction.dtype))
        objective, divergence = evaluate(moved(fraction))
        gain = objective - before
        return k + 1, (gain > 0) & (divergence <= radius), fraction, gain, divergence

    nothing, whole = jnp.zeros_like(before), jnp.ones_like(before)
    start = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), whole, nothing, nothing)
    # The loop carries numbers alone: under vmap all its carry is written anew in every turn.
    _, found, fraction, gain, divergence = jax.lax.while_loop(undecided, trial, start)
    new = jax.tree.map(lambda p, m: jnp.where(found, m, p), params, moved(fraction))
    return Search(new, *(jnp.where(found, x, 0) for x in (fraction, gain, divergence)))


def _dot(a: PyTree, b: PyTree) -> jax.Array:
    return sum((jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)), jnp.zeros(()))
