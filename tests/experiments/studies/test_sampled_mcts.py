"""Planning among sampled actions, as a command: its returns, what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest

from experiments.studies import sampled_mcts as experiment
from tests.support.toy_runs import refused


@pytest.mark.covers("dt-plan", "mcts")
def test_command(tmp_path, capsys):
    """Pendulum, four episodes in two batches: even small trees have far higher returns than random actions; the file
    says what is printed."""
    out = tmp_path / "found.json"
    sizes = ["--num-samples", "8", "--num-simulations", "12", "--playout-depth", "20", "--num-playouts", "2"]
    experiment.main([*sizes, "--episodes", "4", "--at-once", "2", "--no-progress", "--out", str(out)])
    printed = capsys.readouterr()
    record = json.loads(out.read_text())
    random, found = (np.asarray(record["returns"][name]) for name in ("random", "search gumbel"))
    assert len(random) == len({*random}) == len(found) == len({*found}) == 4
    assert found.mean() > random.mean() + 400 and found.min() > -900
    assert record["simulated_steps"] == 12 + 13 * 2 * 20
    title, first, second = printed.out.splitlines()
    assert title.startswith("Pendulum-v1: 4 episodes; 12 simulations of 8 sampled actions before a step, 532 steps")
    assert first.startswith(f"random         return {random.mean():.4g} [")
    assert second.startswith(f"search gumbel  return {found.mean():.4g} [")
    assert f"wrote {out}" in printed.err and [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "alpha"], "--search alpha: choose from gumbel, puct."),
        (["--num-samples", "0"], "--num-samples 0: it must be at least 1."),
        (["--episodes", "9"], "--episodes 9: it must be a multiple of --at-once 8."),
        (["--gamma", "1.5"], "--gamma 1.5: it must be in [0, 1]."),
        (
            ["--env", "pgx/tic_tac_toe"],
            "pgx/tic_tac_toe is a game of two players: plan in it with experiments.studies.mcts.",
        ),
        (["--env", "Pendulum"], "Pendulum"),
    ],
    ids=["search", "size", "batches", "gamma", "game", "name"],
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    """One line that names it, and exit code 2."""
    assert message in refused(experiment.main, capsys, *arguments)
