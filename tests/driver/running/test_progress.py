"""The progress bar, and what is said where there is none, by what they print."""

import io
import sys

import pytest

from purerl.driver.running import progress
from purerl.driver.running.progress import Progress, waiting


def test_counts_the_steps_of_all_seeds(capsys):
    """Half of 100 steps of each of 4 seeds is 200 of 400; the return stands beside it; output goes to stderr."""
    with Progress(100, 4, start=0, enabled=True) as bar:
        bar.update(50, 12.34)
        bar._bar.refresh()
        half = capsys.readouterr().err
        bar.update(100, float("nan"))
    printed = capsys.readouterr()
    assert "200/400" in half and "50%" in half and "return 12.3" in half and "step/s" in half
    last = printed.err.strip().split("\r")[-1]
    assert "400/400" in last and "return 12.3" in last  # the last known return stays
    assert printed.out == ""


def test_a_resumed_run_begins_where_it_stands(capsys):
    """At 25 of 100 steps of 4 trials, before anything is run; what is counted from there is not counted twice."""
    with Progress(100, 4, start=25, enabled=True) as bar:
        bar._bar.refresh()
        assert "100/400" in capsys.readouterr().err
        bar.update(50, 0.0)
    assert "200/400" in capsys.readouterr().err.strip().split("\r")[-1]


def test_diverged_seeds_stand_beside_the_mean(capsys):
    """How many of all, as soon as there are any; when nobody is left, no return is."""
    with Progress(100, 8, start=0, enabled=True) as bar:
        bar.update(50, 20.5, 2)
        bar._bar.refresh()
        assert "return 20.5, 2 of 8 diverged" in capsys.readouterr().err
        bar.update(100, float("nan"), 8)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "8 of 8 diverged" in last and "return" not in last


def test_disabled_prints_nothing(capsys):
    """Not a character."""
    with Progress(100, 4, start=0, enabled=False) as bar:
        bar.update(100, 1.0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("is_terminal", "said"),
    [(False, ["compiling ...\n"]), (True, ["\rcompiling: 0 s so far ", "\rcompiling: 0."])],
)
def test_what_takes_long_is_said(monkeypatch, is_terminal, said):
    """On a terminal with the seconds so far, and in the end how many it took; elsewhere one line."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with waiting("compiling"):
        while not terminal.getvalue():
            pass
    printed = terminal.getvalue()
    assert all(text in printed for text in said) and printed.endswith("\n")


def test_what_is_soon_done_or_not_to_be_shown_is_not_spoken_of(capsys, monkeypatch):
    """Not a word, and no thread that goes on; an error within goes its way."""
    with pytest.raises(KeyError), waiting("compiling"):
        raise KeyError
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with waiting("compiling", enabled=False):
        pass
    assert capsys.readouterr() == ("", "")
