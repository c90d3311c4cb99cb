"""The engine of a run: compiled programs on the devices, the trials they move forward, and trials that diverge."""

import functools
import math
import pathlib
import traceback
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.driver.hypers import population
from purerl.driver.running import devices, program
from purerl.driver.running.job import Job
from purerl.driver.running.program import NEVER, Carry, Reading
from purerl.driver.running.timer import Timer
from purerl.driver.running.trials import Blocks
from purerl.types import Episodes, PyTree


class Frozen(NamedTuple):
    """A trial that diverged: how it was left, and what happened."""

    carry: Carry  # leaves [1, ...]
    report: dict[str, Any]


class Programs(NamedTuple):
    """The programs of a job, being compiled side by side."""

    run: Future
    init: Future | None  # where trials are taken from a checkpoint
    evaluate: Future | None  # where there are no evaluations


class Engine:
    """The trials of a job on the devices, after ``update`` updates."""

    def __init__(self, job: Job, blocks: Blocks, programs: Programs, timer: Timer) -> None:
        run = timer.wait(programs.run)
        self.job, self.blocks, self.timer = job, blocks, timer
        self.update = 0
        self.frozen: dict[int, Frozen] = {}
        self.bytes_per_trial = program.num_bytes(run) // blocks.per_device
        self._run, self._programs = run, programs
        self._keys = blocks.split(job.trials.keys)
        self._carries: list[Carry] = []
        self._readings: list[Reading] = []
        self._logged = True  # whether the sums of the metrics have been read, so that the next begin at zero
        self._snapshot: tuple[int, list[Carry], bool] | None = None

    @classmethod
    def compile(cls, job: Job, timer: Timer, at_once: int | None, say, begins: bool = True) -> "Engine":
        """Compile the updates, in blocks of trials that fit the devices' memory.

        Args:
            job: what is to be run.
            timer: counts the seconds.
            at_once: how many trials at most run side by side on a device; None: all that fit.
            say: tells the user something.
            begins: whether the trials are to be initialised, and not to be taken from a checkpoint.

        Raises:
            ValueError: if not even one trial fits.
        """
        num_trials = job.trials.num_trials
        blocks = Blocks.of(num_trials, at_once, job.mesh)
        programs = _compile(job, blocks, timer, begins)
        run = timer.wait(programs.run)
        free, per_trial = devices.free_bytes(job.mesh), program.num_bytes(run) / blocks.per_device
        fitting = devices.agree(min(math.floor(free / per_trial), num_trials), min)
        if fitting < blocks.per_device:
            if fitting == 0:
                raise ValueError(
                    f"One trial needs {per_trial / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: make its batches, "
                    "networks or replay smaller."
                )
            blocks = Blocks.of(num_trials, fitting, job.mesh)
            say(
                f"{num_trials} trials do not fit in memory at once; {fitting} do on each device: running "
                f"{blocks.num_blocks} blocks of {blocks.size}."
            )
            programs = _compile(job, blocks, timer, begins)
        return cls(job, blocks, programs, timer)

    # --- the course of a run ------------------------------------------------------------------------------

    def start(self) -> None:
        """Initialise every trial."""
        hypers = self.blocks.split(self.job.trials.hypers)
        assert self._programs.init is not None
        init = self.timer.wait(self._programs.init)
        self.put(0, [self.timer.run("run", init, *block) for block in zip(hypers, self._keys, strict=True)], {})

    def restore(self, update: int, whole: Carry, frozen: dict[int, dict[str, Any]]) -> None:
        """Go on from a state of all trials ``[M, ...]``; ``frozen`` has the reports of those that diverged."""
        left = {trial: Frozen(self._take(whole, trial), report) for trial, report in frozen.items()}
        self.put(update, self.blocks.split(whole), left)

    def put(self, update: int, carries: list[Carry], frozen: dict[int, Frozen]) -> None:
        """Take over these trials. From here on nothing is left to compile."""
        self.update, self._carries, self.frozen, self._logged = update, carries, frozen, False
        self._remember()
        if self._programs.evaluate is not None:
            self.timer.wait(self._programs.evaluate)

    def advance(self, stop: int) -> None:
        """Send every trial to an update. The devices may still be at work when this returns: see :meth:`wait`."""
        self._readings = []
        for block, keys in enumerate(self._keys):
            self.wait()  # one block at a time, so that its old arrays are gone before the next
            bounds = (self.update, stop, self._logged)
            self._carries[block], reading = self._run(self._carries[block], keys, *bounds)
            self._readings.append(reading)
        self.update, self._logged = stop, False

    def wait(self) -> None:
        """Wait until every trial has arrived."""
        jax.block_until_ready(self._readings)  # not all the leaves of the trials, which come with them

    def read(self) -> tuple[dict[str, np.ndarray], list[int]]:
        """Metrics since the last call, and the trials that have diverged since then.

        Returns:
            Means ``[M]`` by name, NaN over nothing and for trials that are frozen; trials frozen by this call.
        """
        reading = self._fetch(self._readings)
        fresh = self._freeze(reading.diverged_at) if self.job.population is None else []
        self._logged = True
        self._remember()
        with np.errstate(invalid="ignore", divide="ignore"):
            means = reading.sums[..., 0] / reading.sums[..., 1]
        means = self.without_frozen(np.where(np.isfinite(means), means, np.nan))
        return dict(zip(sorted(self._carries[0].sums), means.T, strict=True)), fresh

    def evaluate(self) -> Episodes:
        """Play with every trial: episodes ``[M, N]``."""
        assert self._programs.evaluate is not None
        evaluation = self.timer.wait(self._programs.evaluate)
        pairs = zip(self._carries, self._keys, strict=True)
        return self._fetch([self.timer.run("eval", evaluation, *pair, self.update) for pair in pairs])

    def whole(self) -> Carry:
        """All trials as one, leaves ``[M, ...]``, those that are frozen as they were left."""
        whole = self.blocks.join(self._carries)
        if self._logged:
            whole = whole.replace(sums=jax.tree.map(jnp.zeros_like, whole.sums))
        for trial, frozen in self.frozen.items():
            whole = jax.tree.map(lambda leaf, left, m=trial: leaf.at[m].set(left[0]), whole, frozen.carry)
        return whole

    def evolve(self, scores: np.ndarray) -> np.ndarray:
        """Let the points of each seed compete by their scores ``[M]``; returns everybody's parent, ``[M]``."""
        scores = devices.agreed(np.asarray(scores, np.float32))
        whole, parents = self._selection(self.whole(), scores, self.update)
        self._carries = self.blocks.split(whole)
        return np.asarray(parents)

    @functools.cached_property
    def _selection(self):
        """``(trials, scores [M], update) -> (trials, parents [M])``, compiled."""
        pbt, columns, key = self.job.population, self.job.trials.columns, self.job.key
        assert pbt is not None and key is not None
        shape = (columns.num_points, columns.num_seeds)

        def select(carry: Carry, scores: jax.Array, update: jax.Array) -> tuple[Carry, jax.Array]:
            grouped, scores = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), (carry, scores))
            keys = jax.random.split(jax.random.fold_in(key, update), columns.num_seeds)
            exploit_and_explore = jax.vmap(
                lambda *args: population.exploit_and_explore(pbt, *args), in_axes=(1, 1, 1, 0), out_axes=1
            )
            hypers, rest, parents = exploit_and_explore(
                scores, grouped.hypers, (grouped.states, grouped.sums, grouped.diverged_at), keys
            )
            carry = Carry(hypers, *rest)
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry), parents.reshape(-1)

        mesh = self.job.mesh
        return jax.jit(select, out_shardings=(devices.split_if_even(mesh, columns.num_trials), devices.copied(mesh)))

    def hypers(self) -> PyTree:
        """Everybody's hyperparameters, NumPy arrays ``[M, ...]``."""
        return self._fetch([carry.hypers for carry in self._carries])

    # --- trials that diverge -----------------------------------------------------------------------------

    def _freeze(self, diverged_at: np.ndarray) -> list[int]:
        """Set aside the trials that have diverged and are not yet; returns them.

        Their lanes go on computing, so that the program, and with it every bit of the others, stays as it is; but
        what comes of it is not used.
        """
        fresh = [trial for trial in np.flatnonzero(diverged_at != NEVER).tolist() if trial not in self.frozen]
        for trial in fresh:
            t = int(diverged_at[trial])
            if self.job.debug_nans:
                self._find_operation(trial, t)
            block, lane = divmod(trial, self.blocks.size)
            carry = self._take(self._carries[block], lane)
            report = {
                "trial": self.job.trials.columns.describe(trial),
                "update": t,
                "env_step": self.job.plan.step(t + 1),
                "key": jax.random.key_data(self.job.trials.keys[trial]).tolist(),
                "leaf": _first_not_finite(carry.states),
            }
            self.frozen[trial] = Frozen(carry, report)
        return fresh

    def without_frozen(self, values: np.ndarray) -> np.ndarray:
        """Values ``[M, ...]`` with NaN for those that are frozen."""
        values = np.array(values, np.float64)
        values[list(self.frozen)] = np.nan
        return values

    def _remember(self) -> None:
        if self.job.debug_nans:
            self._snapshot = (self.update, list(self._carries), self._logged)  # kept, for nothing is donated

    def _find_operation(self, trial: int, t: int) -> None:
        """Repeat the updates up to ``t`` from the last snapshot, and that one with a check after every operation.

        Raises:
            FloatingPointError: with the operation and its line.
        """
        from jax.experimental import checkify

        assert self._snapshot is not None
        block, _ = divmod(trial, self.blocks.size)
        start, carries, fresh = self._snapshot
        carry, _ = self._run(carries[block], self._keys[block], start, t, fresh)
        carry, keys = devices.whole((carry, self._keys[block]), self.job.mesh)
        checked = checkify.checkify(
            lambda carry: program.run(self.job.algorithm, carry, keys, t, t + 1, adjust=self.job.adjust),
            errors=checkify.nan_checks | checkify.div_checks,
        )
        error, _ = jax.jit(checked)(carry)
        who = f"{self.job.trials.columns.describe(trial)} diverged in update {t}"
        try:
            error.throw()
        except Exception as found:
            where = _line_of(found.__cause__)
            raise FloatingPointError(f"{who}: {found}{where}") from found.__cause__
        raise FloatingPointError(f"{who}: no operation made a NaN; infinite values came first.")

    # --- helpers ------------------------------------------------------------------------------------------

    def _take(self, carry: Carry, trial: int) -> Carry:
        """One trial, ``[1, ...]``, in arrays of its own, which outlive those that it came from."""
        return devices.whole(_copy_of_trial(carry, trial), self.job.mesh)

    def _fetch(self, blocks: list[PyTree]) -> PyTree:
        """Small results of every block as NumPy arrays ``[M, ...]``, on every process."""
        if jax.process_count() > 1:
            blocks = devices.whole(blocks, self.job.mesh)
        leaves = jax.tree.map(lambda *parts: np.concatenate(parts), *jax.device_get(blocks))
        return jax.tree.map(lambda leaf: leaf[: self.blocks.num_trials], leaves)


@jax.jit
def _copy_of_trial(carry: Carry, trial: jax.Array) -> Carry:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, trial, 1), carry)


def _compile(job: Job, blocks: Blocks, timer: Timer, begins: bool) -> Programs:
    """Begin to compile a job's programs for a block, the longest first."""

    def init(hypers: PyTree, keys: jax.Array) -> Carry:
        return program.init(job.algorithm, hypers, keys, job.mesh)

    def evaluate(carry: Carry, keys: jax.Array, t: jax.Array) -> Episodes:
        return program.evaluate(job.algorithm, carry, keys, t, job.num_eval_episodes, job.mesh, job.adjust)

    def run(carry: Carry, keys: jax.Array, start: jax.Array, stop: jax.Array, fresh: jax.Array):
        return program.run(job.algorithm, carry, keys, start, stop, fresh, job.mesh, job.adjust)

    def first_block() -> tuple[PyTree, Carry, jax.Array]:
        hypers, keys = jax.tree.map(lambda leaf: leaf[blocks.indices(0)], (job.trials.hypers, job.trials.keys))
        return hypers, program.init(job.algorithm, hypers, keys), keys

    out = devices.split(job.mesh)
    shapes = jax.eval_shape(first_block)
    hypers, carry, keys = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=out), shapes)
    donate = () if job.debug_nans else (0,)
    whole = devices.copied(job.mesh)
    return Programs(
        run=timer.compile(run, carry, keys, 0, 0, False, donate=donate, out_shardings=out),
        init=timer.compile(init, hypers, keys, out_shardings=out) if begins else None,
        evaluate=timer.compile(evaluate, carry, keys, 0, out_shardings=whole) if job.plan.evals_at else None,
    )


def _line_of(error: BaseException | None) -> str:
    """The last line outside JAX that an error came from; of JAX's own functions no more is known than their lines."""
    jax_folder = str(pathlib.Path(jax.__file__).parent)
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if not frame.filename.startswith(jax_folder)] or frames[:1]
    return f" ({ours[-1].filename}:{ours[-1].lineno}: {ours[-1].line})" if ours else ""


def _first_not_finite(state: PyTree) -> str | None:
    """Name of the first leaf with NaN, else of the first with an infinity."""
    floats = [(p, np.asarray(x)) for p, x in jax.tree.leaves_with_path(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    for bad in (np.isnan, np.isinf):
        for path, leaf in floats:
            if bad(leaf).any():
                return jax.tree_util.keystr(path).lstrip(".")
    return None
