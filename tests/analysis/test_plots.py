"""Figures: what is drawn, read back from them."""

import sys

import numpy as np
import pytest

from purerl.analysis import plots, statistics
from purerl.analysis.statistics import interval, stratified_bootstrap

STEPS = np.array([0, 10, 20])


def test_curve_is_the_estimate_with_its_interval():
    """The thick line is the interquartile mean at every step, the band its interval, the thin lines the seeds."""
    returns = np.array([[1.0, 2.0, 3.0, 9.0], [2.0, 2.0, 2.0, 2.0], [np.nan, 1.0, 5.0, 7.0]])
    axes = plots.learning_curve(STEPS, returns, "a title").axes[0]
    estimate, low, high = np.array([interval(row)[:3] for row in returns]).T
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
    """A lone seed has no interval; steps before its first episode are left out; no episode at all is no error."""
    for returns in (np.ones((3, 1)), np.array([[np.nan], [1.0], [2.0]]), np.full((3, 1), np.nan)):
        axes = plots.learning_curve(STEPS, returns, "").axes[0]
        assert not axes.collections
        found = ~np.isnan(returns[:, 0])
        np.testing.assert_array_equal(axes.lines[-1].get_xdata(), STEPS[found])
        np.testing.assert_array_equal(axes.lines[-1].get_ydata(), returns[found, 0])


def test_compare_draws_each_run_on_its_own_steps():
    """Two runs of different steps and seeds: a line and a band each, in other colours; a lone point is a dot."""
    curves = {
        "long": (np.array([0, 5, 10]), np.arange(12.0).reshape(3, 4)),
        "short": (np.array([0, 8]), np.array([[1.0, 2.0], [3.0, np.nan]])),
        "begun": (np.array([0]), np.array([[7.0]])),
    }
    axes = plots.compare(curves, "a title", "score").axes[0]
    for line, (label, (steps, returns)) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_label().startswith(label)
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), [interval(row).estimate for row in returns])
    assert len({line.get_color() for line in axes.lines}) == 3 and len(axes.collections) == 2
    assert [line.get_marker() for line in axes.lines] == ["None", "None", "o"]
    labels = ["long (4 seeds)", "short (2 seeds)", "begun (1 seed)"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    assert axes.get_title() == "a title" and axes.get_ylabel().startswith("score")


def test_many_curves_can_be_told_apart():
    """Fifteen curves: no two of the same colour and dashes; the legend is outside the axes, and whole."""
    curves = {f"learning_rate={i}, gamma=0.99, lambda=0.95": (STEPS, np.full((3, 1), float(i))) for i in range(15)}
    figure = plots.compare(curves, "")
    (axes,), (legend,) = figure.axes, figure.legends
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 15
    assert axes.get_legend() is None and len(legend.get_texts()) == 15
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= axes.bbox.y0


RETURNS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, np.nan]])


def test_sweep_has_a_panel_for_each_field():
    """A grid of two fields: at each value the interval of all trials that have it, and every trial as a dot."""
    values = {"learning_rate": np.array([1e-4, 1e-4, 1e-3, 1e-3]), "gamma": [0.9, 0.99, 0.9, 0.99]}
    figure = plots.sweep_plot(values, RETURNS, "a title")
    rate, gamma = figure.axes
    for axes, name, scale, groups in (
        (rate, "learning_rate", "log", [[0, 1], [2, 3]]),
        (gamma, "gamma", "linear", [[0, 2], [1, 3]]),
    ):
        assert (axes.get_xlabel(), axes.get_xscale()) == (name, scale)
        expected = np.array([interval(RETURNS[group])[:3] for group in groups])
        (line, _, (bars,)) = axes.containers[0]
        np.testing.assert_array_equal(line.get_xdata(), sorted(set(np.asarray(values[name]))))
        np.testing.assert_array_equal(line.get_ydata(), expected[:, 0])
        np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], expected[:, 1:])
        dots = [line for line in axes.lines if line.get_marker() == "."]
        np.testing.assert_array_equal(np.transpose([dot.get_ydata() for dot in dots]), RETURNS)
        np.testing.assert_array_equal(dots[0].get_xdata(), values[name])
    assert figure.get_suptitle() == "a title"


def test_sweep_over_what_is_no_number_has_categories():
    """Names and truth values stand side by side with their text as ticks, and no line joins them."""
    for points in (np.array(["kl", "clip", "none", "kl"]), [True, False, True, True]):
        (axes,) = plots.sweep_plot({"objective": points}, RETURNS, "").axes
        kinds = sorted(set(np.asarray(points).astype(str)))
        assert [text.get_text() for text in axes.get_xticklabels()] == kinds
        np.testing.assert_array_equal(axes.get_xticks(), range(len(kinds)))
        assert axes.containers[0][0].get_linestyle() == "None"


@pytest.mark.parametrize("num_fields", [1, 2, 3, 4, 5])
def test_sweep_leaves_no_empty_panel(num_fields):
    """As many axes as fields; many values of a field are a cloud without a line through it."""
    values = {f"field_{i}": np.linspace(0, 1, 13 - i) for i in range(num_fields)}
    values = {name: np.resize(points, 13) for name, points in values.items()}
    figure = plots.sweep_plot(values, np.ones((13, 2)), "")
    assert [axes.get_xlabel() for axes in figure.axes] == list(values)
    lines = [axes.containers[0][0].get_linestyle() for axes in figure.axes]
    assert lines == ["None"] + ["-"] * (num_fields - 1)


def test_performance_profiles_fall_from_one_to_zero():
    """The drawn line is the fraction of runs above each threshold; thresholds of its own span all scores."""
    scores = {"a": np.array([[1.0, 2.0], [2.0, 4.0]]), "b": [3.0], "c": [10.0, 20.0]}
    thresholds = [0.0, 1.5, 2.5]
    axes = plots.performance_profiles({"a": scores["a"]}, thresholds).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), thresholds)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 0.75, 0.25])
    axes = plots.performance_profiles(scores).axes[0]
    for line in axes.lines:
        assert line.get_ydata()[0] == 1.0 and line.get_ydata()[-1] == 0.0 and np.all(np.diff(line.get_ydata()) <= 0)
    assert len(axes.collections) == 2  # a lone run has no band


def test_interval_estimates_are_bars_from_end_to_end():
    """A panel for each statistic, a bar for each label in order from the top, a tick at the estimate."""
    num_seeds = {"a": "4 seeds", "b": "2 seeds", "alone": "1 seed"}
    scores = {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, 0.75], "alone": [2.0]}
    estimators = {"mean": statistics.mean, "gap": statistics.optimality_gap}
    figure = plots.interval_estimates(scores, estimators)
    for axes, (name, statistic) in zip(figure.axes, estimators.items(), strict=True):
        assert axes.get_title() == name
        for i, (bar, tick, one) in enumerate(zip(axes.patches, axes.lines, scores.values(), strict=True)):
            expected = stratified_bootstrap(statistic, one)
            np.testing.assert_allclose([bar.get_x(), bar.get_x() + bar.get_width()], expected[1:3])
            np.testing.assert_array_equal(tick.get_xdata(), [expected.estimate] * 2)
            assert bar.get_y() + bar.get_height() / 2 == pytest.approx(i)
    labels = [f"{label}\n({seeds}: too few for 95 %)" for label, seeds in num_seeds.items()]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == labels
    assert figure.axes[0].yaxis_inverted()


def legend_of(figure) -> list[str]:
    """The texts of a figure's one legend, wherever it is."""
    (legend,) = [*figure.legends, *filter(None, [axes.get_legend() for axes in figure.axes])]
    return [text.get_text() for text in legend.get_texts()]


def test_a_curve_says_how_many_seeds_it_is_of():
    """And how many of them diverged; a band of fewer than five seeds is not called a 95 % interval; a lone seed has no
    mean."""
    eight = np.arange(24.0).reshape(3, 8)
    assert legend_of(plots.learning_curve(STEPS, eight, "")) == ["interquartile mean of 8 seeds", "95 % interval"]
    assert legend_of(plots.learning_curve(STEPS, eight, "", 2))[0] == "interquartile mean of 8 seeds, 2 diverged"
    few = "bootstrap interval, too few for 95 %"
    assert legend_of(plots.learning_curve(STEPS, eight[:, :4], ""))[1] == few
    assert legend_of(plots.learning_curve(STEPS, eight, "", 4))[1] == few
    assert legend_of(plots.learning_curve(STEPS, eight[:, :1], "")) == ["return of 1 seed"]


def test_curves_side_by_side_say_how_many_seeds_they_are_of():
    """Once where all have as many, else each; the axis has what the bands are."""
    eight, three = np.arange(24.0).reshape(3, 8), np.arange(9.0).reshape(3, 3)
    alike = plots.compare({"a": (STEPS, eight), "b": (STEPS, eight)}, "", num_diverged={"b": 1})
    assert legend_of(alike) == ["a", "b, 1 diverged"]
    assert alike.axes[0].get_ylabel() == "episode return\n(interquartile mean of 8 seeds, 95 % interval)"
    mixed = plots.compare({"a": (STEPS, eight), "b": (STEPS, three)}, "")
    assert legend_of(mixed) == ["a (8 seeds)", "b (3 seeds)"]
    assert "too few for 95 %" in mixed.axes[0].get_ylabel()


def test_a_sweep_says_what_its_bars_are():
    """Two values of four trials each are too few for 95 %, of six enough; diverged trials are counted."""
    few, enough = (plots.sweep_plot({"x": [1.0, 2.0]}, np.ones((2, n)), "a", num_diverged=n // 4) for n in (4, 6))
    assert "too few for 95 %" in few.axes[0].get_ylabel() and few.get_suptitle() == "a\n1 of 8 diverged"
    assert enough.axes[0].get_ylabel() == "final return\n(interquartile mean, 95 % interval)"


def test_marks_are_upright_lines():
    """At their steps, with their text in the legend: where a run was forked."""
    marks = {"forked at step 10": 10}
    for figure in (
        plots.learning_curve(STEPS, np.ones((3, 5)), "", marks=marks),
        plots.compare({"a": (STEPS, np.ones((3, 5)))}, "", marks=marks),
    ):
        assert legend_of(figure)[-1] == "forked at step 10"
        assert [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linestyle() == ":"] == [[10, 10]]


def texts_overlap(figure) -> bool:
    """Whether any two of the ticks, labels and titles that are drawn lie on each other, or leave the picture."""
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ends = sorted(axis.get_view_interval())
        shown = [tick for tick in axis.get_major_ticks() if ends[0] <= tick.get_loc() <= ends[1]]
        texts += [label for tick in shown for label in (tick.label1,) if label.get_visible()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    outside = any(box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1 for box in boxes)
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    return outside or any(a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1 for a, b in pairs)


LONG = "an algorithm with a very long name on an environment whose name is hardly any shorter-v1"
COLLIDING = {
    "short run": lambda: plots.learning_curve(np.array([0, 1024]), np.ones((2, 3)), ""),
    "one moment": lambda: plots.learning_curve(np.array([0]), -np.ones((1, 8)), ""),
    "long run": lambda: plots.learning_curve(np.array([0, 10_002_432]), np.ones((2, 3)) * 1e7, LONG),
    "no returns": lambda: plots.learning_curve(STEPS, np.full((3, 2), np.nan), ""),
    "near values": lambda: plots.sweep_plot({"rate": [1e-3, 1.1e-3, 1.25e-3, 1.3e-3]}, -np.ones((4, 3)), ""),
    "large values": lambda: plots.sweep_plot({"n": [1e5, 2e5, 3e5, 4e5], "m": [1, 2, 3, 4]}, 1e7 * np.eye(4), ""),
    "names": lambda: plots.sweep_plot({"sizes": ["64x64", "128x128x128", "256x256x256", "512x512"]}, np.eye(4), ""),
    "twelve": lambda: plots.sweep_plot({"a": np.repeat(np.geomspace(1e-4, 1e-2, 6), 2), "b": 6 * [0.1, 0.2]},
                                       -500 * np.ones((12, 8)), ""),
    "bars": lambda: plots.interval_estimates({LONG[:40]: np.arange(8.0) * 1e5, "b": [1.0, 2.0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", COLLIDING)
def test_ticks_and_labels_do_not_collide(name):
    """Runs that are short, long, or have just begun, values that are near or large, long names: all can be read."""
    assert not texts_overlap(COLLIDING[name]())


@pytest.mark.parametrize("returns", [np.full((3, 2), np.nan), np.zeros((0, 2))])
def test_an_empty_picture_says_so(returns):
    """Where nothing was returned yet."""
    steps = STEPS[: len(returns)]
    for figure in (plots.learning_curve(steps, returns, ""), plots.compare({"a": (steps, returns)}, "")):
        assert [text.get_text() for text in figure.axes[0].texts] == ["no return yet"]


def test_smoothing_averages_what_is_there():
    """Means of up to two entries by hand, with gaps at the start, in the middle, and everywhere; one is identity."""
    nan = np.nan
    values = np.array([[1.0, nan, nan], [3.0, 2.0, nan], [nan, 4.0, nan], [5.0, nan, nan]])
    np.testing.assert_allclose(plots.smooth(values, 2), [[1, nan, nan], [2, 2, nan], [3, 3, nan], [5, 4, nan]])
    np.testing.assert_array_equal(plots.smooth(values, 1), values)
    np.testing.assert_allclose(plots.smooth(values, 100)[-1], [3.0, 3.0, nan])
    with pytest.raises(ValueError, match="num_entries = 0"):
        plots.smooth(values, 0)


@pytest.mark.filterwarnings("error")
def test_figures_leave_global_state_alone():
    """No figure goes through pyplot, which would keep it and choose a backend; drawing warns of nothing."""
    had_pyplot = "matplotlib.pyplot" in sys.modules
    scores = {"a": [1.0, 1.0, 1.0]}
    figures = [
        plots.learning_curve(STEPS, np.full((3, 2), np.nan), ""),
        plots.compare({"a": (STEPS, np.ones((3, 2)))}, ""),
        plots.sweep_plot({"x": [1.0, 1.0]}, np.ones((2, 2)), ""),
        plots.performance_profiles(scores),
        plots.interval_estimates(scores),
    ]
    for figure in figures:
        figure.draw_without_rendering()
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    if had_pyplot:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_save_writes_an_image_of_the_kind_of_the_name(tmp_path):
    """PNG and PDF by their first bytes, in a folder that is made; PNG where the name has no ending."""
    figure = plots.learning_curve(STEPS, np.ones((3, 2)), "")
    for name, magic in (("curve.png", b"\x89PNG"), ("curve.pdf", b"%PDF"), ("curve", b"\x89PNG")):
        path = tmp_path / "new" / name
        plots.save(figure, path)
        assert path.read_bytes().startswith(magic)
    with pytest.raises(ValueError, match="'abc' is not supported"):
        plots.save(figure, tmp_path / "new" / "curve.abc")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"curve.png", "curve.pdf", "curve"}
