"""Run a kept result again, and say whether it comes out as it did.

    purerl reproduce ppo/CartPole-v1
    purerl reproduce --list

It has come out as it did where the new interquartile mean lies inside the kept 95 % interval, all compared at four
significant digits, as they are printed: so of a kept 500 [500, 500] a new 499.96 is inside, 499.9 is not. Then the exit
code is 0, else 1. A new run is random too where versions or the machine differ, so a mean that lies outside is not yet
wrong: whether the two intervals overlap is said as well.

What is interrupted goes on with the same command and --resume.
"""

import dataclasses
import json
import math
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from purerl import files, xla
from purerl.analysis.statistics import Interval
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.driver.hypers.sweep import Sweep
from purerl.driver.running.loop import train
from purerl.driver.running.result import TrainResult
from purerl.driver.storage import folder, records
from purerl.driver.storage.restore import Recorded, from_record
from purerl.names import near
from purerl.ranges import setting
from purerl.types import PyTree

RESULTS = (
    pathlib.Path(__file__).parents[2] / "experiments" / "results"
)  # of the repository; an installed wheel has none
_NO_RESULTS = "They are in purerl's repository, under experiments/results: say where with --results."
_MAX_CHANGES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which result, and where to."""

    name: tyro.conf.Positional[str | None] = None
    """A kept result, such as ppo/CartPole-v1, or the folder of any run that has ended; None: with --list."""
    list: bool = False
    """Show the kept results and run nothing."""
    results: pathlib.Path = RESULTS
    """Where results are kept, each in FAMILY/NAME with its config.json and summary.json."""
    out_dir: pathlib.Path | None = None
    """Where the new run goes; None: runs/reproduce/NAME."""
    resume: bool = False
    """Go on with a rerun that was interrupted."""
    overwrite: bool = False
    """Replace the rerun that is there."""
    allow: tuple[str, ...] = ()
    """Modules of your own that the run may import, such as that of its environment; whatever is in them runs."""
    progress: bool = True
    """Show a progress bar."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if (self.name is None) != self.list:
            raise ValueError("give the name of a kept result, such as ppo/CartPole-v1, or --list to see them.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with one_line_errors("reproduce", flags=[Options]):
        options = parse_record(Options, arguments, "purerl reproduce", __doc__)
        if options.name is None:
            print("\n".join(listing(options.results)))
            return 0
        config, summary = kept(options.results, options.name)
    out_dir = options.out_dir or pathlib.Path("runs", "reproduce", *pathlib.Path(options.name).resolve().parts[-2:])
    resume = f"purerl reproduce {shlex.quote(options.name)} --resume --out-dir"
    with one_line_errors("reproduce", resume, [Options]):
        xla.set_cpu_flags(threads=options.cpu_threads)
        run = from_record(config, options.allow)
        result = rerun(run, config, out_dir, options)
    lines, inside = report(run, config, summary, result)
    print("\n".join([*lines, f"  files     {out_dir}"]))
    return 0 if inside else 1


def names(results: pathlib.Path) -> list[str]:
    """The kept results."""
    return [path.parent.relative_to(results).as_posix() for path in sorted(results.glob(f"*/*/{folder.CONFIG}"))]


def kept(results: pathlib.Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and summary of a kept result, or of the run in a folder.

    Raises:
        ValueError: if there is none of that name, or it has no final return.
    """
    known = names(results)
    if name not in known and not pathlib.Path(name, folder.CONFIG).is_file():
        hint = f"{near(name, known)}--list shows them all." if known else _NO_RESULTS
        raise ValueError(f"No result {name!r} in {results}. {hint}")
    where = results / name if name in known else pathlib.Path(name)
    path = where / folder.SUMMARY
    try:
        summary = json.loads(path.read_text())
        _interval(summary)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has no final return ({error}): restore it, or run the experiment anew.") from error
    return folder.read_config(where), summary


def listing(results: pathlib.Path) -> list[str]:
    """A line for each kept result: steps, seeds, return, seconds."""
    known = names(results)
    if not known:
        return [f"No results in {results}. {_NO_RESULTS}"]
    width = max((len(name) for name in known), default=0)
    lines = [f"{'result':{width}}  {'steps':>12}  {'seeds':>5}  {'seconds':>8}  return, 95 % interval"]
    for name in known:
        _, summary = kept(results, name)
        trials = f"{summary['num_env_steps']:>12,}  {summary['num_seeds']:>5}"
        lines.append(f"{name:{width}}  {trials}  {_seconds(summary):>8,.0f}  {_interval(summary)}")
    return lines


def rerun(run: Recorded, config: Mapping[str, Any], out_dir: pathlib.Path, options: Options) -> TrainResult:
    """The same once more, with the same key."""
    again = dataclasses.replace(
        run.options,
        out_dir=out_dir,
        resume=options.resume,
        overwrite=options.overwrite,
        progress=options.progress,
        # As the experiment's own command line has it, which so can resume this run as well.
        extra_settings={name: config[name] for name in ("experiment", "seed") if name in config},
    )
    return train(run.algorithm, run.hypers, run.key, again)


def report(
    run: Recorded, config: Mapping[str, Any], summary: Mapping[str, Any], result: TrainResult
) -> tuple[list[str], bool]:
    """Lines for a person, and whether the new result lies inside the kept interval."""
    then, now = _interval(summary), result.final_return
    inside, overlap = is_inside(now.estimate, then), overlaps(now, then)
    verdict = "inside" if inside else "outside, but the intervals overlap" if overlap else "outside; no overlap"
    new = result.summary
    since = f" (from step {new['resumed_at_step']:,} on)" if new["resumed_at_step"] else ""
    same = summary["final_return_of_each_seed"] == files.plain(new["final_return_of_each_seed"])
    return [
        f"{new['title']}: {new['num_seeds']} seeds, {new['num_env_steps']:,} steps each",
        f"  kept      {then}, interquartile mean over seeds with its 95 % interval ({new['final_return_is']})",
        f"  now       {now}{', the same in every seed' if same else ''}",
        f"  verdict   {verdict}",
        f"  settings  {_few(changed_settings(run)) or 'those of the preset'}",
        f"  versions  {_few(_changed_code(config)) or 'as they were'}",
        f"  time      {_seconds(summary):,.0f} s then, {_seconds(new):,.0f} s now{since}",
    ], inside


def final_return(summary: Mapping[str, Any]) -> Interval:
    """The final return of a ``summary.json``, where NaN is null."""
    return Interval.of_record(summary["final_return"], summary["num_seeds"])


def is_inside(estimate: float, kept: Interval) -> bool:
    """Whether an estimate lies in an interval, at four significant digits."""
    low, high = _ends(kept)
    return low <= _rounded(estimate) <= high


def overlaps(one: Interval, other: Interval) -> bool:
    """Whether two intervals have a point in common, at four significant digits."""
    (low, high), (other_low, other_high) = _ends(one), _ends(other)
    return low <= other_high and other_low <= high


def changed_settings(run: Recorded) -> list[str]:
    """Where a kept result's settings are not those of today's preset; empty where they are."""
    if run.experiment is None:
        return ["there are no presets for it"]
    preset = run.experiment.preset(run.env_name)
    first = run.hypers.point(0) if isinstance(run.hypers, Sweep) else run.hypers
    then = _settings(run.config, first, run.options.num_env_steps)
    completed = run.experiment.complete(preset.hypers, preset.config, preset.num_env_steps)
    return folder.differences(then, _settings(preset.config, completed, preset.num_env_steps))


def _settings(config: Any, hypers: PyTree, num_env_steps: int) -> dict[str, Any]:
    """What a preset fixes, as plain values by name."""
    return {**dataclasses.asdict(config), **records.plain(hypers), "steps": num_env_steps}


def _changed_code(then: Mapping[str, Any]) -> list[str]:
    """Versions, source files and the device where they are not as they were. Older records lack some of them."""
    now = records.versions()
    comparable = now if "sources" in then else {**now, "sources": {}}
    found = folder.changed_code({"versions": {}, **then}, comparable)
    if then.get("device", now["device"]) != now["device"]:
        found.append(f"{then['device']} then, {now['device']} now")
    return found


def _few(items: Sequence[str]) -> str:
    """The first few of a list, in a line."""
    more = [f"and {len(items) - _MAX_CHANGES} more"] if len(items) > _MAX_CHANGES else []
    return "; ".join([*items[:_MAX_CHANGES], *more])


def _interval(summary: Mapping[str, Any]) -> Interval:
    """The final return of a kept result.

    Raises:
        ValueError: if there is none.
    """
    found = final_return(summary)
    if math.isnan(found.estimate):
        raise ValueError("no seed has any")
    return found


def _ends(found: Interval) -> tuple[float, float]:
    """Both ends of an interval, rounded; of one seed's the value itself."""
    low, high = (found.estimate if math.isnan(end) else end for end in (found.low, found.high))
    return _rounded(low), _rounded(high)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _seconds(summary: Mapping[str, Any]) -> float:
    """All that a run has measured of its time."""
    return sum(value for name, value in summary.items() if name.endswith("_seconds"))


if __name__ == "__main__":
    sys.exit(main())
