"""Target networks: hard copies now and then, or Polyak averages."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from purerl.types import PyTree, Scalar

TargetUpdate = Literal["hard", "polyak"]
"""Copy the parameters to the target network now and then, or move it a little with every update."""


def update_target(
    target_params: PyTree,
    params: PyTree,
    rule: TargetUpdate,
    *,
    before: jax.Array,
    now: jax.Array,
    every: Scalar,
    tau: Scalar,
) -> PyTree:
    """Target network after an update: hard copy, or Polyak average.

    ``"hard"``: ``theta' = theta`` when the count of steps crosses a multiple of ``every``, else as it was.

    ``"polyak"``: ``theta' <- theta' + tau (theta - theta')``.

    Args:
        target_params: theta', before the update.
        params: theta, after it.
        rule: ``"hard"`` or ``"polyak"``, static.
        before: environment steps before the update, ``[]``.
        now: environment steps after it, ``[]``.
        every: environment steps between copies, > 0.
        tau: in [0, 1].

    Source: Mnih et al. 2015; Lillicrap et al. 2016, section 3.
    """
    if rule == "polyak":
        return optax.incremental_update(params, target_params, jnp.asarray(tau, jnp.float32))  # as parameters
    # The counter crosses a multiple, whatever an update adds to it. Chosen leaf by leaf: a branch would be both of
    # them under vmap, and copying parameters is nothing beside a gradient step.
    crosses = now // every > before // every
    return jax.tree.map(lambda new, old: jnp.where(crosses, new, old), params, target_params)
