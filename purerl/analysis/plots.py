"""Figures of runs. Matplotlib is imported when a figure is asked for, and its global state is left alone.

Every function returns a ``matplotlib.figure.Figure``; :func:`save` writes one. Estimates are interquartile means over
seeds with 95 % intervals (:mod:`purerl.analysis.statistics`) unless another statistic is named.
"""

import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from purerl import files
from purerl.analysis import statistics
from purerl.analysis.statistics import interval, stratified_bootstrap

# The palette of Okabe and Ito, which people with any colour vision can tell apart, without its yellow, which is faint
# on white. Further curves have other dashes.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.")

# Beyond so many values of a field its points are a cloud, which a line through them would only clutter.
_MOST_VALUES_ON_A_LINE = 12


def learning_curve(
    steps: np.ndarray,
    returns: np.ndarray,
    title: str,
    num_diverged: int = 0,
    marks: Mapping[str, float] | None = None,
    ylabel: str = "episode return",
):
    """Interquartile mean over seeds with its 95 % interval, and every seed as a thin line behind it.

    The legend says how many seeds there are and, of fewer than five, that the band is no 95 % interval.

    Args:
        steps: environment steps, ``[K]``.
        returns: mean episode return, ``[K, S]``; NaN where a seed has none yet.
        title: of the figure.
        num_diverged: seeds whose curve ends because they diverged.
        marks: texts for upright lines at environment steps, such as where a run was forked.
        ylabel: what the returns are.
    """
    figure, axes = _curve_axes(title, ylabel, steps)
    num_seeds = returns.shape[1]
    axes.plot(steps, returns, color=_COLORS[0], alpha=0.25, linewidth=0.7)
    statistic = "interquartile mean" if num_seeds > 1 else "return"
    label = f"{statistic} of {_seeds(num_seeds)}{_and_diverged(num_diverged)}"
    _draw_curve(axes, steps, returns, 0, label, _band([num_seeds - num_diverged]))
    _draw_marks(axes, marks or {})
    if np.isnan(returns).all():
        _say_empty(axes)
    _legend(figure, axes)
    return figure


def compare(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: str,
    ylabel: str = "episode return",
    num_diverged: Mapping[str, int] | None = None,
    marks: Mapping[str, float] | None = None,
):
    """Interquartile means of several runs over environment steps, with their 95 % intervals as bands.

    How many seeds a curve is of stands beside its label, or at the axis where all have as many.

    Args:
        curves: label -> steps ``[K]`` and returns ``[K, S]``, NaN where there is none; K and S may differ.
        title: of the figure.
        ylabel: what the returns are.
        num_diverged: seeds of a label whose curves end because they diverged.
        marks: texts for upright lines at environment steps, such as where a run was forked.
    """
    num_seeds = {label: returns.shape[1] for label, (_, returns) in curves.items()}
    alike = len(set(num_seeds.values())) == 1
    of = f"interquartile mean of {_seeds(max(num_seeds.values()))}" if alike else "interquartile mean"
    all_steps = np.concatenate([np.asarray(steps) for steps, _ in curves.values()])
    figure, axes = _curve_axes(title, _ylabel(ylabel, of, _band(num_seeds.values())), all_steps)
    for i, (label, (steps, returns)) in enumerate(curves.items()):
        notes = "" if alike else f" ({_seeds(num_seeds[label])})"
        _draw_curve(axes, steps, returns, i, f"{label}{notes}{_and_diverged((num_diverged or {}).get(label, 0))}")
    _draw_marks(axes, marks or {})
    if all(np.isnan(returns).all() for _, returns in curves.values()):
        _say_empty(axes)
    _legend(figure, axes)
    return figure


def sweep_plot(
    values: Mapping[str, ArrayLike],
    returns: np.ndarray,
    title: str,
    ylabel: str = "final return",
    num_diverged: int = 0,
):
    """How the return depends on each swept field: the interquartile mean with its 95 % interval at each value.

    One panel a field. All trials with one value of the field are taken together, whatever their other fields are, so
    an interval is as wide as seeds and other fields make it; faint dots are single trials.

    Args:
        values: field -> its value at each point of the sweep, ``[P]``: numbers, or anything else as categories.
            Positive numbers over a factor of ten or more get a logarithmic axis.
        returns: ``[P, S]``; NaN for a trial that has none.
        title: of the figure.
        ylabel: what the returns are.
        num_diverged: how many of the trials have no return because they diverged.
    """
    num_columns = 2 if len(values) == 4 else min(len(values), 3)
    num_rows = -(-len(values) // num_columns)
    figure = _figure(1.4 + 3.3 * num_columns, 0.6 + 3.2 * num_rows)
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).flat
    for axes, (field, points) in zip(panels, values.items(), strict=False):
        _draw_field(axes, field, np.asarray(points), returns)
    for axes in panels[len(values) :]:
        axes.remove()
    fewest = min(min(np.unique(points, return_counts=True)[1]) for points in map(np.asarray, values.values()))
    for axes in panels[::num_columns]:
        axes.set_ylabel(_ylabel(ylabel, "interquartile mean", _band([fewest * returns.shape[1]])))
    diverged = f"\n{num_diverged} of {returns.size} diverged" if num_diverged else ""
    figure.suptitle(f"{title}{diverged}")
    return figure


def performance_profiles(
    scores: Mapping[str, ArrayLike], thresholds: ArrayLike | None = None, title: str = "", xlabel: str = "final return"
):
    """The fraction of runs that score above each threshold, with pointwise 95 % bands.

    Args:
        scores: label -> ``[S, M]`` or ``[S]``.
        thresholds: ``[K]``; None: evenly over the range of all scores.
        title: of the figure.
        xlabel: what the scores are.

    Source: Agarwal et al. 2021 (arXiv 2108.13264), section 4.2.
    """
    if thresholds is None:
        everything = np.concatenate([np.ravel(one) for one in scores.values()])
        margin = 0.02 * np.ptp(everything) or 1.0
        thresholds = np.linspace(everything.min() - margin, everything.max() + margin, 301)
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    for i, (label, matrix) in enumerate(scores.items()):
        profile = partial(statistics.performance_profile, thresholds=thresholds)
        found = stratified_bootstrap(profile, matrix)
        _draw_band(axes, thresholds, found, i, f"{label}{_few(found.num_scores)}")
    axes.set(title=title, xlabel=f"{xlabel} τ", ylabel="fraction of runs above τ", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def interval_estimates(
    scores: Mapping[str, ArrayLike],
    estimators: Mapping[str, Callable] | None = None,
    title: str = "",
    xlabel: str = "final return",
):
    """Statistics of several runs side by side: a panel each, a bar from end to end of each 95 % interval.

    Args:
        scores: label -> ``[S, M]`` or ``[S]``.
        estimators: panel title -> statistic, such as ``{"optimality gap": statistics.optimality_gap}``; None:
            interquartile mean and mean.
        title: of the figure.
        xlabel: what the scores are.

    Source: Agarwal et al. 2021 (arXiv 2108.13264), section 4.3.
    """
    if estimators is None:
        estimators = {"interquartile mean": statistics.interquartile_mean, "mean": statistics.mean}
    figure = _figure(1.8 + 2.8 * len(estimators), 1.1 + 0.38 * len(scores))
    panels = figure.subplots(1, len(estimators), sharey=True, squeeze=False)[0]
    for axes, (name, statistic) in zip(panels, estimators.items(), strict=True):
        for i, matrix in enumerate(scores.values()):
            estimate, low, high, *_ = stratified_bootstrap(statistic, matrix)
            axes.barh(i, high - low, left=low, height=0.6, color=_COLORS[i % len(_COLORS)], alpha=0.6)
            axes.plot([estimate, estimate], [i - 0.3, i + 0.3], color="black", linewidth=1.5)
        axes.use_sticky_edges = False  # a bar's left end is no floor
        axes.set(title=name, xlabel=xlabel)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(scores)), [f"{label}{_few(len(np.asarray(s)))}" for label, s in scores.items()])
    panels[0].invert_yaxis()  # the first run on top
    figure.suptitle(title)
    return figure


def smooth(values: np.ndarray, num_entries: int) -> np.ndarray:
    """Mean of the last entries of each trial, fewer at the start; what is missing (NaN) does not count.

    Args:
        values: ``[K, ...]``.
        num_entries: how many entries, at least 1; 1 changes nothing.
    """
    if num_entries < 1:
        raise ValueError(f"num_entries = {num_entries}: it must be at least 1, which smooths nothing.")
    present = ~np.isnan(values)
    total, count = (np.cumsum(x, axis=0) for x in (np.where(present, values, 0.0), present))
    before = [np.concatenate([np.zeros_like(x[:num_entries]), x[:-num_entries]]) for x in (total, count)]
    total, count = total - before[0], count - before[1]
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def save(figure, path: str | os.PathLike) -> None:
    """Write a figure as an image of the kind that the name ends with, PNG without one; whole or not at all."""
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format=pathlib.Path(path).suffix[1:] or "png")


def check_can_save(path: str | os.PathLike) -> None:
    """Nothing, if :func:`save` can write there, as far as one can know: to be asked before hours of work.

    Raises:
        ValueError: for an image of no kind that is known.
        OSError: for a place that cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds, kind = FigureCanvasAgg.get_supported_filetypes(), pathlib.Path(path).suffix[1:] or "png"
    if kind.lower() not in kinds:
        raise ValueError(f"{path}: a picture cannot be written as .{kind}. Choose one of {', '.join(sorted(kinds))}.")
    files.check_writable(path)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _curve_axes(title: str, ylabel: str, steps: np.ndarray):
    """A figure with axes for values over environment steps, all of which fit."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    axes.set(xlabel="environment steps", ylabel=ylabel)
    axes.set_title(title, wrap=True)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))  # no half steps
    if np.size(steps) and np.min(steps) == np.max(steps):  # a lone moment: nothing lies beside it
        axes.set_xticks([np.min(steps)])
    elif np.size(steps):
        axes.update_datalim([(np.min(steps), 0.0), (np.max(steps), 0.0)], updatey=False)
    axes.grid(alpha=0.3)
    return figure, axes


def _ylabel(what: str, statistic: str, band: str) -> str:
    """Lines that are no longer than a small panel is high."""
    return f"{what}\n({statistic},\n{band})" if len(band) > 20 else f"{what}\n({statistic}, {band})"


def _few(num_scores: int | None) -> str:
    """What stands beside the label of an interval that rests on too few scores."""
    return (
        "" if num_scores is None or num_scores >= statistics.ENOUGH else f"\n({_seeds(num_scores)}: too few for 95 %)"
    )


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def _and_diverged(number: int) -> str:
    return f", {number} diverged" if number else ""


def _band(num_scores: Collection[int]) -> str:
    """What a band is that rests on so many scores."""
    fewest = min(num_scores, default=0)
    return "95 % interval" if fewest >= statistics.ENOUGH else "bootstrap interval, too few for 95 %"


def _draw_marks(axes, marks: Mapping[str, float]) -> None:
    """Upright lines, each with its text in the legend."""
    for text, step in marks.items():
        axes.axvline(step, color="black", linestyle=":", linewidth=1.2, label=text)


def _say_empty(axes) -> None:
    """An empty picture says that it is."""
    axes.text(0.5, 0.5, "no return yet", transform=axes.transAxes, ha="center", va="center", color="gray")
    axes.set_yticks([])


def _draw_curve(
    axes, steps: np.ndarray, returns: np.ndarray, i: int, label: str, band_label: str | None = None
) -> None:
    """The interquartile mean and interval at each step that has one."""
    found = ~np.isnan(returns).all(axis=1)
    intervals = np.array([interval(scores)[:3] for scores in returns[found]]).reshape(-1, 3)
    _draw_band(axes, np.asarray(steps)[found], statistics.Interval(*intervals.T), i, label, band_label)


def _draw_band(axes, x, found: statistics.Interval, i: int, label: str, band_label: str | None = None) -> None:
    """The ``i``-th line of the axes, with a band from low to high where there is one."""
    color, dashes = _COLORS[i % len(_COLORS)], _DASHES[i // len(_COLORS) % len(_DASHES)]
    lone_point = "o" if len(x) == 1 else None  # no line leads to it
    axes.plot(x, found.estimate, color=color, linestyle=dashes, linewidth=2.0, marker=lone_point, label=label)
    if not np.isnan(found.low).all():
        axes.fill_between(x, found.low, found.high, color=color, alpha=0.2, linewidth=0, label=band_label)


def _draw_field(axes, field: str, points: np.ndarray, returns: np.ndarray) -> None:
    """One panel of a sweep."""
    kinds, kind = np.unique(points, return_inverse=True)
    is_number = np.issubdtype(kinds.dtype, np.number)
    if not is_number:
        kinds = kinds.astype(str)
    x = kinds if is_number else np.arange(len(kinds))
    estimate, low, high = np.array([interval(returns[kind == i])[:3] for i in range(len(kinds))]).T
    few = len(kinds) <= _MOST_VALUES_ON_A_LINE
    axes.plot(x[kind], returns, ".", color="black", alpha=0.3, markersize=4, markeredgewidth=0, zorder=3)
    axes.errorbar(
        x,
        estimate,
        yerr=[estimate - low, high - estimate],
        color=_COLORS[0],
        linestyle="-" if is_number and few else "none",
        marker="o",
        markersize=5,
        elinewidth=1.5 if few else 0.5,
        capsize=3 if few else 0,
    )
    if is_number and kinds[0] > 0 and kinds[-1] / kinds[0] > 9.99:  # 0.001 / 0.0001 may be a little less than ten
        axes.set_xscale("log")
    if np.isnan(returns).all():
        _say_empty(axes)
    if is_number and axes.get_xscale() == "linear":  # few ticks of few digits, which do not run into each other
        axes.locator_params(axis="x", nbins=4)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 4), useOffset=False)
    if not is_number:
        turned = {"rotation": 30, "ha": "right"} if sum(map(len, kinds)) > 24 else {}
        axes.set_xticks(x, kinds, **turned)
        axes.margins(x=0.5 / len(kinds))
    axes.set_xlabel(field)
    axes.grid(alpha=0.3)


def _legend(figure, axes) -> None:
    """Inside the axes where it is small, else below them, for which the figure grows."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    if len(labels) <= 4 and longest <= 30:
        axes.legend(loc="best", framealpha=0.8, edgecolor="none")
        return
    num_columns = max(1, min(3, 84 // (longest + 8)))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.19 * -(-len(labels) // num_columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=num_columns, frameon=False, fontsize="small")
