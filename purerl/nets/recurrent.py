"""Recurrent memory (LSTM) for sequences that hold many episodes."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

LSTMState = tuple[jax.Array, jax.Array]  # cell and output of an LSTM, [B, size] each


class Memory(nn.Module):
    """LSTM over time, reset where an episode starts: ``carry, (x, start) -> carry, output``.

    ``x [T, B, F]`` and ``start [T, B] bool``, true where ``x[t]`` is the first of an episode: the carry is set to zero
    *before* that step. The output is ``[T, B, size]``. A step is a sequence with T = 1, and a sequence cut anywhere,
    with its carry handed on, gives what the whole sequence gives.

    Source: Hochreiter & Schmidhuber 1997.
    """

    size: int

    def setup(self) -> None:
        self.cell = nn.OptimizedLSTMCell(self.size)

    def __call__(self, carry: LSTMState, x_and_start: tuple[jax.Array, jax.Array]) -> tuple[LSTMState, jax.Array]:
        carry, carries = self.unroll(carry, x_and_start)
        return carry, carries[1]

    @functools.partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
    def unroll(self, carry: LSTMState, x_and_start: tuple[jax.Array, jax.Array]) -> tuple[LSTMState, LSTMState]:
        """As the call, with the carry after every step, ``[T, B, size]`` each, in the place of its output."""
        x, start = x_and_start
        carry = jax.tree.map(lambda c: jnp.where(start[:, None], 0, c), carry)
        carry, _ = self.cell(carry, x)
        return carry, carry

    def peek(self, carry: LSTMState, x: jax.Array) -> jax.Array:
        """Outputs ``[..., size]`` of one more step after each of many carries, without advancing them."""
        return self.cell(carry, x)[1]

    def start(self, batch_size: int) -> LSTMState:
        """Initial carry of an episode, zeros, for B sequences."""
        return jnp.zeros((batch_size, self.size)), jnp.zeros((batch_size, self.size))
