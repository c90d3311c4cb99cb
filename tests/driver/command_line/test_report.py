"""The report of a run: ranked points, short values, readable bytes."""

import pytest

from purerl.analysis.statistics import Interval
from purerl.driver.command_line import report


@pytest.mark.parametrize(
    ("value", "text"), [(1e-4, "0.0001"), (3, "3"), ((64, 64), "64x64"), ("c51", "c51"), (True, "True")]
)
def test_values_are_short(value, text):
    """Numbers without noughts, sizes as a flag takes them."""
    assert report.plain(value) == text


def test_points_are_a_line_each_in_one_width():
    """Label, interval, and how many seeds diverged; the first one is told apart by its heading."""
    rows = [("rate=1", Interval(2.0, 1.0, 3.0), 0), ("rate=0.25", Interval(1.0, 0.5, 2.0), 1)]
    assert report.ranked_lines(rows) == [
        "  points   rate=1     2 [1, 3]",
        "           rate=0.25  1 [0.5, 2]  (1 diverged)",
    ]


def test_many_points_are_counted():
    """Ten are shown."""
    lines = report.ranked_lines([(f"rate={i}", Interval(1.0, 1.0, 1.0), 0) for i in range(13)])
    assert len(lines) == 11 and lines[-1].endswith("and 3 more in summary.json")


@pytest.mark.parametrize(
    ("number", "text"), [(None, "unknown"), (12, "12 B"), (1234, "1.23 kB"), (5e6, "5 MB"), (2.5e12, "2.5e+03 GB")]
)
def test_bytes_have_a_unit(number, text):
    """Three digits in the largest unit that fits."""
    assert report._bytes(number) == text
