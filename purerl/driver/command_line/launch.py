"""Launch an experiment: from a command line to a finished run."""

import dataclasses
import datetime
import math
import pathlib
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from purerl import files, xla
from purerl.analysis import plots
from purerl.driver.command_line.arguments import Arguments, Launch, parse, run_options, swept
from purerl.driver.command_line.compile_cache import keep_compiled_programs
from purerl.driver.command_line.console import one_line_errors, say, speaks
from purerl.driver.command_line.environments import make_env
from purerl.driver.command_line.experiment import Experiment
from purerl.driver.command_line.report import ranked_lines, report
from purerl.driver.hypers import sweep
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.options import RunOptions
from purerl.driver.running import devices
from purerl.driver.running.loop import train
from purerl.driver.running.result import TrainResult, plain
from purerl.driver.storage import folder


def main(experiment: Experiment, words: Sequence[str] | None = None, prog: str | None = None) -> TrainResult | None:
    """Parse a command line, train, print what came of it.

    Args:
        experiment: what to run.
        words: the command line; None: ``sys.argv[1:]``.
        prog: what it is called in help and messages; None: ``python -m experiments.NAME``.

    Returns:
        The result; None for a sweep over fields of the config, which is several runs.
    """
    words = sys.argv[1:] if words is None else list(words)
    prog = prog or f"python -m experiments.{experiment.name}"
    flags = (Launch, RunOptions, experiment.fallback.config, experiment.fallback.hypers)
    with one_line_errors(experiment.name, f"{prog} --resume", flags):
        arguments = parse(experiment, words, prog)
        launch = arguments.launch
        xla.set_cpu_flags(threads=launch.cpu_threads, small_loops=launch.small_loops)
        _prepare_jax(launch)
        points = swept(arguments)
        out_dir = _out_dir(experiment, arguments)
        if isinstance(points, list):
            _train_each(experiment, arguments, points, out_dir)
            return None
        if launch.curve is not None:
            plots.check_can_save(launch.curve)
        result = _train(experiment, arguments, points, out_dir)
        _tell(result, out_dir, launch.curve)
    return result


def _tell(result: TrainResult, out_dir: pathlib.Path, curve: pathlib.Path | None) -> None:
    """Print the report, draw the curve.

    Raises:
        SystemExit: with status 1 if a file could not be written, or no seed is left that did not diverge.
    """
    failure = None
    if curve is not None and speaks():
        try:
            result.plot(curve)
        except (OSError, ValueError) as error:  # of no consequence for what was trained
            failure = f"{curve} is not drawn: {error}"
    say(report(result, out_dir, None if failure else curve), sys.stdout)
    if failure:
        say(failure)
    all_diverged = result.summary["num_diverged"] == result.summary["num_points"] * result.summary["num_seeds"]
    # Without a summary, the disk was full, and a warning has said so.
    if failure or all_diverged or (speaks() and not (out_dir / folder.SUMMARY).exists()):
        sys.exit(1)


def _train(experiment: Experiment, arguments: Arguments, points: Sweep | None, out_dir: pathlib.Path) -> TrainResult:
    """One run: of a sweep over hyperparameters, or of those of the command line."""
    launch, config = arguments.launch, arguments.config
    algorithm = experiment.make_algorithm(make_env(experiment, launch.env), config)

    def complete(hypers: Any) -> Any:
        return experiment.complete(hypers, config, arguments.options.num_env_steps)

    hypers = arguments.hypers if points is None else points
    if launch.resume is None:
        hypers = complete(hypers) if points is None else _completed(points, complete)
    options = run_options(arguments, experiment.name, out_dir)
    return train(algorithm, hypers, jax.random.key(launch.seed), options)


def _train_each(
    experiment: Experiment, arguments: Arguments, points: list[dict[str, Any]], out_dir: pathlib.Path
) -> None:
    """A sweep over fields of the config: they fix shapes, so each of their values is a program of its own."""
    names = [name for name in points[0] if name in {field.name for field in dataclasses.fields(arguments.config)}]
    if arguments.launch.curve is not None:
        raise ValueError(
            f"--curve is for one run: a sweep over {', '.join(names)} is several, each with its curve.png."
        )
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for point in points:
        of_hypers = {name: value for name, value in point.items() if name not in names}
        groups.setdefault(tuple(point[name] for name in names), []).append(of_hypers)
    fields = [dict(zip(names, values, strict=True)) for values in groups]
    configs = [dataclasses.replace(arguments.config, **changes) for changes in fields]  # all, before the first runs
    say(f"{', '.join(names)}: fixed at compile time, so {len(groups)} programs, one after the other.")
    rows = []
    for changes, config, rest in zip(fields, configs, groups.values(), strict=True):
        label = " ".join(f"{name}={plain(value)}" for name, value in changes.items())
        say(f"{label}:")
        inner = sweep.points(arguments.hypers, rest) if rest[0] else None
        changed = arguments._replace(config=config, record=None)
        rows += _rows(label, _train(experiment, changed, inner, out_dir / label.replace(" ", ",")))
    rows.sort(key=lambda row: (row[2] > 0, math.inf if math.isnan(row[1].estimate) else -row[1].estimate))
    table = [{"values": label, "final_return": final._asdict(), "num_diverged": n} for label, final, n in rows]
    if speaks():
        files.write_json(out_dir / folder.SUMMARY, {"points": table})
    head = f"{experiment.name} on {arguments.launch.env}: {len(rows)} points"
    say("\n".join([head, *ranked_lines(rows), f"  files    {out_dir}"]), sys.stdout)
    if all(math.isnan(final.estimate) and num_diverged for _, final, num_diverged in rows):
        sys.exit(1)


def _rows(label: str, result: TrainResult) -> list[tuple[str, Any, int]]:
    """What there is to rank of one run: label, final return, how many seeds diverged."""
    if result.sweep is None:
        return [(label, result.final_return, result.summary["num_diverged"])]
    return [(f"{label} {point.label}", point.final_return, point.num_diverged) for point in result.table()]


def _completed(points: Sweep, complete: Callable[[Any], Any]) -> Sweep:
    """A sweep with every point completed."""
    completed = [complete(points.point(i)) for i in range(points.num_points)]
    stacked = jax.tree.map(
        lambda like, *leaves: np.stack([np.asarray(x, like.dtype) for x in leaves]), points.hypers, *completed
    )
    return points._replace(hypers=stacked)


def _out_dir(experiment: Experiment, arguments: Arguments) -> pathlib.Path:
    """Where the run writes, the same in every process."""
    given = arguments.launch.resume or arguments.options.out_dir
    if given is not None:
        return given
    now = datetime.datetime.fromtimestamp(devices.agree(int(time.time())))
    return pathlib.Path("runs", experiment.name, f"{now:%Y%m%d-%H%M%S}-{_slug(arguments.launch.env)}")


def _slug(text: str) -> str:
    """A text as part of a folder's name: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", text)[:80].strip("-")


def _prepare_jax(launch: Launch) -> None:
    """What must be told to JAX before it touches a device."""
    notice = keep_compiled_programs() if launch.compile_cache else None
    if launch.distributed:
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM until we listen
        try:
            jax.distributed.initialize(launch.coordinator, launch.num_processes, launch.process_id)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"--distributed: {error}") from error
        if not speaks():
            warnings.simplefilter("ignore")
    if notice is not None:
        say(notice)
