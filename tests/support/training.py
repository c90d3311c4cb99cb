"""Training runs of tests: one scan of updates whose step size falls to 0, so that noise leaves no trace."""

import jax
import jax.numpy as jnp


def train_with_falling_rate(algorithm, hypers, key, num_updates):
    """The state after a run of ``num_updates`` whose learning rate falls to 0 in a straight line."""
    init_key, run_key = jax.random.split(key)

    def update(state, inputs):
        share_left, key = inputs
        now = hypers.replace(learning_rate=hypers.learning_rate * share_left)
        return algorithm.update(now, state, key)[0], None

    inputs = 1 - jnp.arange(num_updates) / num_updates, jax.random.split(run_key, num_updates)
    return jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)[0]
