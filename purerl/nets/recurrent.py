"""Memories for sequences that hold many episodes: LSTM, GRU, a linear recurrent unit, and causal attention.

All are modules with one interface, over time-major sequences ``x [T, B, F]`` and flags ``start [T, B]``, true where
``x[t]`` is the first of an episode: what came before is forgotten *before* that step.

    start(B) -> carry                                            of a fresh episode, leaves [B, ...]
    memory(carry, (x, start)) -> carry, output                   [T, B, size]
    with_next(carry, (x, start), next_x) -> carry, output, next_output

The last one also gives what the memory would say of ``next_x[t]`` *after* step t, without a reset between them: at the
end of an episode that is the observation to bootstrap from. A step is a sequence with T = 1, and a sequence cut
anywhere, with its carry handed on, gives what the whole sequence gives.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from purerl.kernels.recurrence import forward_linear_recurrence
from purerl.nets.torsos import dense
from purerl.types import PyTree

Memory = Literal["lstm", "gru", "lru", "attention"]
"""Kinds of memory."""
Sequence = tuple[jax.Array, jax.Array]  # x [T, B, F] and start [T, B]


def make_memory(kind: str, size: int, window: int = 32) -> nn.Module:
    """The memory of a kind.

    Args:
        kind: ``"lstm"``, ``"gru"``, ``"lru"`` or ``"attention"``.
        size: of the output; of attention a multiple of its heads.
        window: steps that attention looks back; others have no such limit.

    Raises:
        ValueError: for another kind, or a size that the heads do not divide.
    """
    if kind in ("lstm", "gru"):
        return Gated(kind, size)
    if kind == "lru":
        return LinearRecurrentUnit(size)
    if kind != "attention":
        raise ValueError(f"memory={kind!r} must be one of {', '.join(map(repr, get_args(Memory)))}.")
    if size % Attention.num_heads:
        below = size - size % Attention.num_heads
        raise ValueError(
            f"memory = 'attention' has {Attention.num_heads} heads, which do not divide memory_size = {size}; the next "
            f"size that they divide is {below + Attention.num_heads}."
        )
    return Attention(size, window)


class Gated(nn.Module):
    """Gated cell over time: an LSTM, whose carry is ``(cell, output)``, or a GRU, whose carry is its output.

    Sources: Hochreiter & Schmidhuber 1997; Cho et al. 2014 (arXiv 1406.1078).
    """

    kind: str  # "lstm" or "gru"
    size: int

    def setup(self) -> None:
        self.cell = nn.OptimizedLSTMCell(self.size) if self.kind == "lstm" else nn.GRUCell(self.size)

    def start(self, batch_size: int) -> PyTree:
        """Zeros ``[B, size]``, two of them for an LSTM."""
        zeros = jnp.zeros((batch_size, self.size))
        return (zeros, jnp.zeros_like(zeros)) if self.kind == "lstm" else zeros

    def __call__(self, carry: PyTree, x_and_start: Sequence) -> tuple[PyTree, jax.Array]:
        """See the module."""
        carry, carries = self._unroll(carry, x_and_start)
        return carry, self._output(carries)

    def with_next(self, carry: PyTree, x_and_start: Sequence, next_x: jax.Array) -> tuple[PyTree, jax.Array, jax.Array]:
        """See the module."""
        carry, carries = self._unroll(carry, x_and_start)
        return carry, self._output(carries), self.cell(carries, next_x)[1]

    @functools.partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
    def _unroll(self, carry: PyTree, x_and_start: Sequence) -> tuple[PyTree, PyTree]:
        """The carry after every step, ``[T, B, size]`` each, in the place of an output."""
        x, start = x_and_start
        carry = jax.tree.map(lambda c: jnp.where(start[:, None], 0, c), carry)
        carry, _ = self.cell(carry, x)
        return carry, carry

    def _output(self, carries: PyTree) -> jax.Array:
        return carries[1] if self.kind == "lstm" else carries


class LinearRecurrentUnit(nn.Module):
    """Linear recurrent unit: a complex diagonal recurrence, whose steps are worked out in parallel where that pays.

    ``s_t = lambda s_{t-1} + sqrt(1 - |lambda|^2) B x_t``,  ``y_t = gelu(Re(C s_t) + D x_t)``,

    with ``lambda = exp(-exp(nu) + i theta)``, at first uniform on the disk. The carry is ``s``: its real and its
    imaginary parts, ``[B, size]`` each.

    Source: Orvieto et al. 2023 (arXiv 2303.06349), sections 3.2 to 3.4; resets as Lu et al. 2023 (arXiv 2303.03982).
    """

    size: int

    def setup(self) -> None:
        # |lambda|^2 is uniform at first, so that lambda is on the disk.
        self.nu = self.param(
            "nu", lambda key: jnp.log(-0.5 * jnp.log(jax.random.uniform(key, (self.size,), minval=1e-3, maxval=0.999)))
        )
        self.theta = self.param("theta", lambda key: 2 * jnp.pi * jax.random.uniform(key, (self.size,)))
        self.inward, self.outward, self.past = dense(2 * self.size, 1.0), dense(self.size, 1.0), dense(self.size, 1.0)

    def start(self, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """Zeros."""
        return jnp.zeros((batch_size, self.size)), jnp.zeros((batch_size, self.size))

    def __call__(self, carry: PyTree, x_and_start: Sequence) -> tuple[PyTree, jax.Array]:
        """See the module."""
        states = self._unroll(carry, x_and_start)
        return _parts(states[-1]), self._output(states, x_and_start[0])

    def with_next(self, carry: PyTree, x_and_start: Sequence, next_x: jax.Array) -> tuple[PyTree, jax.Array, jax.Array]:
        """See the module."""
        states = self._unroll(carry, x_and_start)
        following = self._decay() * states + self._input(next_x)
        return _parts(states[-1]), self._output(states, x_and_start[0]), self._output(following, next_x)

    def _unroll(self, carry: PyTree, x_and_start: Sequence) -> jax.Array:
        """The complex state after every step, ``[T, B, size]``."""
        x, start = x_and_start
        return forward_linear_recurrence(
            jnp.where(start[..., None], 0, self._decay()), self._input(x), jax.lax.complex(*carry)
        )

    def _decay(self) -> jax.Array:
        return jnp.exp(jax.lax.complex(-jnp.exp(self.nu), self.theta))

    def _input(self, x: jax.Array) -> jax.Array:
        scale = jnp.sqrt(-jnp.expm1(-2 * jnp.exp(self.nu)))
        real, imaginary = jnp.split(self.inward(x), 2, axis=-1)
        return jax.lax.complex(scale * real, scale * imaginary)

    def _output(self, states: jax.Array, x: jax.Array) -> jax.Array:
        return nn.gelu(self.past(jnp.concatenate(_parts(states), axis=-1)) + self.outward(x))


def _parts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.real(x), jnp.imag(x)


class AttentionState(struct.PyTreeNode):
    """What attention remembers: keys and values of the last W steps, the latest last."""

    keys: jax.Array  # [B, W, H, D]
    values: jax.Array  # [B, W, H, D]
    held: jax.Array  # [B] int, how many of them belong to this episode


class Attention(nn.Module):
    """Causal attention to the last W steps of the episode and to the step itself: one layer, ages as positions.

    ``y_t = h_t + O sum_a softmax_a(q_t . k_{t-a} / sqrt(D) + b_a) v_{t-a}``,  ``h_t = E x_t``,

    with queries, keys and values linear in the normalised ``h``, ages ``a`` from 0 to at most W, not beyond the
    episode's start, and a number ``b_a`` for each of H heads. A step in parallel with others and a step after what is
    kept of those before it are the same function.

    Sources: Vaswani et al. 2017; ages by a number each as Raffel et al. 2020 (arXiv 1910.10683), section 2.1; the
    normalisation before attention as Parisotto et al. 2019 (arXiv 1910.06764).
    """

    size: int
    window: int
    num_heads: int = 4

    def setup(self) -> None:
        self.embed, self.out = dense(self.size, 1.0), dense(self.size, 1.0)
        self.norm, self.last_norm = nn.LayerNorm(), nn.LayerNorm()
        self.project = dense(3 * self.size, 1.0)
        self.age_bias = self.param("age_bias", nn.initializers.zeros, (self.num_heads, self.window + 1))

    def start(self, batch_size: int) -> AttentionState:
        """Nothing held."""
        zeros = jnp.zeros((batch_size, self.window, self.num_heads, self.size // self.num_heads))
        return AttentionState(zeros, jnp.zeros_like(zeros), jnp.zeros(batch_size, jnp.int32))

    def __call__(self, carry: AttentionState, x_and_start: Sequence) -> tuple[AttentionState, jax.Array]:
        """See the module."""
        carry, _, output = self._read(carry, x_and_start)
        return carry, output

    def with_next(
        self, carry: AttentionState, x_and_start: Sequence, next_x: jax.Array
    ) -> tuple[AttentionState, jax.Array, jax.Array]:
        """See the module."""
        after, (keys, values, held), output = self._read(carry, x_and_start)
        return after, output, self._attend(*self._project(next_x), keys, values, held + 1, delay=1)

    def _read(self, carry: AttentionState, x_and_start: Sequence) -> tuple[AttentionState, tuple, jax.Array]:
        """The carry after the last step; keys and values ``[B, W + T, H, D]`` and, of each step, how many are its
        episode's ``[T, B]``; the output."""
        x, start = x_and_start
        hidden, query, key, value = self._project(x)
        keys, values = (
            jnp.concatenate([kept, jnp.moveaxis(new, 0, 1)], axis=1)
            for kept, new in ((carry.keys, key), (carry.values, value))
        )
        time = jnp.arange(len(x))[:, None]
        held = time - jax.lax.cummax(jnp.where(start, time, -carry.held))
        output = self._attend(hidden, query, key, value, keys, values, held, delay=0)
        last = jnp.minimum(held[-1] + 1, self.window).astype(jnp.int32)
        after = AttentionState(keys[:, -self.window :], values[:, -self.window :], last)
        return after, (keys, values, held), output

    def _project(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """The embedding ``[T, B, size]``, and its query, key and value, ``[T, B, H, D]`` each."""
        hidden = self.embed(x)
        heads = self.project(self.norm(hidden)).reshape(*x.shape[:-1], 3, self.num_heads, -1)
        return hidden, *jnp.moveaxis(heads, -3, 0)

    def _attend(
        self,
        hidden: jax.Array,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        held: jax.Array,
        delay: int,
    ) -> jax.Array:
        """Outputs ``[T, B, size]`` of steps that see ``held`` steps of those before them, and themselves.

        Step t comes ``delay`` after row ``W + t`` of keys and values.
        """
        time, row = jnp.arange(len(query))[:, None], jnp.arange(keys.shape[1])
        age = self.window + delay + time - row  # [T, W + T]
        visible = (age >= 1) & (age <= self.window) & (age <= held.T[..., None])  # [B, T, W + T]
        scale = query.shape[-1] ** -0.5
        bias = self.age_bias[:, jnp.clip(age, 0, self.window)]
        past = jnp.einsum("tbhd,bkhd->bhtk", query, keys) * scale + bias
        own = jnp.einsum("tbhd,tbhd->bht", query, key) * scale + self.age_bias[:, :1]
        past = jnp.where(visible[:, None], past, -jnp.inf)
        weight = nn.softmax(jnp.concatenate([own[..., None], past], axis=-1))
        seen = jnp.einsum("bht,tbhd->tbhd", weight[..., 0], value) + jnp.einsum(
            "bhtk,bkhd->tbhd", weight[..., 1:], values
        )
        return self.last_norm(hidden + self.out(seen.reshape(hidden.shape)))
