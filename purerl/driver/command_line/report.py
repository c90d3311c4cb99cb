"""The report of a finished run in a few lines of text, and the ranked points of a sweep."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from purerl.analysis.statistics import Interval
from purerl.driver.running.result import Point, TrainResult

_MAX_ROWS = 10


def report(result: TrainResult, out_dir: pathlib.Path, curve: pathlib.Path | None = None) -> str:
    """A few lines that tell a person how the run went and where its files are."""
    summary = result.summary
    seeds, points, blocks = summary["num_seeds"], summary["num_points"], summary["num_blocks"]
    trials = f"{points} points of {seeds} seeds" if result.sweep else f"{seeds} seed{'s' if seeds > 1 else ''}"
    num_diverged = result.best().num_diverged if result.sweep else summary["num_diverged"]
    what = f"return   {with_diverged(result.final_return, num_diverged)}"
    side_by_side = f" in {blocks} blocks of {summary['trials_on_device']} on a device" if blocks > 1 else ""
    lines = [
        f"{summary['title']}: {trials}{side_by_side}, {summary['num_env_steps']:,} steps each{_since(summary)}",
        f"  {what}{_of_what(result)}",
        *(f"  warning  {line}" for line in summary.get("warnings", ())),
        *_table(result.table() if result.sweep else []),
        f"  time     trace {summary['trace_seconds']:.1f} s, compile {summary['compile_seconds']:.1f} s, training "
        f"{summary['run_seconds']:.1f} s, evaluation {summary['eval_seconds']:.1f} s",
        *([_speed(summary)] if summary["num_env_steps_run"] else []),
        f"  memory   {_bytes(summary['bytes_per_trial'])} for each seed; the {summary['peak_bytes_of']}'s peak "
        f"{_bytes(summary['peak_bytes'])}",
        f"  files    {out_dir}{f', {curve}' if curve else ''}",
    ]
    return "\n".join(lines)


def ranked_lines(rows: list[tuple[str, Any, int]]) -> list[str]:
    """Ranked points, a line each."""
    width = max((len(label) for label, _, _ in rows), default=0)
    shown = [
        f"  {'points' if i == 0 else '':8} {label:{width}}  {with_diverged(final, diverged)}"
        for i, (label, final, diverged) in enumerate(rows[:_MAX_ROWS])
    ]
    return shown + ([f"           and {len(rows) - _MAX_ROWS} more in summary.json"] if len(rows) > _MAX_ROWS else [])


def with_diverged(final: Interval, num_diverged: int) -> str:
    """A mean over seeds, and how many of them diverged and are not in it: ``"20 [19, 22] (2 of 8 seeds diverged)"``."""
    if num_diverged == final.num_missing:
        return final.text("diverged")
    return f"{final} ({num_diverged} diverged)" if num_diverged else str(final)


def _table(points: list[Point]) -> list[str]:
    return ranked_lines([(point.label, point.final_return, point.num_diverged) for point in points])


def _of_what(result: TrainResult) -> str:
    """What the numbers of the return are; nothing where there is none."""
    final = result.final_return
    if np.isnan(final.estimate):
        return ""
    what = f"interquartile mean over seeds with its {'95 %' if final.is_wide_enough else 'bootstrap'} interval"
    whose = "the best point's " if result.sweep else ""
    of_one = "return of the seed" if final.num_scores == 1 else what
    return f", {whose}{of_one} ({result.summary['final_return_is']})"


def _since(summary: Mapping[str, Any]) -> str:
    """Where the run took up another, or itself."""
    fork, resumed_at = summary.get("forked_from"), summary["resumed_at_step"]
    origin = f", forked from {fork['folder']} at step {fork['step']:,}" if fork else ""
    if resumed_at and not summary["num_env_steps_run"]:
        if summary["num_diverged"] == summary["num_points"] * summary["num_seeds"]:
            return f"{origin}; all of it had diverged, and nothing was trained"
        return f"{origin}; the run was finished, and nothing was trained: to go on, give a larger --num-env-steps"
    began_at = fork["step"] if fork else 0
    return f"{origin}, resumed at step {resumed_at:,}" if resumed_at > began_at else origin


def _speed(summary: Mapping[str, Any]) -> str:
    return f"  speed    {summary['env_steps_per_second']:,.0f} environment steps per second, all seeds together"


def _bytes(number: float | None) -> str:
    if number is None:
        return "unknown"
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
