"""The compiled half of the driver: initialise, update and evaluate a batch of trials.

A *trial* is one lone run: one seed at one point of a sweep. Trials differ in their key and their hyperparameters,
share the program, and never exchange anything. One compiled function runs any number of updates of all of them:
``fori_loop`` with traced bounds, vmapped. Metrics are summed on the device and the sums are carried from call to call,
and update ``t`` of a trial gets the key ``fold_in(run_key, t)``. So where a run is cut into pieces changes nothing,
bit for bit, neither in its states nor in its logs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh, PartitionSpec

from purerl.algorithm import Algorithm
from purerl.types import Episodes, Mean, PyTree

TRIALS = "trials"  # axis of a mesh over which trials are split
NEVER = -1

Adjust: TypeAlias = Callable[[PyTree, jax.Array], PyTree]  # (hypers, t) -> the hypers of update t


def unchanged(hypers: PyTree, t: jax.Array) -> PyTree:
    """Hyperparameters that do not move."""
    return hypers


class Carry(struct.PyTreeNode):
    """All that goes from update to update: saving it is saving the run."""

    hypers: PyTree  # [M, ...]
    states: PyTree  # [M, ...]
    sums: dict[str, Mean]  # leaves [M]: metrics since the last entry of the log
    diverged_at: jax.Array  # [M] int: first update with a metric that is not finite, or NEVER


class Reading(NamedTuple):
    """What the host looks at between two calls: two small arrays, for each that it fetches costs it time."""

    sums: jax.Array  # [M, K, 2] totals and counts of the K metrics, by name in alphabetical order
    diverged_at: jax.Array  # [M] int: ``Carry.diverged_at``; the last update, if only a state holds NaN


def seed_keys(key: jax.Array, num_seeds: int) -> jax.Array:
    """The root keys of a run's seeds, ``[S]``. Seed ``i`` has the same key whatever ``num_seeds`` is."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_seeds))


def init(algorithm: Algorithm, hypers: PyTree, keys: jax.Array, mesh: Mesh | None = None) -> Carry:
    """Trials at their start, from their hyperparameters ``[M, ...]`` and root keys ``[M]``."""

    def start(hypers: PyTree, key: jax.Array) -> Carry:
        init_key, run_key, _ = _streams(key)
        state = algorithm.init(hypers, init_key)
        _, metrics = jax.eval_shape(algorithm.update, hypers, state, run_key)
        sums = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(_as_means, metrics))
        return Carry(hypers, state, sums, jnp.int32(NEVER))

    return over_trials(lambda trial, _: start(*trial), mesh)((hypers, keys), ())


def run(
    algorithm: Algorithm,
    carry: Carry,
    keys: jax.Array,
    start: jax.Array | int,
    stop: jax.Array | int,
    fresh: jax.Array | bool = False,
    mesh: Mesh | None = None,
    adjust: Adjust = unchanged,
) -> tuple[Carry, Reading]:
    """Updates ``start <= t < stop`` of every trial.

    Args:
        algorithm: what to run.
        carry: trials, M.
        keys: their root keys, ``[M]``.
        start: first update, ``[]``; traced, so it does not recompile.
        stop: one past the last update, ``[]``.
        fresh: whether to sum metrics from zero, because the sums so far have been logged, ``[]``.
        mesh: devices to split the trials over.
        adjust: ``(hypers, t) -> hypers`` that hold in update t: schedules.

    Returns:
        The trials, and what is to be read of them.
    """

    def run_trial(trial: tuple[Carry, jax.Array], shared: tuple) -> tuple[Carry, Reading]:
        (carry, key), (start, stop, fresh) = trial, shared
        _, run_key, _ = _streams(key)
        carry = carry.replace(sums=jax.tree.map(lambda x: jnp.where(fresh, 0, x), carry.sums))

        def update(t: jax.Array, now: Carry) -> Carry:
            hypers = adjust(now.hypers, t)
            state, metrics = algorithm.update(hypers, now.states, jax.random.fold_in(run_key, t))
            means = _as_means(metrics)
            finite = jnp.stack([jnp.isfinite(mean.total) for mean in means.values()]).all()
            return now.replace(
                states=state,
                sums=jax.tree.map(jnp.add, now.sums, means),
                diverged_at=jnp.where(finite | (now.diverged_at != NEVER), now.diverged_at, t),
            )

        carry = jax.lax.fori_loop(start, stop, update, carry)
        has_diverged = carry.diverged_at != NEVER
        last_if_nan = jnp.where(has_nan(carry.states), stop - 1, NEVER)
        sums = jnp.stack([jnp.stack(mean) for _, mean in sorted(carry.sums.items())])
        return carry, Reading(sums, jnp.where(has_diverged, carry.diverged_at, last_if_nan))

    return over_trials(run_trial, mesh)((carry, keys), (start, stop, fresh))


def evaluate(
    algorithm: Algorithm,
    carry: Carry,
    keys: jax.Array,
    t: jax.Array,
    num_episodes: int,
    mesh: Mesh | None = None,
    adjust: Adjust = unchanged,
) -> Episodes:
    """Play ``num_episodes`` with every trial after ``t`` updates, with randomness of evaluation and ``t`` alone.

    Returns:
        Episodes ``[M, N]``.
    """

    def evaluate_trial(trial: tuple[PyTree, PyTree, jax.Array], t: jax.Array) -> Episodes:
        hypers, state, key = trial
        _, _, eval_key = _streams(key)
        assert algorithm.spec.evaluate is not None
        return algorithm.spec.evaluate(adjust(hypers, t), state, jax.random.fold_in(eval_key, t), num_episodes)

    return over_trials(evaluate_trial, mesh)((carry.hypers, carry.states, keys), t)


def num_bytes(compiled) -> int:
    """Memory that a compiled function needs on a device: arguments, results and what lies between."""
    memory = compiled.memory_analysis()
    arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return arrays + memory.temp_size_in_bytes


def has_nan(state: PyTree) -> jax.Array:
    """Whether a floating-point leaf of one trial's state holds NaN, ``[]``."""
    flags = [jnp.isnan(x).any() for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.any(jnp.array(flags, bool))


def over_trials(function: Callable[[PyTree, PyTree], PyTree], mesh: Mesh | None) -> Callable[[PyTree, PyTree], PyTree]:
    """``function(trial, shared)`` for all trials at once, each device of the mesh's axis ``trials`` with its part.

    The devices run one and the same program on their parts and wait for nobody, which sharding by the partitioner
    would not promise: a ``while_loop`` over trials would ask all devices in every turn whether any goes on.
    A lone trial keeps its plain program, whose matrix products are not batched ones of one.
    """

    def block(trials: PyTree, shared: PyTree) -> PyTree:
        if jax.tree.leaves(trials)[0].shape[0] == 1:
            lone = function(jax.tree.map(lambda x: x[0], trials), shared)
            return jax.tree.map(lambda x: x[None], lone)
        return jax.vmap(function, in_axes=(0, None))(trials, shared)

    if mesh is None:
        return block
    split, same = PartitionSpec(TRIALS), PartitionSpec()
    # Axes of one device as well: where nothing is left to the partitioner, the program is that without a mesh.
    ours = {name for name, size in mesh.shape.items() if name == TRIALS or size == 1}
    return jax.shard_map(block, mesh=mesh, in_specs=(split, same), out_specs=split, axis_names=ours, check_vma=False)


def _streams(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A trial's root key as three: for initialisation, updates and evaluation."""
    init_key, run_key, eval_key = jax.random.split(key, 3)
    return init_key, run_key, eval_key


def _as_means(metrics: Mapping[str, Any]) -> dict[str, Mean]:
    """Every metric as a sum and a count."""
    return {
        name: Mean(*(jnp.asarray(x, jnp.float32) for x in (value if isinstance(value, Mean) else (value, 1))))
        for name, value in metrics.items()
    }
