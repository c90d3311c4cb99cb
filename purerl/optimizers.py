"""The optimiser of every algorithm that learns by gradients."""

import jax.numpy as jnp
import optax

from purerl.types import Scalar


def adam(max_grad_norm: Scalar, adam_epsilon: Scalar) -> optax.GradientTransformation:
    """Adam on clipped gradients, before the learning rate: built from traced numbers, so no value recompiles.

    ``g min(1, max_grad_norm / |g|)``, then Adam's ``m / (sqrt(v) + epsilon)``

    Args:
        max_grad_norm: gradients longer than this (global norm) are scaled down to it, > 0.
        adam_epsilon: of Adam's denominator, > 0.

    Source: Kingma & Ba 2015, algorithm 1; Pascanu et al. 2013, algorithm 1.
    """
    max_grad_norm = jnp.asarray(max_grad_norm, jnp.float32)  # as parameters: optax chooses between the two
    return optax.flatten(optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=adam_epsilon)))
