"""The report of a finished run in a few lines of text, and the ranked points of a sweep."""

import pathlib
from typing import Any

from purerl.driver.running.result import Point, TrainResult

_MAX_ROWS = 10


def report(result: TrainResult, out_dir: pathlib.Path, curve: pathlib.Path | None = None) -> str:
    """A few lines that tell a person how the run went and where its files are."""
    summary = result.summary
    seeds, points, blocks = summary["num_seeds"], summary["num_points"], summary["num_blocks"]
    trials = f"{points} points of {seeds} seeds" if result.sweep else f"{seeds} seed{'s' if seeds > 1 else ''}"
    what = "the best point's interquartile mean" if result.sweep else "interquartile mean"
    resumed = f", resumed at step {summary['resumed_at_step']:,}" if summary["resumed_at_step"] else ""
    side_by_side = f" in {blocks} blocks of {summary['trials_on_device']} on a device" if blocks > 1 else ""
    lines = [
        f"{summary['title']}: {trials}{side_by_side}, {summary['num_env_steps']:,} steps each{resumed}",
        f"  return   {result.final_return}, {what} over seeds with its 95 % interval ({summary['final_return_is']})",
        *([f"  warning  {summary['num_diverged']} diverged: see summary.json"] if summary["num_diverged"] else []),
        *_table(result.table() if result.sweep else []),
        f"  time     trace {summary['trace_seconds']:.1f} s, compile {summary['compile_seconds']:.1f} s, training "
        f"{summary['run_seconds']:.1f} s, evaluation {summary['eval_seconds']:.1f} s",
        f"  speed    {summary['env_steps_per_second']:,.0f} environment steps per second, all seeds together",
        f"  memory   {_bytes(summary['bytes_per_trial'])} for each seed; the {summary['peak_bytes_of']}'s peak "
        f"{_bytes(summary['peak_bytes'])}",
        f"  files    {out_dir}{f', {curve}' if curve else ''}",
    ]
    return "\n".join(lines)


def ranked_lines(rows: list[tuple[str, Any, int]]) -> list[str]:
    """Ranked points, a line each."""
    width = max((len(label) for label, _, _ in rows), default=0)
    shown = [
        f"  {'points' if i == 0 else '':8} {label:{width}}  {final}{f'  ({diverged} diverged)' if diverged else ''}"
        for i, (label, final, diverged) in enumerate(rows[:_MAX_ROWS])
    ]
    return shown + ([f"           and {len(rows) - _MAX_ROWS} more in summary.json"] if len(rows) > _MAX_ROWS else [])


def label_of(point: Point) -> str:
    """The values of a point of a sweep, in words."""
    return " ".join(f"{name}={plain(value)}" for name, value in point.values.items())


def plain(value: Any) -> str:
    """A value in words that a flag takes: short numbers, sizes as ``64x64``."""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else "x".join(map(str, value))
        if isinstance(value, tuple)
        else str(value)
    )


def _table(points: list[Point]) -> list[str]:
    return ranked_lines([(label_of(point), point.final_return, point.num_diverged) for point in points])


def _bytes(number: float | None) -> str:
    if number is None:
        return "unknown"
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
