"""Learning curves: what is drawn, read back from the figure."""

import numpy as np

from purerl.train import plots
from purerl.train.statistics import interval

STEPS = np.array([0, 10, 20])


def test_curve_is_the_estimate_with_its_interval():
    """The thick line is the interquartile mean at every step, the band its interval, the thin lines the seeds."""
    returns = np.array([[1.0, 2.0, 3.0, 9.0], [2.0, 2.0, 2.0, 2.0], [np.nan, 1.0, 5.0, 7.0]])
    axes = plots.learning_curve(STEPS, returns, "a title").axes[0]
    estimate, low, high = np.array([interval(row) for row in returns]).T
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), estimate)
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines[:-1]], returns.T)
    (band,) = axes.collections
    points = band.get_paths()[0].vertices
    assert {tuple(point) for point in zip(STEPS, low, strict=True)} <= {tuple(point) for point in points}
    assert {tuple(point) for point in zip(STEPS, high, strict=True)} <= {tuple(point) for point in points}
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (
        "a title",
        "environment steps",
        "episode return",
    )


def test_one_seed_or_none_yet_is_drawn_without_a_band():
    """A lone seed has no interval; a run in which no episode ended gives an empty plot, not an error."""
    for returns in (np.ones((3, 1)), np.full((3, 1), np.nan)):
        axes = plots.learning_curve(STEPS, returns, "").axes[0]
        assert not axes.collections
        np.testing.assert_array_equal(axes.lines[-1].get_ydata(), returns[:, 0])


def test_save_writes_an_image_of_the_kind_of_the_name(tmp_path):
    """PNG and PDF by their first bytes, in a folder that is made."""
    figure = plots.learning_curve(STEPS, np.ones((3, 2)), "")
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        path = (tmp_path / "new" / "curve").with_suffix(suffix)
        plots.save(figure, path)
        assert path.read_bytes().startswith(magic)
