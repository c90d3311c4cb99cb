"""The random walks: minima against published ones, TD against Monte Carlo, what the command writes."""

import re

import jax
import numpy as np
import pytest

from experiments.studies import random_walk as experiment


@pytest.mark.deep
@pytest.mark.covers("nstep-td", "lambda-return", "td-lambda")
def test_least_errors_of_the_19_state_walk():
    """100 runs of the 19-state walk: the least error over step sizes is within 0.01 and two standard errors of each
    reference, best for n = 4 and lambda = 0.8 for the forward view; true online
    TD(lambda) is better than accumulating traces for lambda from 0.8."""
    study = experiment.step_size_study()
    walked = experiment.walk(study, jax.random.key(0), 100)
    least = {}
    for panel, curve in zip(study.panels, walked.curves, strict=True):
        mean = curve.mean[..., 0]
        best = np.nanargmin(mean, axis=1)
        least[panel.title] = dict(zip(panel.numbers, np.nanmin(mean, axis=1), strict=True))
        for i, number in enumerate(panel.numbers):
            if number in panel.references:
                allowed = 0.01 + 2 * curve.error[i, best[i], 0]
                assert abs(mean[i, best[i]] - panel.references[number]) < allowed, (panel.title, number)
    n_step, off_line, accumulating, online = least.values()
    assert min(n_step, key=n_step.__getitem__) == 4
    assert min(off_line, key=off_line.__getitem__) == 0.8
    assert off_line[0.0] > n_step[1] + 0.01  # off line even one step is not TD(0)
    assert online[0.0] == pytest.approx(n_step[1], abs=1e-5)
    assert all(online[x] < accumulating[x] for x in online if x >= 0.8)
    lines = experiment.table(study, walked.curves)
    assert len(lines) == 4 + sum(len(panel.numbers) for panel in study.panels)
    assert re.fullmatch(r"  n = 1      0\.\d{3} ± 0\.\d{3}  at step 0\.\d+ +reference 0\.343 \(\+0\.00\d\)", lines[1])


@pytest.mark.covers("td0", "mc")
def test_command(tmp_path, capsys):
    """The 5-state walk by its command: a picture, a table, and TD(0) ahead of Monte Carlo at their best after 100
    episodes, as in the textbook."""
    out = tmp_path / "walk.png"
    experiment.main(["--study", "learning", "--num-runs", "100", "--out", str(out)])
    shown = capsys.readouterr()
    assert out.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {out}" in shown.err
    title, td_title, *lines = shown.out.splitlines()
    assert title == "5-state random walk: 100 runs"
    assert td_title == "TD(0): error after 1, 10 and 100 episodes"
    last = [float(line.split()[-3]) for line in lines if "±" in line]
    assert min(last[:3]) + 0.02 < min(last[3:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--study", "walk"], "--study 'walk': choose one of step-size, learning"), (["--num-runs", "0"], "--num-runs 0")],
    ids=["study", "runs"],
)
def test_bad_options(arguments, message, capsys):
    """A wrong option is one line on the error output, and exit code 2."""
    with pytest.raises(SystemExit) as stop:
        experiment.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
