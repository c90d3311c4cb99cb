"""The bandit study: regret against its theorems, the testbed against the textbook's figures, the command."""

import functools

import jax
import numpy as np
import pytest

from experiments.studies import bandits as experiment
from experiments.studies.bandits import Player, Study, play
from purerl.algorithms.bandits.kl_ucb import KLUCBHypers, kl_ucb
from purerl.algorithms.bandits.linucb import LinUCBHypers, linucb
from purerl.algorithms.bandits.thompson import (
    BernoulliThompsonHypers,
    bernoulli_thompson,
)
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.envs import bandits as problems

KEY = jax.random.key(0)
MEANS = (0.9, 0.3, 0.1)


@pytest.mark.deep
@pytest.mark.covers("bandit", "ucb")
def test_regret_stays_below_the_theorems():
    """500 games of 1000 pulls of three Bernoulli arms: UCB1 below Auer's bound (which uniform pulls exceed), KL-UCB
    and Thompson below 1.5 times the asymptote of Lai and Robbins and half of UCB1; LinUCB with one feature learns."""
    study = Study(
        "Bernoulli arms",
        problems.bernoulli(means=MEANS),
        {
            "ucb1": Player(ucb1, UCB1Hypers()),
            "kl-ucb": Player(kl_ucb, KLUCBHypers()),
            "thompson": Player(bernoulli_thompson, BernoulliThompsonHypers()),
            "linucb": Player(linucb, LinUCBHypers()),
        },
    )
    curves = play(study, KEY, 500, 1000).curves
    t = np.arange(1, 1001)
    bound, least = experiment.ucb1_bound(MEANS, t), experiment.lai_robbins(MEANS, t)
    uniform = experiment.gaps(MEANS).sum() / 3 * t
    assert uniform[-1] > bound[-1] > 2 * least[-1]
    upper = {name: c["cumulative_regret"].mean + 4 * c["cumulative_regret"].error for name, c in curves.items()}
    assert np.all(upper["ucb1"] < bound)
    for name in ("kl-ucb", "thompson"):
        assert upper[name][-1] < 1.5 * least[-1]
        assert upper[name][-1] < upper["ucb1"][-1] / 2
    assert upper["linucb"][-1] < 0.1 * uniform[-1]
    for curve in curves.values():
        assert np.all(np.diff(curve["cumulative_regret"].mean) >= -1e-4)


# Share of the best arm over the last 100 of 1000 steps: NumPy runs of 2000 games with the settings of Sutton & Barto
# 2018, figures 2.2, 2.3 and 2.4.
OPTIMAL = {
    "greedy": 0.35,
    "ε = 0.01": 0.62,
    "ε = 0.1": 0.81,
    "ε = 0.1, step 0.1": 0.76,
    "optimistic 5, step 0.1": 0.86,
    "UCB, c = 2": 0.85,
}
# The same with those of figure 2.5. Our baseline begins with the first reward; begun at 0, the second would be 0.65.
GRADIENT_OPTIMAL = {
    "step 0.1, mean reward as baseline": 0.84,
    "step 0.4, mean reward as baseline": 0.71,
    "step 0.1, no baseline": 0.49,
    "step 0.4, no baseline": 0.26,
}


@functools.cache
def curves_of(name: str):
    return play(experiment.STUDIES[name], jax.random.key(1), 2000, 1000).curves


def at_the_end(curve) -> float:
    return float(curve.mean[-100:].mean())


@pytest.mark.deep
@pytest.mark.covers("bandit", "eps-greedy", "ucb")
def test_testbed_reproduces_the_textbook():
    """2000 games of 1000 pulls: shares of the best arm within 0.04 of NumPy runs; epsilon 0.1 stays below
    0.9 of the best arm's mean, 1.5388; UCB's reward is the highest after it, greedy's the lowest."""
    curves = curves_of("testbed")
    for label, expected in OPTIMAL.items():
        assert at_the_end(curves[label]["optimal"]) == pytest.approx(expected, abs=0.04), label
    reward = {label: at_the_end(metrics["reward"]) for label, metrics in curves.items()}
    best = {label: reward[label] + at_the_end(metrics["regret"]) for label, metrics in curves.items()}
    for label, value in best.items():
        assert value == pytest.approx(1.538753, abs=0.05), label
    assert 0.87 < reward["ε = 0.1"] / best["ε = 0.1"] < 0.9
    assert reward["greedy"] < reward["ε = 0.01"] < reward["ε = 0.1"] < reward["UCB, c = 2"]


@pytest.mark.deep
@pytest.mark.covers("bandit", "baseline")
def test_gradient_testbed_reproduces_the_textbook():
    """Means around 4: shares of the best arm within 0.04 of NumPy runs; the baseline makes the difference."""
    for label, metrics in curves_of("gradient").items():
        assert at_the_end(metrics["optimal"]) == pytest.approx(GRADIENT_OPTIMAL[label], abs=0.04), label


def test_optimistic_agents_and_ucb_try_every_arm_first():
    """Of the first ten pulls a tenth is the best arm, and at the eleventh the share jumps. Only a reward above 5 can
    make the optimist stay."""
    testbed, tolerances = experiment.STUDIES["testbed"], {"UCB, c = 2": 1e-6, "optimistic 5, step 0.1": 1e-3}
    few = testbed._replace(players={label: testbed.players[label] for label in tolerances})
    curves = play(few, jax.random.key(1), 2000, 11).curves
    for label, tolerance in tolerances.items():
        optimal = curves[label]["optimal"].mean
        assert optimal[:10].mean() == pytest.approx(0.1, abs=tolerance), label
        assert optimal[10] > 0.35, label


def test_command_prints_a_table_and_draws(tmp_path, capsys):
    """A few games: a line a player in the order of the study, an image; a study that does not exist is refused."""
    image = tmp_path / "gradient.png"
    experiment.main(["--study", "gradient", "--num-games", "4", "--num-steps", "20", "--out", str(image)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10-armed testbed, means around 4: 4 games of 20 pulls"
    labels = list(experiment.STUDIES["gradient"].players)
    assert [line[: max(map(len, labels))].strip() for line in lines[2:]] == labels
    assert image.stat().st_size > 10_000
    with pytest.raises(SystemExit) as exit_:
        experiment.main(["--study", "nothing"])
    assert exit_.value.code == 2
    assert "--study 'nothing'" in capsys.readouterr().err


def test_figure_shows_the_bounds():
    """The regret panel of the coins: a line a player, and UCB1's bound above Lai and Robbins' asymptote."""
    metrics = ("reward", "optimal", "cumulative_regret")
    curves = {"one": {name: experiment.Curve(np.linspace(0.1, 1, 50), np.full(50, 0.01)) for name in metrics}}
    figure = experiment.draw(experiment.STUDIES["regret"], curves)
    player, bound, least = (line.get_ydata() for line in figure.axes[2].lines)
    np.testing.assert_array_equal(player, np.linspace(0.1, 1, 50))
    assert np.all(bound > least)
    assert bound[-1] == pytest.approx(8 * np.log(50) * (10 + 2.5 + 1 / 0.6) + (1 + np.pi**2 / 3) * 1.1)
