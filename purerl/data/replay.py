"""Replay buffer: keep the last steps, and sample from them.

    replay = uniform(ReplayConfig(capacity=100_000, num_envs=8, batch_size=128))
    state = replay.init(transition)
    state = replay.add(state, rollout)  # [T, B, ...]
    indices = replay.sample(state, key)
    batch = n_step_transitions(state.ring, indices, n=3, gamma=0.99)

Sample indices say where, functions of :mod:`purerl.data.transitions` read what is there, so that any sampling goes with
any kind of batch. An algorithm that prioritises sets priorities,
``state = replay.update_priorities(state, indices, priority)``; uniform replay ignores them, so one program serves both.

Under ``scan``, and in a compiled function whose state is donated, the storage is written in place.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.config_checks import check_config
from purerl.data import ring as rings
from purerl.ranges import setting
from purerl.types import PyTree, Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Sizes of a replay buffer.

    Raises:
        ValueError: at construction, if they do not go together.
    """

    capacity: int = setting(100_000, low=1, high=2**31 - 1)
    """Steps that are kept, of all environments together."""
    num_envs: int = 1
    """B."""
    batch_size: int = 128
    """Items sampled at a time, M, with replacement."""
    length: int = 1
    """Consecutive steps of an item: 1 for transitions and n-step transitions, more for sequences."""
    period: int = 1
    """Steps from the start of one sequence to the next, at most length; less than that and they overlap."""

    def __post_init__(self) -> None:
        check_config(self)
        if self.capacity % self.num_envs:
            raise ValueError(
                f"ReplayConfig.capacity = {self.capacity} must be a multiple of num_envs = {self.num_envs}: "
                f"{self.capacity // self.num_envs * self.num_envs} or {(self.num_rows + 1) * self.num_envs} is one."
            )
        if self.period > self.length:
            raise ValueError(
                f"ReplayConfig.period = {self.period} must be at most length = {self.length}: "
                "steps between two sequences would never be drawn."
            )
        if self.num_rows % self.period:
            raise ValueError(
                f"ReplayConfig.capacity = {self.capacity} keeps {self.num_rows} steps of each of {self.num_envs} "
                f"environments, not a multiple of period = {self.period}: make it a multiple of "
                f"{self.period * self.num_envs}."
            )
        drawable = max(self.num_rows - self.length + 1, 0) // self.period * self.num_envs
        if self.batch_size > drawable:
            raise ValueError(
                f"ReplayConfig.batch_size = {self.batch_size} is more than the {drawable} items of length "
                f"{self.length} that capacity = {self.capacity} holds: decrease it or increase capacity."
            )

    @property
    def num_rows(self) -> int:
        """Steps that are kept of one environment."""
        return self.capacity // self.num_envs

    @property
    def num_items(self) -> int:
        """Places where an item may start; which of them hold one changes as steps come in."""
        return self.num_rows // self.period * self.num_envs


class ReplayState(struct.PyTreeNode):
    """Contents of a replay buffer."""

    ring: rings.Ring  # the steps
    priorities: PyTree  # state of the prioritisation; () if uniform


class SampleIndices(struct.PyTreeNode):
    """Sample indices: where the sampled items start, and their importance weights."""

    row: jax.Array  # [M] int32
    env: jax.Array  # [M] int32
    weight: jax.Array  # [M] importance weight, at most 1; 0 while the replay is empty


class Replay(NamedTuple):
    """Replay buffer, as pure functions of its state.

    Attributes:
        init: ``(item, alpha=0.6) -> state``, empty. ``item`` is one step of one environment, arrays or their shapes
            and dtypes, which are kept as they are; ``alpha`` in [0, 1] is the exponent of priorities, 0 for uniform.
        add: ``(state, items [T, B, ...]) -> state``, writes a rollout over the oldest steps.
        sample: ``(state, key, beta=1.0) -> SampleIndices``; ``beta`` in [0, 1] is the strength of the bias correction
            of the weights ``w = (N P)^-beta / max w``. From an empty replay: the first item, of zeros, with weight 0.
        update_priorities: ``(state, indices, priority [M]) -> state``, before the next add. Priorities are at least 0
            and finite; of those for one item the largest counts, and an item of 0 is never drawn again.
        can_sample: ``(state) -> [] bool``, whether there are at least as many items as a sample has.
        with_alpha: ``(state, alpha) -> state``, where priorities set from now on have this exponent; those that
            were set before keep theirs until they are set again.
        refresh: ``(state) -> state``, sorts the ranks, which is too slow to do at every change. For every few hundred
            updates.
    """

    init: Callable
    add: Callable
    sample: Callable
    update_priorities: Callable
    can_sample: Callable
    with_alpha: Callable
    refresh: Callable


def uniform(config: ReplayConfig) -> Replay:
    """Uniform replay: every item has ``P = 1 / N`` and weight 1. Source: Lin 1992; Mnih et al. 2015."""

    def init(item: PyTree, alpha: Scalar = 0.6) -> ReplayState:
        return ReplayState(ring=rings.empty(item, config.num_rows, config.num_envs), priorities=())

    def add(state: ReplayState, items: PyTree) -> ReplayState:
        return state.replace(ring=rings.push(state.ring, items))

    def sample(state: ReplayState, key: jax.Array, beta: Scalar = 1.0) -> SampleIndices:
        first, count = _complete(config, state.ring)
        num_items = count * config.num_envs
        # The remainder of 32 bits favours some of 10^6 items by one part in 4000, at half the price of randint.
        bits = jax.random.bits(key, (config.batch_size,), jnp.uint32)
        chosen = (bits % jnp.maximum(num_items, 1).astype(bits.dtype)).astype(jnp.int32)
        row = (first + chosen // config.num_envs) * config.period % config.num_rows
        weight = jnp.broadcast_to(jnp.where(num_items > 0, 1.0, 0.0), row.shape)
        return SampleIndices(row=row, env=chosen % config.num_envs, weight=weight)

    def can_sample(state: ReplayState) -> jax.Array:
        return num_drawable(config, state.ring) >= config.batch_size

    def as_it_is(state: ReplayState, *of_priorities: PyTree) -> ReplayState:
        return state

    return Replay(init, add, sample, as_it_is, can_sample, as_it_is, as_it_is)


def num_drawable(config: ReplayConfig, ring: rings.Ring) -> jax.Array:
    """Number of complete items in the replay, N, ``[]`` int32."""
    return _complete(config, ring)[1] * config.num_envs


def _complete(config: ReplayConfig, ring: rings.Ring) -> tuple[jax.Array, jax.Array]:
    """The first sequence after the oldest row, counted in periods, and how many of one environment are complete."""
    oldest = (ring.head - ring.size) % config.num_rows
    first = -(-oldest // config.period)
    last = (oldest + ring.size - config.length) // config.period
    return first, jnp.maximum(last - first + 1, 0)
