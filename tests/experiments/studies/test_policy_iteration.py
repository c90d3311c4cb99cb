"""The dynamic programming figures: what they show is what the textbook says, and the command writes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import policy_iteration as experiment
from purerl.analysis import plots
from purerl.envs.textbook import car_rental, gambler, gridworld_4x4


@pytest.mark.covers("policy-eval", "policy-improve")
def test_gridworld_evaluation_and_its_greedy_policies():
    """Values of the random policy after 1, 2, 3 and all sweeps as printed in the textbook; greedy with respect to the
    third is the shortest way from everywhere, as it is in the end."""
    mdp = gridworld_4x4()
    first, second, third, settled = np.asarray(experiment.evaluations(mdp, jnp.array([1, 2, 3, 2000])))
    np.testing.assert_allclose(first[:4], [0, -1, -1, -1])
    np.testing.assert_allclose(second[:4], [0, -1.75, -2, -2])
    np.testing.assert_allclose(third[:4], [0, -2.4375, -2.9375, -3])
    np.testing.assert_allclose(settled[:8], [0, -14, -20, -22, -14, -18, -20, -20], atol=2e-3)
    inner = ~np.asarray(mdp.terminal)
    np.testing.assert_array_equal(
        experiment.best_actions(mdp, third)[inner], experiment.best_actions(mdp, settled)[inner]
    )
    assert not np.array_equal(experiment.best_actions(mdp, second)[inner], experiment.best_actions(mdp, third)[inner])


@pytest.mark.covers("policy-iter")
def test_policies_of_a_small_car_rental(tmp_path):
    """With room for 6 cars: each policy is worth at least as much as the one before in every state, the last two are
    the same, and the picture is drawn."""
    mdp = car_rental(capacity=6)
    action, value = jax.tree.map(np.asarray, experiment.improvements(mdp, first=5, num_policies=5))
    assert (action[0] == 5).all()
    assert (np.diff(value, axis=0) > -1e-2).all()
    assert (value[1] - value[0]).max() > 1
    np.testing.assert_array_equal(action[-1], action[-2])
    plots.save(experiment.draw_car_rental("a small one", mdp), tmp_path / "rental.png")
    assert (tmp_path / "rental.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.covers("value-iter", "policy-iter")
def test_solvers_agree_on_the_gambler():
    """Every solver's value of 25, 50 and 75 is the probability that bold play reaches the goal, and the table has a
    line for each."""
    mdp = gambler()
    rows = experiment.solve(mdp)
    for row in rows:
        np.testing.assert_allclose(row.solution.value[[25, 50, 75]], [0.16, 0.4, 0.64], atol=2e-5, err_msg=row.method)
        assert row.solution.iterations > 0
    lines = experiment.table(rows, mdp)
    assert len(lines) == 1 + len(rows)
    assert "17 sweeps" in lines[1]
    assert jax.tree.all(jax.tree.map(lambda x: isinstance(x, np.ndarray), rows[0].solution))


def test_command(tmp_path, capsys):
    """The command prints a table and writes the picture; a study that is not there is one line of error."""
    out = tmp_path / "gridworld.png"
    experiment.main(["--study", "gridworld", "--out", str(out)])
    shown = capsys.readouterr()
    assert out.read_bytes().startswith(b"\x89PNG")
    assert shown.out.startswith("4x4 gridworld: 16 states, gamma 1\n")
    assert f"wrote {out}" in shown.err
    with pytest.raises(SystemExit) as stop:
        experiment.main(["--study", "chess"])
    assert stop.value.code == 2
    assert "--study 'chess': choose one of" in capsys.readouterr().err
