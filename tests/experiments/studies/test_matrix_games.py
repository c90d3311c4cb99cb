"""The study of matrix games: who gets to an equilibrium, and the command."""

import jax
import numpy as np
import pytest

from experiments.studies import matrix_games as study
from purerl.envs.matrix_games import MATRIX_GAMES

TITLES = [learner.title for learner in study.LEARNERS]


@pytest.fixture(scope="module")
def results():
    """Two games of one shape, by one program."""
    return {
        name: jax.tree.map(np.asarray, study.courses(MATRIX_GAMES[name](), 2000))
        for name in ("rock_paper_scissors", "biased_rock_paper_scissors")
    }


@pytest.mark.covers("rps", "self-play")
def test_averages_converge_where_last_iterates_do_not(results):
    """Rock, paper, scissors: after 2000 rounds every average but that of chasing the last answer is near the
    equilibrium; of what is played last, only mirror descent with a magnet is, and in the biased game not even that,
    whose equilibrium is another one."""
    fair = dict(zip(TITLES, results["rock_paper_scissors"], strict=True))
    for title, course in fair.items():
        assert course.average_distance[-1] < 0.1, title
        last = course.last_distance[-200:].max()
        assert (last < 1e-3) == (title == "mirror descent with a magnet"), title
    biased = dict(zip(TITLES, results["biased_rock_paper_scissors"], strict=True))
    assert biased["regret matching+"].average_distance[-1] < 0.01
    assert biased["best response to the last"].average_distance[-1] > 0.05
    assert biased["mirror descent with a magnet"].last_distance[-1] > 0.01


def test_tables_have_a_line_for_each_learner(results):
    """And games are described: one equilibrium each, nothing dominated; in the dilemma one action is left."""
    assert len(study.table(results["rock_paper_scissors"])) == 1 + len(TITLES)
    described = study.facts(MATRIX_GAMES["biased_rock_paper_scissors"]())
    assert described[0] == "equilibrium: (0.0625, 0.625, 0.3125) and (0.0625, 0.625, 0.3125)"
    assert "not dominated: actions [1] and [1]" in study.facts(MATRIX_GAMES["prisoners_dilemma"]())


def test_command(tmp_path, capsys):
    """The command prints a table and writes the picture; a game that is not there is one line of error."""
    out = tmp_path / "dilemma.png"
    study.main(["--game", "prisoners_dilemma", "--num-rounds", "20", "--out", str(out)])
    shown = capsys.readouterr()
    assert out.read_bytes().startswith(b"\x89PNG")
    assert shown.out.startswith("prisoners dilemma: 20 rounds\nequilibrium: (0, 1) and (0, 1)\n")
    with pytest.raises(SystemExit) as stop:
        study.main(["--game", "chess"])
    assert stop.value.code == 2
    assert "--game 'chess': choose one of" in capsys.readouterr().err
