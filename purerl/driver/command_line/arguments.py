"""Flags of the command line: its words parsed into the settings of a run, a flag for every field of four records."""

import argparse
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from purerl.config_checks import check_options
from purerl.driver.command_line.environments import check_trusted, env_text
from purerl.driver.command_line.experiment import Experiment, recorded_sweep
from purerl.driver.command_line.flags import registry, wrapped
from purerl.driver.hypers import schedules, sweep
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.sweep import Distribution, Sweep
from purerl.driver.options import RunOptions, names_of, option
from purerl.driver.running import devices
from purerl.driver.storage import folder
from purerl.env_names import EnvName, base_name
from purerl.ranges import check_hypers

_NUM_SEEDS = 8  # where none are asked for
_Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """What only a command line has: the environment, the texts of sweeps and schedules, and what JAX is to be told."""

    env: str = option(fixed=True)
    """Environment: a registered name (purerl list), or module:function of your own, which returns one. Its preset, if
    it has one, gives every other default shown here."""
    env_arg: _Repeated = option(())
    """An argument of the environment, NAME=VALUE, such as max_steps_in_episode=200; again for another one."""
    wrap: _Repeated = option(())
    """A wrapper around the environment, such as one_hot_observation or "frame_stack(k=4)"; again for another around
    it."""
    seed: int = option(0, fixed=True, low=0, high=2**32 - 1)
    """Fixes everything random about the run."""
    sweep: tuple[str, ...] = option((), fixed=True)
    """Fields to sweep: learning_rate=1e-4,3e-4 clip_epsilon=0.1,0.2; or at random, with --num-points:
    learning_rate=log_uniform(1e-5,1e-2) gamma=choice(0.9,0.99). Each gets --num-seeds seeds."""
    num_points: int | None = option(None, fixed=True, low=1)
    """How many points to draw where --sweep has distributions; None: it has lists of values."""
    schedule: tuple[str, ...] = option((), fixed=True)
    """Fields that move over the run: learning_rate=linear:0 clip_epsilon=cosine:0.05
    entropy_coef=piecewise:0.5:0.005,0.8:0."""
    evolve: tuple[str, ...] = option((), fixed=True)
    """Fields to evolve by population-based training, starting from the points of --sweep."""
    evolve_every: int | None = option(None, fixed=True, low=1)
    """Environment steps between selections; None: 20 over the run."""
    resume: pathlib.Path | None = None
    """Go on with the run in this folder, with its settings, from its last checkpoint; --num-env-steps may be larger.
    None: start a run."""
    curve: pathlib.Path | None = None
    """Also write the learning curve to this image; None: to the run's folder alone."""
    trial_devices: int = option(1, low=1)
    """Devices to spread seeds and points over."""
    env_devices: int = option(1, low=1)
    """Devices to spread the environments of each run over."""
    distributed: bool = False
    """One of several processes that run together; found out from Slurm, Kubernetes or the TPU, or told by the next."""
    coordinator: str | None = None
    """HOST:PORT of the first process, for --distributed; None: found out."""
    num_processes: int | None = option(None, low=1)
    """How many processes, for --distributed; None: found out."""
    process_id: int | None = option(None, low=0)
    """Which of them this is, from 0, for --distributed; None: found out."""
    compile_cache: bool = True
    """Keep compiled programs, so that the next run of these shapes starts sooner: at most 1 GB in ~/.cache/purerl, or
    in the folder that the environment's JAX_COMPILATION_CACHE_DIR names."""
    cpu_threads: int | None = option(None, low=1)
    """Threads of XLA on a CPU; None: one per core. One is faster for a lone run of a small network."""
    small_loops: bool = False
    """Let XLA compile whole loops into one function: faster on a CPU where the arrays in them are tiny."""

    def __post_init__(self) -> None:
        check_options(self)


class Arguments(NamedTuple):
    """A parsed command line."""

    launch: Launch
    options: RunOptions  # without what is an object of Python: see ``run_options``
    config: Any
    hypers: Any
    record: dict[str, Any] | None  # what the run to resume or fork wrote down


def parse(experiment: Experiment, words: Sequence[str], prog: str | None = None) -> Arguments:
    """The settings of a run from its command line, with defaults of the preset, or of the run to resume or fork.

    Raises:
        SystemExit: for words that are no flags or values, after saying so; after ``--help``.
        ValueError: for values that cannot be, or that contradict each other.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env")
    first.add_argument("--resume", type=pathlib.Path)
    first.add_argument("--fork", type=pathlib.Path)
    known = first.parse_known_args(words)[0]
    source = known.resume or known.fork
    defaults = _preset(experiment, known.env) if source is None else _recorded(experiment, source, known.env)
    parts = {
        "launch": defaults.launch,
        "run": defaults.options,
        "config": defaults.config,
        "hypers": defaults.hypers,
    }
    # One flag for every field, without a prefix; the classes are known only now.
    arguments_class: Any = dataclasses.make_dataclass(
        "Arguments", [(name, type(part)) for name, part in parts.items()], frozen=True
    )
    parsed = tyro.cli(
        arguments_class,
        prog=prog,
        description=wrapped(f"{experiment.description}\n\nPresets: {', '.join(experiment.presets)}."),
        args=list(words),
        default=arguments_class(**parts),
        config=(tyro.conf.OmitArgPrefixes,),
        registry=registry(map(type, parts.values()), sizes=(type(defaults.config),)),
    )
    launch, options, config, hypers = (getattr(parsed, name)() for name in parts)
    made = Arguments(launch, options, config, hypers, defaults.record)
    check_hypers(made.hypers)
    made = made._replace(launch=_with_env_text(made.launch, parts["launch"].env if source is not None else ""))
    if known.resume is not None:
        _check_unchanged(parts, dict(zip(parts, made, strict=False)))
        if made.options.fork is not None or made.options.overwrite or made.options.out_dir is not None:
            raise ValueError("--resume goes on in its own folder: it goes with none of --fork, --overwrite, --out-dir.")
    return made


def run_options(arguments: Arguments, experiment_name: str, out_dir: pathlib.Path) -> RunOptions:
    """All the options of the run: those with flags, and what the texts of the command line stand for."""
    launch = arguments.launch
    return dataclasses.replace(
        arguments.options,
        schedules=schedules.parse(launch.schedule),
        population=population(launch, arguments.options.num_env_steps),
        mesh=_mesh(launch),
        out_dir=out_dir,
        resume=launch.resume is not None,
        extra_settings={"experiment": experiment_name, "seed": launch.seed},
    )


def swept(arguments: Arguments) -> Sweep | list[dict[str, Any]] | None:
    """A sweep over hyperparameters, or a list of changes to the config and the hyperparameters, or None.

    Raises:
        ValueError: for fields that do not exist, or values that they cannot have.
    """
    launch, config, hypers, record = arguments.launch, arguments.config, arguments.hypers, arguments.record
    if not launch.sweep:
        if launch.num_points is not None:
            raise ValueError("--num-points says how many points to draw: give --sweep with distributions, too.")
        return None if record is None else recorded_sweep(record, hypers)
    fields = sweep.parse(launch.sweep)
    names = [[field.name for field in dataclasses.fields(part)] for part in (hypers, config)]
    _, of_config = sweep.split(fields, *names)
    if any(isinstance(values, Distribution) for values in fields.values()):
        if launch.num_points is None:
            raise ValueError("--sweep with distributions draws points: say how many with --num-points.")
        points = sweep.draw(fields, fold_in_name(jax.random.key(launch.seed), "sweep"), launch.num_points)
    else:
        if launch.num_points is not None:
            raise ValueError("--num-points is for distributions; the values of --sweep give all their combinations.")
        points = sweep.product(fields)
    return points if of_config else sweep.points(hypers, points)


def population(launch: Launch, num_env_steps: int) -> PBT | None:
    """Population-based training as ``--evolve`` and ``--evolve-every`` ask for it.

    Raises:
        ValueError: for how often without what.
    """
    if not launch.evolve:
        if launch.evolve_every is not None:
            raise ValueError("--evolve-every says how often to select: name the fields to evolve with --evolve.")
        return None
    return PBT(every=launch.evolve_every or math.ceil(num_env_steps / 20), names=launch.evolve)


def _mesh(launch: Launch) -> jax.sharding.Mesh | None:
    """The devices of ``--trial-devices`` and ``--env-devices``; all there are for several processes."""
    if launch.trial_devices * launch.env_devices > 1:
        return devices.make_mesh(launch.trial_devices, launch.env_devices)
    return devices.make_mesh(len(jax.devices())) if launch.distributed else None


def _preset(experiment: Experiment, env: str | None) -> Arguments:
    """The settings that an environment comes with."""
    env = env or experiment.default_env
    config, hypers, num_env_steps, schedule = experiment.preset(env)
    options = RunOptions(num_env_steps=num_env_steps, num_seeds=_NUM_SEEDS)
    return Arguments(Launch(env=env, schedule=schedule), options, config, hypers, None)


def _with_env_text(launch: Launch, recorded: str) -> Launch:
    """The environment, its arguments and wrappers as one text; a recorded one whose code is trusted stays as it was."""
    env = env_text(launch.env, launch.env_arg, launch.wrap)
    if EnvName.parse(env).is_code and env == base_name(recorded):
        env = recorded
    return dataclasses.replace(launch, env=env, env_arg=(), wrap=())


def _recorded(experiment: Experiment, source: pathlib.Path, given_env: str | None) -> Arguments:
    """The settings that a run was started with, as far as they matter to what it computes.

    Raises:
        ValueError: if there is no run of this experiment.
    """
    record = folder.read_config(source)
    made_by = record.get("experiment") or record["algorithm"]
    if made_by != experiment.name:
        raise ValueError(f"{source} holds a run of {made_by}, not of {experiment.name}: use the command of {made_by}.")
    env, config, hypers = experiment.settings_of(record)
    check_trusted(env, given_env, source)
    options = RunOptions.of_record(record, [field.name for field in dataclasses.fields(hypers)])
    launch = Launch(
        env=env,
        seed=record.get("seed", record["key"][-1]),
        schedule=tuple(f"{name}={schedule}" for name, schedule in (options.schedules or {}).items()),
        evolve=options.population.names if options.population else (),
        evolve_every=options.population.every if options.population else None,
    )
    return Arguments(launch, options, config, hypers, record)


def _check_unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """A run that is resumed keeps its settings; only its length, and what it shows and writes, is the user's.

    Raises:
        ValueError: naming what has another value.
    """
    changed = []
    for part, old in before.items():
        fixed = names_of(old, "fixed") if part in ("launch", "run") else [f.name for f in dataclasses.fields(old)]
        for name in fixed:
            was, now = getattr(old, name), getattr(after[part], name)
            if was != now:
                changed.append(f"--{name.replace('_', '-')} {now} (it was {was})")
    if changed:
        raise ValueError(f"A run that is resumed keeps its settings; drop {', '.join(changed)}, or use --fork.")
