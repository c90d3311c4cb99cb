"""Results: ranking, intervals and figures, on numbers made by hand."""

import dataclasses

import numpy as np
import pytest

from purerl.analysis.statistics import interval
from purerl.driver import TrainResult, grid
from purerl.driver.running import result
from tests.support.toy import ToyHypers

pytestmark = pytest.mark.usefixtures("pictures")

NAN = np.nan
RATES = [0.5, 1.0, 2.0, 4.0]
# The best interquartile mean is that of point 2; point 0 has a diverged seed; of point 3 nothing is left.
RETURNS = np.array([[9.0, NAN, 9.0], [1.0, 2.0, 3.0], [4.0, 5.0, 7.0], [NAN, NAN, NAN]])
STEPS = np.array([0, 10])


def of_sweep(**summary) -> TrainResult:
    """Four points of three seeds."""
    sweep = grid(ToyHypers(), rate=RATES)
    hypers = ToyHypers(*(np.repeat(leaf[:, None], 3, axis=1) for leaf in (sweep.hypers.rate, sweep.hypers.limit)), 0)
    return TrainResult(
        states=np.arange(12).reshape(4, 3),
        hypers=hypers.replace(calm=np.zeros((4, 3))),
        steps=STEPS,
        metrics={"x": np.stack([RETURNS, RETURNS])},
        eval_steps=STEPS,
        eval_returns=np.stack([0 * RETURNS, RETURNS]),
        summary={
            "title": "toy",
            "final_return_of_each_seed": RETURNS.tolist(),
            "diverged": np.isnan(RETURNS).tolist(),
            **summary,
        },
        sweep=sweep,
    )


def of_seeds(**fields) -> TrainResult:
    """Three seeds, the first of them diverged, with two log entries."""
    given = {
        "states": np.arange(3),
        "hypers": ToyHypers(),
        "steps": STEPS,
        "metrics": {},
        "eval_steps": np.zeros(0, int),
        "eval_returns": np.zeros((0, 3)),
        "summary": {"title": "toy", "final_return_of_each_seed": [NAN, 1.0, 3.0]},
    }
    return TrainResult(**(given | fields))


def legend_of(figure) -> list[str]:
    """The texts of a figure's one legend, wherever it is."""
    (legend,) = [*figure.legends, *filter(None, [axes.get_legend() for axes in figure.axes])]
    return [text.get_text() for text in legend.get_texts()]


def test_table_is_ranked_with_diverged_points_last():
    """By interquartile mean; a diverged seed puts a point behind all that have none, and no return at all behind it."""
    table = of_sweep().table()
    assert [point.number for point in table] == [2, 1, 0, 3]
    assert [point.values for point in table] == [{"rate": RATES[i]} for i in (2, 1, 0, 3)]
    assert [point.num_diverged for point in table] == [0, 0, 1, 3]
    for point in table:
        np.testing.assert_array_equal(point.returns, RETURNS[point.number])
        np.testing.assert_equal(point.final_return, interval(RETURNS[point.number]))
        np.testing.assert_array_equal(point.states, 3 * point.number + np.arange(3))
        assert point.hypers.rate == RATES[point.number] and np.shape(point.hypers.rate) == ()


def test_best_is_the_first_of_the_table():
    """Its return stands for the sweep."""
    made = of_sweep()
    assert made.best().number == 2 and made.final_return == interval([4.0, 5.0, 7.0])
    np.testing.assert_array_equal(made.final_returns, RETURNS)


def test_trials_of_a_population_have_hypers_of_their_own():
    """Where each seed evolved by itself, a point has the hyperparameters of every seed."""
    assert of_sweep(population={}).best().hypers.rate.shape == (3,)


def test_members_of_a_population_are_named_by_what_they_have_become(monkeypatch):
    """By the hyperparameters that each seed has at the end, of those that were swept and those that evolve, in the
    table, the curves' legend, and the picture of the sweep: not by those that the sweep began with."""
    made = of_sweep(population={"names": ["limit"]})
    became = np.array([[1.0, 1.0, 1.0], [2.0, 3.0, 2.5], [8.0, 8.0, 8.0], [8.0, 8.0, 8.0]])
    made = dataclasses.replace(made, hypers=made.hypers.replace(rate=became, limit=0 * became))
    labels = {point.number: point.label for point in made.table()}
    assert labels == {0: "rate=1 limit=0", 1: "rate=2..3 limit=0", 2: "rate=8 limit=0", 3: "rate=8 limit=0"}
    np.testing.assert_array_equal(made.best().values["rate"], became[2])
    assert legend_of(made.plot()) == [
        "rate=8 limit=0 (2)",
        "rate=2..3 limit=0 (1)",
        "rate=1 limit=0 (0), 1 diverged",
        "rate=8 limit=0 (3), 3 diverged",
    ]
    axes, _ = made.plot_sweep().axes
    assert sorted(axes.containers[0][0].get_xdata()) == [1.0, 2.0, 2.5, 3.0, 8.0]


def test_a_curve_marks_where_the_run_was_forked():
    """The summary says from where; the picture has a line there; and how many seeds diverged stands beside the mean."""
    returns = np.array([[0.0, 1.0, 2.0], [NAN, 4.0, 5.0]])
    made = of_seeds(eval_steps=STEPS, eval_returns=returns)
    made.summary.update(num_diverged=1, forked_from={"folder": "runs/a", "step": 5})
    made.summary.update(final_return_is="mean of 3 evaluation games against random")
    assert made.plot().axes[0].get_ylabel() == "episode return\n(mean of 3 evaluation games against random)"
    legend = legend_of(made.plot())
    assert "interquartile mean of 3 seeds, 1 diverged" in legend and "forked at step 5" in legend


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"), (3, "3"), ((64, 64), "64x64"), ("c51", "c51"), (True, "True"),
        (np.array([0.5, 0.5]), "0.5"), (np.array([0.5, 0.25, 1.0]), "0.25..1"),
    ],
)  # fmt: skip
def test_values_are_short(value, text):
    """Numbers without noughts, sizes as a flag takes them, several values as their range."""
    assert result.plain(value) == text


def test_seeds_have_one_interval_and_no_table():
    """The interval is that of the seeds that have a return; asking for points says that there are none."""
    made = of_seeds()
    assert made.final_return == interval([1.0, 3.0, NAN])
    for ask in (made.table, made.best, made.plot_sweep):
        with pytest.raises(ValueError, match="This run was no sweep: it has one point"):
            ask()


def test_a_curve_shows_evaluations_or_else_training(tmp_path):
    """Evaluations where there are any, else the metric episode_return, else an error; the file is written."""
    returns = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    trained = of_seeds(metrics={"episode_return": returns})
    evaluated = of_seeds(metrics={"episode_return": -returns}, eval_steps=STEPS, eval_returns=returns)
    for made in (trained, evaluated):
        axes = made.plot(tmp_path / "new" / "curve.png").axes[0]
        np.testing.assert_array_equal([line.get_ydata() for line in axes.lines[:-1]], returns.T)
        np.testing.assert_array_equal(axes.lines[-1].get_xdata(), STEPS)
        assert axes.get_title() == "toy" and made.has_returns
        assert (tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="there is no curve to draw"):
        of_seeds().plot()


def test_a_sweep_is_drawn_by_its_best_points(tmp_path, monkeypatch):
    """One curve for each of the best points, as many as a picture holds, in the order of the table."""
    monkeypatch.setattr(result, "MAX_CURVES", 2)
    axes = of_sweep().plot(tmp_path / "curve.png").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["rate=2", "rate=1"]
    assert "interquartile mean of 3 seeds" in axes.get_ylabel()
    figure = of_sweep().plot_sweep(tmp_path / "sweep.png")
    assert figure.axes and (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
