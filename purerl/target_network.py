"""Target networks: hard copies now and then, or Polyak averages."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from purerl.kernels.numerics import count_up
from purerl.types import PyTree, Scalar

_LONG = 2**23  # environment steps

TargetUpdate = Literal["hard", "polyak"]
"""Copy the parameters to the target network now and then, or move it a little with every update."""


def polyak(target_params: PyTree, params: PyTree, tau: Scalar) -> PyTree:
    """Polyak average: ``theta' + tau (theta - theta')``, with tau in [0, 1]."""
    # In single precision, as parameters are.
    return optax.incremental_update(params, target_params, jnp.asarray(tau, jnp.float32))


def update_target(
    target_params: PyTree,
    params: PyTree,
    rule: TargetUpdate,
    *,
    clock: jax.Array,
    num_steps: int,
    every: Scalar,
    tau: Scalar,
) -> tuple[PyTree, jax.Array]:
    """Target network after an update, and its clock: hard copy, or Polyak average.

    ``"hard"``: ``theta' = theta`` when the clock crosses a multiple of ``every``, else as it was.

    ``"polyak"``: ``theta' <- theta' + tau (theta - theta')``.

    Args:
        target_params: theta', before the update.
        params: theta, after it.
        rule: ``"hard"`` or ``"polyak"``, static.
        clock: environment steps before the update, ``[]`` int, or as this function returned it.
        num_steps: environment steps of the update, static.
        every: environment steps between copies, > 0.
        tau: in [0, 1].

    Returns:
        theta' and the clock, off which whole intervals are taken once it is long, so that copies never cease: a count
        of 2^31 would be full, and float32, in which it is divided, tells no more than 2^24 whole numbers apart.

    Source: Mnih et al. 2015; Lillicrap et al. 2016, section 3.
    """
    if rule == "polyak":
        return polyak(target_params, params, tau), clock
    now = count_up(clock, num_steps)
    # The clock crosses a multiple, whatever an update adds to it. Chosen leaf by leaf: a branch would be both of
    # them under vmap, and copying parameters is nothing beside a gradient step.
    crosses = now // every > clock // every
    target_params = jax.tree.map(lambda new, old: jnp.where(crosses, new, old), params, target_params)
    return target_params, jnp.where(now >= jnp.maximum(_LONG, every), (now % every).astype(now.dtype), now)
