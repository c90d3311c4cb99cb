"""From a command line to a finished run, for any algorithm: flags come from its Config and Hypers dataclasses."""

import argparse
import dataclasses
import datetime
import math
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tyro

from purerl import xla
from purerl.train.loop import TrainResult, train


class Preset(NamedTuple):
    """Settings that work on one environment."""

    config: Any
    hypers: Any
    num_env_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to run, how long, and what to leave behind."""

    env: str
    """Environment. Its preset, where there is one, gives every other default shown here."""
    num_env_steps: int
    """Environment steps of each seed; rounded up to whole updates."""
    num_seeds: int = 8
    """Independent runs, all at once."""
    seed: int = 0
    """Fixes everything random about the run."""
    eval_every: int | None = None
    """Environment steps between evaluations; None: 20 over the run, 0: none."""
    num_eval_episodes: int = 32
    """Episodes of each evaluation, in fresh environments, with the mode of the policy."""
    log_every: int | None = None
    """Environment steps between log entries; None: 100 over the run."""
    seeds_at_once: int | None = None
    """Seeds to run side by side, the others waiting their turn; None: all. On a CPU, 1 is faster for large batches."""
    out_dir: pathlib.Path | None = None
    """Where results go; None: runs/EXPERIMENT/TIME-ENV."""
    curve: pathlib.Path | None = None
    """Also write the learning curve to this image."""
    progress: bool = True
    """Show a progress bar."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core. One is faster for a lone run of a small network."""
    small_loops: bool = False
    """Let XLA compile whole loops into one function: faster on a CPU where the arrays in them are tiny."""

    def __post_init__(self) -> None:
        for name in ("num_env_steps", "num_seeds", "num_eval_episodes", "seeds_at_once", "cpu_threads", "log_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} = {value}: it must be at least 1.")
        if self.eval_every is not None and self.eval_every < 0:
            raise ValueError(f"eval_every = {self.eval_every}: use 0 for no evaluation.")


def main(
    name: str,
    description: str,
    make_env: Callable,
    make_algorithm: Callable,
    presets: Mapping[str, Preset],
    default_env: str,
    fallback: Preset,
    complete: Callable[[Any, Any, int], Any] = lambda hypers, config, num_env_steps: hypers,
    arguments: Sequence[str] | None = None,
) -> TrainResult:
    """Parse a command line, train, print what came of it.

    Args:
        name: of the experiment, for its folder under ``runs/``.
        description: first lines of ``--help``.
        make_env: ``(env name) -> environment``.
        make_algorithm: ``(env, config) -> Algorithm``.
        presets: settings by environment name.
        default_env: environment when ``--env`` is not given; has a preset.
        fallback: settings for environments without a preset.
        complete: ``(hypers, config, num_env_steps) -> hypers``, fills in what depends on the run's length.
        arguments: the command line; None: ``sys.argv[1:]``.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options, config, hypers = _parse(name, description, presets, default_env, fallback, arguments)
    xla.set_cpu_flags(threads=options.cpu_threads, small_loops=options.small_loops)
    import jax  # after the flags

    try:
        algorithm = make_algorithm(make_env(options.env), config)
    except ValueError as error:
        sys.exit(f"{name}: {error}")
    time_name = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{options.env.replace('/', '-')}"
    out_dir = options.out_dir or pathlib.Path("runs", name, time_name)
    try:
        result = train(
            algorithm,
            complete(hypers, config, options.num_env_steps),
            jax.random.key(options.seed),
            num_env_steps=options.num_env_steps,
            num_seeds=options.num_seeds,
            eval_every=options.eval_every,
            num_eval_episodes=options.num_eval_episodes,
            log_every=options.log_every,
            seeds_at_once=options.seeds_at_once,
            out_dir=out_dir,
            progress=options.progress,
        )
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted. What was measured until then is in {out_dir}.", file=sys.stderr)
        sys.exit(130)
    if options.curve is not None:
        result.plot(options.curve)
    print(report(result, out_dir, options.curve))
    return result


def report(result: TrainResult, out_dir: pathlib.Path, curve: pathlib.Path | None = None) -> str:
    """A few lines that tell a person how the run went and where its files are."""
    summary = result.summary
    seeds = summary["num_seeds"]
    lines = [
        f"{summary['title']}: {seeds} seed{'s' if seeds > 1 else ''}, {summary['num_env_steps']:,} steps each",
        f"  return   {result.final_return}, interquartile mean over seeds with its 95 % interval "
        f"({summary['final_return_is']})",
        *([f"  warning  {summary['num_diverged']} diverged"] if summary["num_diverged"] else []),
        f"  time     compile {summary['compile_seconds']:.1f} s, training {summary['run_seconds']:.1f} s, "
        f"evaluation {summary['eval_seconds']:.1f} s",
        f"  speed    {summary['env_steps_per_second']:,.0f} environment steps per second, all seeds together",
        f"  files    {out_dir}{f', {curve}' if curve else ''}",
    ]
    return "\n".join(lines)


def decay_over_run(num_optimizer_steps: int, hypers: Any) -> Any:
    """Let schedules that have no length of their own span the run."""
    if math.isinf(hypers.decay_steps):
        return hypers.replace(decay_steps=float(num_optimizer_steps))
    return hypers


def _parse(name, description, presets, default_env, fallback, arguments):
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env", default=default_env)
    env = first.parse_known_args(arguments)[0].env
    preset = presets.get(env, fallback)

    defaults = {
        "run": RunOptions(env=env, num_env_steps=preset.num_env_steps),
        "config": preset.config,
        "hypers": preset.hypers,
    }
    # One flag for every field, without a prefix; the classes are known only now.
    fields = [(name, type(default)) for name, default in defaults.items()]
    arguments_class = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    known = f"Presets: {', '.join(presets)}."
    parsed = tyro.cli(
        arguments_class,
        prog=f"python -m experiments.{name}",
        description=f"{description}\n\n{known}",
        args=arguments,
        default=arguments_class(**defaults),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return parsed.run, parsed.config, parsed.hypers
