"""The optimiser: Adam on clipped gradients, of numbers that are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from purerl import optimizers
from purerl.update import gradient_step


def test_adam_on_clipped_gradients_is_that_of_optax():
    """Three steps of traced numbers against optax's own chain of clipping and Adam, clipped and free."""
    start = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.2])}

    def loss(params, i):
        return -sum(jnp.sum(jnp.cos(3 * x + i)) for x in jax.tree.leaves(params)) / 3, ()  # its gradient: sin(3 x + i)

    @jax.jit
    def ours(learning_rate, norm, epsilon):
        optimizer = optimizers.adam(norm, epsilon)
        params, opt_state = start, optimizer.init(start)
        for i in range(3):
            params, opt_state, _ = gradient_step(loss, optimizer, learning_rate, params, opt_state, i)
        return params

    for norm in (0.5, 100.0):
        chain = optax.chain(optax.clip_by_global_norm(norm), optax.adam(0.03, eps=1e-3))
        params, opt_state = start, chain.init(start)
        for i in range(3):
            grads = jax.grad(loss, has_aux=True)(params, i)[0]
            assert 0.5 < optax.tree.norm(grads) < 100
            updates, opt_state = chain.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
        for x, y in zip(jax.tree.leaves(ours(0.03, norm, 1e-3)), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
