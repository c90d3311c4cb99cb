"""The programs of the fast laws: one algorithm's runs side by side in one compiled program, and a lone run's."""

import functools
from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.driver.running import program
from purerl.kernels.moments import Compensated
from purerl.types import PyTree
from tests.conformance.case import OWN, TERMINATED, TRUNCATED, Case, Run, with_ending

KEY = jax.random.key(7)
HALF, WHOLE = 18, 36  # updates; the smallest replay buffers wrap after 16
# Rows of the program. Where it does not say otherwise a run has the other hyperparameters and the first key. The last
# rows, from CHANGED on, are like FIRST, but each has the default of one hyperparameter.
FIRST, DEFAULTS, THIRD, TWIN, ALWAYS_TERMINATED, ALWAYS_TRUNCATED, CHANGED = range(7)


# Leaves of a state that count without end, by name, and such as look like it but go round or are full at some time.
COUNTERS = ("num_env_steps", "num_optimizer_steps", "target_clock", "count", "time", "tried_at")
INDICES = ("head", "size", "num_pairs")


class Runs:
    """Runs of one algorithm, compiled when they are first asked for."""

    def __init__(self, case: Case, name: str) -> None:
        self.case, self.name = case, name
        self.hypers, self.other = arrays(case.hypers), arrays(case.other_hypers)
        self.names = [jax.tree_util.keystr(path, simple=True) for path, _ in jax.tree.leaves_with_path(self.other)]

    @functools.cached_property
    def algorithm(self):
        """As its users make it."""
        return self.case.make()

    @functools.cached_property
    def _running(self):
        return with_ending(self.case)

    # --- all at once --------------------------------------------------------------------------------------

    @functools.cached_property
    def trials(self) -> tuple[Run, jax.Array]:
        """Hyperparameters and keys of all rows."""
        leaves, structure = jax.tree.flatten(self.other)
        defaults = jax.tree.leaves(self.hypers)
        rows = [self.other, self.hypers, *[self.other] * 4]
        for i, default in enumerate(defaults):
            rows.append(structure.unflatten([*leaves[:i], default, *leaves[i + 1 :]]))
        endings = np.full(len(rows), OWN)
        endings[[ALWAYS_TERMINATED, ALWAYS_TRUNCATED]] = TERMINATED, TRUNCATED
        seeds = np.zeros(len(rows), int)
        seeds[[DEFAULTS, THIRD]] = 1, 2
        hypers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
        return Run(hypers, jnp.asarray(endings)), program.seed_keys(KEY, 3)[seeds]

    def make_start(self, hypers: Run, keys: jax.Array) -> program.Carry:
        """Runs before the first update."""
        return program.init(self._running, hypers, keys)

    @functools.cached_property
    def start(self) -> program.Carry:
        """All rows before the first update."""
        return compiled(self.make_start, *self.trials)(*self.trials)

    def compiled(self, carry: program.Carry):
        """``(carry, start, stop) -> carry`` for all rows; refuses other shapes, dtypes and weak types than these."""
        keys = self.trials[1]
        return compiled(lambda *args: program.run(self._running, args[0], keys, *args[1:])[0], carry, 0, 1)

    @functools.cached_property
    def _program(self):
        return self.compiled(self.start)

    def run(self, carry: program.Carry, start: int, stop: int) -> program.Carry:
        """All rows from one number of updates to another."""
        return self._program(carry, start, stop)

    @functools.cached_property
    def half(self) -> program.Carry:
        """All rows after half of the updates."""
        return self.run(self.start, 0, HALF)

    @functools.cached_property
    def whole(self) -> program.Carry:
        """All rows after all updates, in one go."""
        return self.run(self.start, 0, WHOLE)

    @functools.cached_property
    def changed_half_way(self) -> program.Carry:
        """All rows at the end, where those from CHANGED on were FIRST for the first half, and changed then."""
        half = np.arange(len(self.half.diverged_at))
        half[CHANGED:] = FIRST
        as_first = jax.tree.map(lambda x: on_host(x)[half], self.half)
        return self.run(as_first.replace(hypers=self.half.hypers), HALF, WHOLE)

    def counted_to(self, number: int, names: Collection[str]) -> program.Carry:
        """All rows at the end, where at half time these counters were shifted so that the largest was ``number``."""
        states = jax.tree.map_with_path(
            lambda path, x: number - np.max(x) + on_host(x) if counter(path) in names else x, self.half.states
        )
        return self.run(self.half.replace(states=states), HALF, WHOLE)

    @functools.cached_property
    def with_nan(self) -> program.Carry:
        """All rows at the end, where at half time every floating-point number of THIRD's state became NaN."""

        def poisoned(x: jax.Array) -> jax.Array:
            third = (np.arange(len(x)) == THIRD).reshape(-1, *[1] * (x.ndim - 1))
            return np.where(third, np.float32(np.nan), x) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return self.run(self.half.replace(states=jax.tree.map(poisoned, self.half.states)), HALF, WHOLE)

    # --- alone --------------------------------------------------------------------------------------------

    @functools.cached_property
    def _lone_program(self):
        return compiled(
            lambda carry, keys, stop: program.run(self._running, carry, keys, 0, stop)[0],
            row(self.start, 0),
            self.trials[1][:1],
            1,
        )

    def alone(self, i: int, num_updates: int) -> program.Carry:
        """Row ``i`` in the program of a lone run, whose axis of runs is 1 long and not vmapped."""
        return self._lone_program(row(self.start, i), self.trials[1][i : i + 1], num_updates)

    # --- traced -------------------------------------------------------------------------------------------

    @functools.cached_property
    def traced(self):
        """``init`` and ``update``, traced with a check that no key is used twice."""
        key = jax.random.key(0)
        state = jax.eval_shape(self.algorithm.init, self.hypers, key)
        with jax.debug_key_reuse(True):
            init = jax.jit(self.algorithm.init).trace(self.hypers, key)
            return init, jax.jit(self.algorithm.update).trace(self.hypers, state, key)


def compiled(function: Callable, *args: PyTree):
    """A function, compiled for such arguments with the options that the driver's programs have."""
    return jax.jit(function).lower(*args).compile(compiler_options=xla.compiler_options(jax.default_backend()))


def on_host(x: jax.Array) -> jax.Array | np.ndarray:
    """In NumPy, which compiles nothing, unless it is a key."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def arrays(hypers: PyTree) -> PyTree:
    """Hyperparameters as the driver hands them to an algorithm: arrays without weak types."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), hypers)


def counter(path: tuple) -> str | None:
    """Name of the counter that a leaf of a state is; None if it is none, or an environment's."""
    names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
    theirs = {"envs", "env_state", "problem"} & {*names}
    return names[-1] if names[-1] in COUNTERS and not theirs else None


def row(tree: PyTree, i: int) -> PyTree:
    """One of the runs, its axis kept."""
    return jax.tree.map(lambda x: x[i : i + 1], tree)


def differ(a: PyTree, b: PyTree) -> bool:
    """Whether any numbers of two trees are not the same."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(
        not np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
        for x, y in pairs
        if jnp.issubdtype(x.dtype, jnp.number)
    )


def assert_near(a: PyTree, b: PyTree) -> None:
    """Equal up to the rounding of batched products; integers exactly."""
    for (path, x), y in zip(jax.tree.leaves_with_path(_joined(a)), jax.tree.leaves(_joined(b)), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(
            np.asarray(x), np.asarray(y), rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path)
        )


def _joined(state: PyTree) -> PyTree:
    """The state with every compensated sum as one number: alone, its low part is nothing but rounding."""

    def join(x):
        return x.high + x.low if isinstance(x, Compensated) else x

    return jax.tree.map(join, state, is_leaf=lambda x: isinstance(x, Compensated))
