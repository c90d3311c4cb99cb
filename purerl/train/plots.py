"""Learning curves. Matplotlib is imported when a figure is asked for, and its global state is left alone."""

import os

import numpy as np

from purerl.train import files
from purerl.train.statistics import interval


def learning_curve(steps: np.ndarray, returns: np.ndarray, title: str):
    """Interquartile mean over seeds with its 95 % interval, and every seed as a thin line behind it.

    Args:
        steps: environment steps, ``[K]``.
        returns: mean episode return, ``[K, S]``; NaN where a seed has none yet.
        title: of the figure.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    estimate, low, high = np.array([interval(scores) for scores in returns]).T
    axes.plot(steps, returns, color="C0", alpha=0.25, linewidth=0.7)
    axes.plot(steps, estimate, color="C0", linewidth=2.0, label="interquartile mean")
    if returns.shape[1] > 1:
        axes.fill_between(steps, low, high, color="C0", alpha=0.25, linewidth=0, label="95 % interval")
    axes.set(title=title, xlabel="environment steps", ylabel="episode return")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", frameon=False)
    return figure


def save(figure, path: str | os.PathLike) -> None:
    """Write a figure as an image, whole or not at all."""
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
