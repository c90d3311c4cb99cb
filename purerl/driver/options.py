"""The options of a run: declared, documented and checked once, for Python, the command line, ``config.json``, resuming.

The keyword arguments of :func:`purerl.train` are the fields of :class:`RunOptions`; every field but those for Python
alone is also a flag of the command line; those that are recorded are written to ``config.json`` and read from there;
those that are fixed must be the same when a run is resumed.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from jax.sharding import Mesh

from purerl.config_checks import check_options
from purerl.driver.hypers import schedules
from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.schedules import Schedule
from purerl.driver.renames import with_new_names
from purerl.names import near
from purerl.ranges import declared


def option(
    default: Any = dataclasses.MISSING,
    *,
    recorded: bool = False,
    fixed: bool = False,
    in_python: bool = False,
    **ends: Any,
) -> Any:
    """A field of a record of options.

    Args:
        default: its default; none where it must be given.
        recorded: whether ``config.json`` has it.
        fixed: whether it must stay as it was when a run is resumed.
        in_python: whether it is an object of Python, which no flag can give.
        **ends: of its range, as of :func:`purerl.ranges.declared`.
    """
    kinds = {"recorded": recorded, "fixed": fixed, "in_python": in_python}
    return dataclasses.field(default=default, metadata=kinds | declared(**ends))


def names_of(record: Any, kind: str) -> list[str]:
    """The fields of a record, or of its class, that are ``recorded``, ``fixed`` or ``in_python``."""
    return [field.name for field in dataclasses.fields(record) if field.metadata.get(kind)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How long to train, how many seeds, what to measure, where to run it and what to leave behind.

    Raises:
        ValueError: at construction, for a number that is out of its range.
    """

    num_env_steps: int = option(recorded=True, low=1)
    """Environment steps of each seed; rounded up to whole updates."""
    num_seeds: int = option(1, recorded=True, fixed=True, low=1)
    """Independent runs of each point of a sweep, S, all at once."""
    eval_every: int | None = option(None, recorded=True, fixed=True, low=0)
    """Environment steps between evaluations, rounded up to whole updates; None: 20 over the run, 0: none. There is also
    one at step 0 and one at the end."""
    num_eval_episodes: int = option(32, recorded=True, fixed=True, low=1)
    """Complete episodes of each evaluation, in fresh environments, with the mode of the policy."""
    log_every: int | None = option(None, recorded=True, fixed=True, low=1)
    """Environment steps between log entries; None: 100 over the run."""
    schedules: Mapping[str, Schedule] | None = option(None, recorded=True, fixed=True, in_python=True)
    """How hyperparameters move over the run, by name: ``{"learning_rate": linear(0.0)}``."""
    population: PBT | None = option(None, recorded=True, fixed=True, in_python=True)
    """Let the points of a sweep evolve by population-based training, each seed a population of its own."""
    trials_at_once: int | None = option(None, recorded=True, fixed=True, low=1)
    """Seeds and points to run side by side on a device, the others waiting their turn; None: all that fit. On a CPU,
    1 is faster for large batches."""
    mesh: Mesh | None = option(None, in_python=True)
    """Devices to run on, from ``purerl.driver.running.devices.make_mesh``; None: one device."""
    optimization_level: int | None = option(None, recorded=True, fixed=True, low=0, high=3)
    """How much LLVM optimises programs for a CPU, 0 to 3; None: as the environment's XLA_FLAGS say, else 1, which
    compiles in half the time of 3, and runs as fast. Most programs compute the same bits at 1 as at 3; not all."""
    out_dir: pathlib.Path | None = option(None)
    """Where results go: ``config.json``, ``metrics.csv``, TensorBoard events, ``checkpoints/``, ``summary.json`` and
    ``curve.png``. None: from Python nowhere, from the command line runs/EXPERIMENT/TIME-ENV."""
    overwrite: bool = option(False)
    """Replace the run that is in the output folder, if there is one."""
    resume: bool = option(False, in_python=True)
    """Go on with the run in ``out_dir`` from its last checkpoint, or start it if there is none. All else must be as it
    was; only ``num_env_steps`` may grow."""
    fork: pathlib.Path | None = option(None)
    """Start from a checkpoint of the run in this folder, in a folder of its own; seeds and shapes must be the same. On
    the command line its settings are the defaults. None: start anew."""
    from_step: int | None = option(None, low=0)
    """Environment step of the checkpoint to fork from; None: the last."""
    checkpoint_every: int | None = option(None, low=1)
    """Environment steps between checkpoints; None: at evaluations (or log entries), at most one a minute. There is
    always one at the end, and when the run is asked to stop."""
    keep_checkpoints: int = option(3, low=1)
    """How many of the last checkpoints to keep, besides the one with the best evaluation."""
    wandb: str | None = option(None)
    """Project of Weights & Biases to log to as well; None: nowhere."""
    debug_nans: bool = option(False)
    """When a seed diverges, stop and say which operation began it. Keeps a second copy of the states in memory."""
    progress: bool = option(True)
    """Show a progress bar on stderr."""
    extra_settings: Mapping[str, Any] | None = option(None, in_python=True)
    """More to write to ``config.json``."""

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("out_dir", "fork"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, pathlib.Path(getattr(self, name)))

    @classmethod
    def changed(cls, options: "RunOptions | None", changes: Mapping[str, Any]) -> "RunOptions":
        """Options with changes, or changes alone.

        Raises:
            ValueError: if the options are no such record, or a value is out of its range.
            TypeError: for a name that is no option.
        """
        if not isinstance(options, cls | None):
            raise ValueError(
                f"options must be {cls.__name__}, but they are {type(options).__name__}. Of a dictionary, give "
                "**options instead."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in changes:
            if name not in known:
                raise TypeError(f"There is no option {name!r}. {near(name, known)}Options: {', '.join(known)}.")
        return cls(**changes) if options is None else dataclasses.replace(options, **changes)

    def record(self) -> dict[str, Any]:
        """What ``config.json`` says of these options, as plain values by name."""
        plain = {name: getattr(self, name) for name in names_of(self, "recorded")}
        plain["schedules"] = {name: str(schedule) for name, schedule in (self.schedules or {}).items()}
        plain["population"] = None if self.population is None else dataclasses.asdict(self.population)
        return plain | dict(self.extra_settings or {})

    @classmethod
    def of_record(cls, record: Mapping[str, Any], hypers_names: Collection[str] = ()) -> "RunOptions":
        """The options that a ``config.json`` records. Those that an older version did not have are as by default, or
        as they were then (:data:`purerl.driver.renames.UNSAID`).

        Args:
            record: the file as a dictionary.
            hypers_names: the names that hyperparameters have today, for schedules and populations of older ones.

        Raises:
            ValueError: if a schedule cannot be read, or a number is out of its range.
        """
        recorded = names_of(cls, "recorded")
        given = {name: value for name, value in with_new_names(record, recorded).items() if name in recorded}
        texts = with_new_names(given.get("schedules", {}), hypers_names)
        given["schedules"] = {name: schedules.from_text(text) for name, text in texts.items()}
        given["population"] = _population(given.get("population"), hypers_names)
        return cls(**given)


def _population(recorded: Mapping[str, Any] | None, hypers_names: Collection[str]) -> PBT | None:
    """Population-based training from JSON, where tuples have become lists."""
    if recorded is None:
        return None
    bounds = {name: tuple(ends) for name, ends in with_new_names(recorded["bounds"], hypers_names).items()}
    names = tuple(with_new_names(dict.fromkeys(recorded["names"]), hypers_names))
    return PBT(**{**recorded, "names": names, "factors": tuple(recorded["factors"]), "bounds": bounds})
