"""The recurrent memory."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.nets.recurrent import Memory

T = 6


def test_memory_remembers():
    """What was seen at the first step is still told apart at the last, where nothing started in between."""
    memory = Memory(4)
    x = jnp.zeros((T, 2, 3)).at[0, 0].set(1.0)
    inputs = (x, jnp.zeros((T, 2), bool))
    params = memory.init(jax.random.key(0), memory.start(2), inputs)
    _, output = memory.apply(params, memory.start(2), inputs)
    assert np.abs(output[-1, 0] - output[-1, 1]).max() > 1e-3


def test_memory_is_reset_where_an_episode_starts():
    """``peek`` is one more step; from a start on the output is that of a fresh carry, whatever the carry was."""
    memory = Memory(4)
    x, start = jax.random.normal(jax.random.key(1), (T, 2, 3)), jnp.zeros((T, 2), bool).at[3, 1].set(True)
    params = memory.init(jax.random.key(0), memory.start(2), (x, start))
    carry, output = memory.apply(params, memory.start(2), (x, start))
    _, fresh = memory.apply(params, memory.start(2), (x[3:], start[3:]))
    np.testing.assert_allclose(output[3:, 1], fresh[:, 1], rtol=1e-5, atol=1e-6)
    assert np.abs(output[3:, 0] - fresh[:, 0]).max() > 1e-3
    _, longer = memory.apply(params, memory.start(2), (x[jnp.arange(T + 1) % T], jnp.pad(start, ((0, 1), (0, 0)))))
    peeked = memory.apply(params, carry, x[0], method="peek")
    np.testing.assert_allclose(peeked, longer[-1], rtol=1e-5, atol=1e-6)
