"""Replays that several tests go through, and rollouts whose every step says where it is from."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.data.prioritized import proportional, rank_based
from purerl.data.replay import uniform
from purerl.types import Transition

KINDS = {"uniform": uniform, "proportional": proportional, "rank-based": rank_based}


def labels(first, num_steps, num_envs):
    """``100 t + b`` for time t and environment b, ``[T, B]``."""
    return 100 * (first + np.arange(num_steps))[:, None] + np.arange(num_envs)


def transitions(rng, num_steps, num_envs, first=0):
    """A rollout of short episodes whose observations are labels, and whose frames are uint8."""
    label = labels(first, num_steps, num_envs)
    frame = np.stack([label % 256, label // 256], axis=-1).astype(np.uint8)
    return Transition(
        obs={"label": jnp.asarray(label, jnp.int32), "frame": jnp.asarray(frame)},
        action=jnp.asarray(label % 7, jnp.int32),
        reward=jnp.asarray(rng.normal(size=label.shape), jnp.float32),
        terminated=jnp.asarray(rng.uniform(size=label.shape) < 0.15),
        truncated=jnp.asarray(rng.uniform(size=label.shape) < 0.15),
        next_obs={"label": jnp.asarray(-label, jnp.int32), "frame": jnp.asarray(255 - frame)},
        info={},
    )


def item_of(rollout):
    """Shapes and dtypes of one step of one environment."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), rollout)
