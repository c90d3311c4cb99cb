"""From a command line to a finished run, for any experiment: flags come from its Config and Hypers dataclasses."""

import argparse
import contextlib
import dataclasses
import datetime
import math
import pathlib
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TextIO

import tyro

from purerl import files, xla
from purerl.driver.command_line.experiment import Experiment, Preset, recorded_sweep
from purerl.driver.hypers import sweep
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.schedules import parse as parse_schedules
from purerl.driver.hypers.sweep import Distribution
from purerl.driver.running.interruption import Interrupted
from purerl.driver.running.loop import train
from purerl.driver.running.result import Point, TrainResult
from purerl.driver.storage import folder

__all__ = ["Experiment", "Preset", "RunOptions", "decay_over_run", "main", "one_line_errors", "report"]

_MAX_ROWS = 10
_POSITIVE = (
    *("num_env_steps", "num_seeds", "num_points", "evolve_every", "num_eval_episodes", "log_every"),
    *("members_at_once", "checkpoint_every", "keep_checkpoints", "member_devices", "env_devices", "cpu_threads"),
)
# What decides what a run computes and records, besides its config and hyperparameters.
_FIXED = (
    *("env", "num_seeds", "seed", "sweep", "num_points", "schedule", "evolve", "evolve_every"),
    *("eval_every", "num_eval_episodes", "log_every", "members_at_once"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to run, how long, and what to leave behind."""

    env: str
    """Environment. Its preset, where there is one, gives every other default shown here."""
    num_env_steps: int
    """Environment steps of each seed; rounded up to whole updates."""
    num_seeds: int = 8
    """Independent runs of each point, all at once."""
    seed: int = 0
    """Fixes everything random about the run."""
    sweep: tuple[str, ...] = ()
    """Fields to sweep: learning_rate=1e-4,3e-4 clip_epsilon=0.1,0.2; or at random, with --num-points:
    learning_rate=log_uniform(1e-5,1e-2) gamma=choice(0.9,0.99). Each gets --num-seeds seeds."""
    num_points: int | None = None
    """How many points to draw where --sweep has distributions."""
    schedule: tuple[str, ...] = ()
    """Fields that move over the run: learning_rate=linear:0 clip_epsilon=cosine:0.05
    entropy_coef=piecewise:0.5:0.005,0.8:0."""
    evolve: tuple[str, ...] = ()
    """Fields to evolve by population-based training, starting from the points of --sweep."""
    evolve_every: int | None = None
    """Environment steps between selections; None: 20 over the run."""
    eval_every: int | None = None
    """Environment steps between evaluations; None: 20 over the run, 0: none."""
    num_eval_episodes: int = 32
    """Episodes of each evaluation, in fresh environments, with the mode of the policy."""
    log_every: int | None = None
    """Environment steps between log entries; None: 100 over the run."""
    members_at_once: int | None = None
    """Seeds and points to run side by side on a device, the others waiting their turn; None: all that fit. On a CPU,
    1 is faster for large batches."""
    out_dir: pathlib.Path | None = None
    """Where results go; None: runs/EXPERIMENT/TIME-ENV."""
    overwrite: bool = False
    """Replace the run that is in --out-dir."""
    resume: pathlib.Path | None = None
    """Go on with the run in this folder, with its settings, from its last checkpoint; --num-env-steps may be larger."""
    fork: pathlib.Path | None = None
    """Start from a checkpoint of the run in this folder, in a folder of its own; its settings are the defaults."""
    from_step: int | None = None
    """Environment step of the checkpoint for --fork; None: the last."""
    checkpoint_every: int | None = None
    """Environment steps between checkpoints; None: at evaluations, at most one a minute, and at the end."""
    keep_checkpoints: int = 3
    """How many of the last checkpoints to keep, besides the one with the best evaluation."""
    wandb: str | None = None
    """Project of Weights & Biases to log to as well."""
    curve: pathlib.Path | None = None
    """Also write the learning curve to this image."""
    progress: bool = True
    """Show a progress bar."""
    debug_nans: bool = False
    """When a seed diverges, stop and say which operation began it."""
    member_devices: int = 1
    """Devices to spread seeds and points over."""
    env_devices: int = 1
    """Devices to spread the environments of each run over."""
    distributed: bool = False
    """One of several processes that run together; found out from Slurm, Kubernetes or the TPU, or told by the next."""
    coordinator: str | None = None
    """HOST:PORT of the first process, for --distributed."""
    num_processes: int | None = None
    """How many processes, for --distributed."""
    process_id: int | None = None
    """Which of them this is, from 0, for --distributed."""
    compile_cache: pathlib.Path | None = None
    """Keep compiled programs in this folder: the next run of the same shapes starts sooner."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core. One is faster for a lone run of a small network."""
    small_loops: bool = False
    """Let XLA compile whole loops into one function: faster on a CPU where the arrays in them are tiny."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} = {value}: it must be at least 1.")
        if self.eval_every is not None and self.eval_every < 0:
            raise ValueError(f"eval_every = {self.eval_every}: use 0 for no evaluation.")
        if self.resume is not None and (self.fork is not None or self.overwrite or self.out_dir is not None):
            raise ValueError("resume goes on in its own folder: it goes with none of fork, overwrite and out_dir.")


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> TrainResult | None:
    """Parse a command line, train, print what came of it.

    Args:
        experiment: what to run.
        arguments: the command line; None: ``sys.argv[1:]``.

    Returns:
        The result; None for a sweep over fields of the config, which is several runs.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with one_line_errors(experiment.name, f"python -m experiments.{experiment.name} --resume"):
        options, config, hypers, record = _parse(experiment, arguments)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=options.small_loops)
        _prepare_jax(options)
        swept = _swept(options, config, hypers, record)
        if isinstance(swept, list):
            _train_each(experiment, options, config, swept, hypers)
            return None
        out_dir = _out_dir(experiment, options)
        result = _train(experiment, options, config, hypers, swept, record, out_dir)
    if options.curve is not None and _speaks():
        result.plot(options.curve)
    _say(report(result, out_dir, options.curve), sys.stdout)
    if _speaks() and not (out_dir / folder.SUMMARY).exists():  # the disk was full, and a warning has said so
        sys.exit(1)
    return result


def report(result: TrainResult, out_dir: pathlib.Path, curve: pathlib.Path | None = None) -> str:
    """A few lines that tell a person how the run went and where its files are."""
    summary = result.summary
    seeds, points, blocks = summary["num_seeds"], summary["num_points"], summary["num_blocks"]
    members = f"{points} points of {seeds} seeds" if result.sweep else f"{seeds} seed{'s' if seeds > 1 else ''}"
    what = "the best point's interquartile mean" if result.sweep else "interquartile mean"
    resumed = f", resumed at step {summary['resumed_at_step']:,}" if summary["resumed_at_step"] else ""
    side_by_side = f" in {blocks} blocks of {summary['members_on_device']} on a device" if blocks > 1 else ""
    lines = [
        f"{summary['title']}: {members}{side_by_side}, {summary['num_env_steps']:,} steps each{resumed}",
        f"  return   {result.final_return}, {what} over seeds with its 95 % interval ({summary['final_return_is']})",
        *([f"  warning  {summary['num_diverged']} diverged: see summary.json"] if summary["num_diverged"] else []),
        *_table(result.table() if result.sweep else []),
        f"  time     trace {summary['trace_seconds']:.1f} s, compile {summary['compile_seconds']:.1f} s, training "
        f"{summary['run_seconds']:.1f} s, evaluation {summary['eval_seconds']:.1f} s",
        f"  speed    {summary['env_steps_per_second']:,.0f} environment steps per second, all seeds together",
        f"  memory   {_bytes(summary['bytes_per_member'])} for each seed; the {summary['peak_bytes_of']}'s peak "
        f"{_bytes(summary['peak_bytes'])}",
        f"  files    {out_dir}{f', {curve}' if curve else ''}",
    ]
    return "\n".join(lines)


def decay_over_run(num_optimizer_steps: int, hypers: Any) -> Any:
    """Let schedules that have no length of their own span the run."""
    if math.isinf(hypers.decay_steps):
        return hypers.replace(decay_steps=float(num_optimizer_steps))
    return hypers


# --- from arguments to settings ---------------------------------------------------------------------------


def _parse(experiment: Experiment, arguments: Sequence[str]) -> tuple[RunOptions, Any, Any, dict[str, Any] | None]:
    """Options, config, hyperparameters, and what the run to resume or fork recorded."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env")
    first.add_argument("--resume", type=pathlib.Path)
    first.add_argument("--fork", type=pathlib.Path)
    known = first.parse_known_args(arguments)[0]
    record = None
    source = known.resume or known.fork
    if source is None:
        env = known.env or experiment.default_env
        config, hypers, num_env_steps, schedule = experiment.preset(env)
        run = RunOptions(env=env, num_env_steps=num_env_steps, schedule=schedule)
    else:
        record = folder.read_config(source)
        made_by = record.get("experiment") or record["algorithm"]
        if made_by != experiment.name:
            raise ValueError(f"{source} holds a run of {made_by}: use python -m experiments.{made_by}.")
        env, config, hypers = experiment.settings_of(record)
        run = _recorded_options(env, record)

    defaults = {"run": run, "config": config, "hypers": hypers}
    # One flag for every field, without a prefix; the classes are known only now.
    fields = [(name, type(default)) for name, default in defaults.items()]
    arguments_class = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    parsed = tyro.cli(
        arguments_class,
        prog=f"python -m experiments.{experiment.name}",
        description=f"{experiment.description}\n\nPresets: {', '.join(experiment.presets)}.",
        args=arguments,
        default=arguments_class(**defaults),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if known.resume is not None:
        _check_unchanged(defaults, {name: getattr(parsed, name) for name in defaults})
    return parsed.run, parsed.config, parsed.hypers, record


def _recorded_options(env: str, record: dict[str, Any]) -> RunOptions:
    """The options that a run was started with, as far as they matter to what it computes."""
    population = record.get("population")
    return RunOptions(
        env=env,
        schedule=tuple(f"{name}={text}" for name, text in record.get("schedules", {}).items()),
        evolve=tuple(population["names"]) if population else (),
        evolve_every=population["every"] if population else None,
        seed=record.get("seed", record["key"][-1]),
        **{
            name: record[name]
            for name in (
                "num_env_steps",
                "num_seeds",
                "eval_every",
                "num_eval_episodes",
                "log_every",
                "members_at_once",
            )
        },
    )


def _check_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    """A run that is resumed keeps its settings; only its length, and what it shows and writes, is the user's.

    Raises:
        ValueError: naming what has another value.
    """
    changed = [
        f"--{field.name.replace('_', '-')} {getattr(after[part], field.name)} (it was "
        f"{getattr(before[part], field.name)})"
        for part in before
        for field in dataclasses.fields(before[part])
        if (part != "run" or field.name in _FIXED)
        and getattr(before[part], field.name) != getattr(after[part], field.name)
    ]
    if changed:
        raise ValueError(f"A run that is resumed keeps its settings; drop {', '.join(changed)}, or use --fork.")


def _swept(options: RunOptions, config: Any, hypers: Any, record: dict[str, Any] | None):
    """A sweep over hyperparameters, or a list of changes to the config and the hyperparameters, or None.

    Raises:
        ValueError: for fields that do not exist, or values that they cannot have.
    """
    import jax

    if not options.sweep:
        if options.num_points is not None:
            raise ValueError("--num-points says how many points to draw: give --sweep with distributions, too.")
        return None if record is None else recorded_sweep(record, hypers)
    fields = sweep.parse(options.sweep)
    names = [[field.name for field in dataclasses.fields(part)] for part in (hypers, config)]
    _, of_config = sweep.split(fields, *names)
    if any(isinstance(values, Distribution) for values in fields.values()):
        if options.num_points is None:
            raise ValueError("--sweep with distributions draws points: say how many with --num-points.")
        points = sweep.draw(fields, fold_in_name(jax.random.key(options.seed), "sweep"), options.num_points)
    else:
        if options.num_points is not None:
            raise ValueError("--num-points is for distributions; the values of --sweep give all their combinations.")
        points = sweep.product(fields)
    if not of_config:
        return sweep.points(hypers, points)
    return points


# --- running ----------------------------------------------------------------------------------------------


def _train(experiment: Experiment, options: RunOptions, config, hypers, swept, record, out_dir) -> TrainResult:
    import jax

    from purerl.driver.running import devices

    algorithm = experiment.make_algorithm(experiment.make_env(options.env), config)
    members = hypers if swept is None else swept
    if not (options.resume and record):

        def complete(hypers: Any) -> Any:
            return experiment.complete(hypers, config, options.num_env_steps)

        members = complete(hypers) if swept is None else _completed(swept, complete)
    several = options.member_devices * options.env_devices > 1
    mesh = devices.make_mesh(options.member_devices, options.env_devices) if several else None
    if options.distributed and mesh is None:
        mesh = devices.make_mesh(members=len(jax.devices()))
    return train(
        algorithm,
        members,
        jax.random.key(options.seed),
        num_env_steps=options.num_env_steps,
        num_seeds=options.num_seeds,
        eval_every=options.eval_every,
        num_eval_episodes=options.num_eval_episodes,
        log_every=options.log_every,
        schedules=parse_schedules(options.schedule),
        population=_population(options),
        members_at_once=options.members_at_once,
        mesh=mesh,
        out_dir=out_dir,
        overwrite=options.overwrite,
        resume=options.resume is not None,
        fork=options.fork,
        from_step=options.from_step,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=options.keep_checkpoints,
        wandb=options.wandb,
        debug_nans=options.debug_nans,
        progress=options.progress,
        extra_settings={"experiment": experiment.name, "seed": options.seed},
    )


def _train_each(experiment: Experiment, options: RunOptions, config: Any, points: list[dict[str, Any]], hypers: Any):
    """A sweep over fields of the config: they fix shapes, so each of their values is a program of its own."""
    names = [name for name in points[0] if name in {field.name for field in dataclasses.fields(config)}]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for point in points:
        of_hypers = {name: value for name, value in point.items() if name not in names}
        groups.setdefault(tuple(point[name] for name in names), []).append(of_hypers)
    configs = [dataclasses.replace(config, **dict(zip(names, values, strict=True))) for values in groups]
    out_dir = _out_dir(experiment, options)
    _say(f"{', '.join(names)}: fixed at compile time, so {len(groups)} programs, one after the other.")
    rows = []
    for (values, rest), one_config in zip(groups.items(), configs, strict=True):
        label = " ".join(f"{name}={_plain(value)}" for name, value in zip(names, values, strict=True))
        _say(f"{label}:")
        swept = sweep.points(hypers, rest) if rest[0] else None
        where = out_dir / label.replace(" ", ",")
        result = _train(experiment, options, one_config, hypers, swept, None, where)
        if result.sweep is None:
            rows.append((label, result.final_return, result.summary["num_diverged"]))
        else:
            rows += [(f"{label} {_label(p)}", p.final_return, p.num_diverged) for p in result.table()]
    rows.sort(key=lambda row: (row[2] > 0, math.inf if math.isnan(row[1].estimate) else -row[1].estimate))
    table = [{"values": label, "final_return": final._asdict(), "num_diverged": n} for label, final, n in rows]
    if _speaks():
        files.write_json(out_dir / folder.SUMMARY, {"points": table})
    lines = [f"{experiment.name} on {options.env}: {len(rows)} points", *_lines(rows), f"  files    {out_dir}"]
    _say("\n".join(lines), sys.stdout)


def _completed(swept: sweep.Sweep, complete) -> sweep.Sweep:
    """A sweep with every point completed."""
    import jax
    import jax.numpy as jnp

    points = [complete(swept.point(i)) for i in range(swept.num_points)]
    stacked = jax.tree.map(
        lambda like, *leaves: jnp.stack([jnp.asarray(x, like.dtype) for x in leaves]), swept.hypers, *points
    )
    return swept._replace(hypers=stacked)


def _population(options: RunOptions) -> PBT | None:
    if not options.evolve:
        if options.evolve_every is not None:
            raise ValueError("--evolve-every says how often to select: name the fields to evolve with --evolve.")
        return None
    every = options.evolve_every or math.ceil(options.num_env_steps / 20)
    return PBT(every=every, names=options.evolve)


def _out_dir(experiment: Experiment, options: RunOptions) -> pathlib.Path:
    from purerl.driver.running import devices

    given = options.resume or options.out_dir
    if given is not None:
        return given
    now = datetime.datetime.fromtimestamp(devices.agree(int(time.time())))
    return pathlib.Path("runs", experiment.name, f"{now:%Y%m%d-%H%M%S}-{options.env.replace('/', '-')}")


def _prepare_jax(options: RunOptions) -> None:
    """What must be told to JAX before it touches a device."""
    import jax

    if options.compile_cache is not None:
        options.compile_cache.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(options.compile_cache.absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if options.distributed:
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM until we listen
        try:
            jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"--distributed: {error}") from error
        if not _speaks():
            warnings.simplefilter("ignore")


def _speaks() -> bool:
    """Whether this is the only process, or the first of several; without starting JAX to find out."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0


def _say(text: str, file: TextIO | None = None) -> None:
    """Print, on stderr unless told otherwise, in the first process alone."""
    if _speaks():
        print(text, file=file or sys.stderr)


@contextlib.contextmanager
def one_line_errors(name: str, resume: str = "") -> Iterator[None]:
    """What the user can put right: one line, exit code 2. What interrupted: with the command that resumes.

    Args:
        name: of the command.
        resume: the command that goes on with a run, to be followed by its folder.
    """
    try:
        yield
    except Interrupted as interrupted:
        line = f"{name}: {interrupted}"
        if interrupted.folder is not None:
            line += f"\n  {resume} {shlex.quote(str(interrupted.folder))}"
        _say(f"\n{line}")
        sys.exit(128 + interrupted.signal)
    except KeyboardInterrupt:
        _leave(f"{name}: interrupted.", 130)
    except FloatingPointError as error:
        _leave(f"{name}: {error}", 1)
    except (ValueError, OSError) as error:
        _leave(f"{name}: {error}", 2)


def _leave(line: str, code: int) -> NoReturn:
    print(f"\n{line}" if code > 2 else line, file=sys.stderr)
    sys.exit(code)


def _table(points: list[Point]) -> list[str]:
    return _lines([(_label(point), point.final_return, point.num_diverged) for point in points])


def _lines(rows: list[tuple[str, Any, int]]) -> list[str]:
    """Ranked points, a line each."""
    width = max((len(label) for label, _, _ in rows), default=0)
    shown = [
        f"  {'points' if i == 0 else '':8} {label:{width}}  {final}{f'  ({diverged} diverged)' if diverged else ''}"
        for i, (label, final, diverged) in enumerate(rows[:_MAX_ROWS])
    ]
    return shown + ([f"           and {len(rows) - _MAX_ROWS} more in summary.json"] if len(rows) > _MAX_ROWS else [])


def _label(point: Point) -> str:
    return " ".join(f"{name}={_plain(value)}" for name, value in point.values.items())


def _plain(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else "x".join(map(str, value))
        if isinstance(value, tuple)
        else str(value)
    )


def _bytes(number: float | None) -> str:
    if number is None:
        return "unknown"
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
