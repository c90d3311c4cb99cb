"""The study of LOLA: what becomes of the dilemma, and the command."""

import jax
import numpy as np
import pytest

from experiments.studies import lola as study
from purerl.envs import matrix_games


@pytest.mark.covers("pd", "markov-game")
def test_lola_cooperates_where_naive_learners_defect():
    """200 pairs of players with random policies, 200 steps of 1: naive ones come to about -2 a step, LOLA to about -1,
    by tit for tat: what the other did last is answered in kind."""
    payoffs = matrix_games.prisoners_dilemma()
    sizes = {"gamma": 0.96, "step_size": 1.0, "lookahead": 1.0}
    found = jax.tree.map(np.asarray, study.courses(payoffs, jax.random.key(1), 200, 200, **sizes))
    naive, lola = found.earned[:, :, -1].mean(axis=(1, 2))
    assert -2.01 < naive < -1.95
    assert lola > -1.1
    np.testing.assert_allclose(found.earned[0, :, 0], found.earned[1, :, 0], rtol=1e-6)  # they begin alike
    # After the start, and after the pairs CC, CD, DC, DD of one's own and the other's action
    start, cc, cd, dc, _ = found.policy[1, :, :, 0].mean(axis=0)
    assert min(start, cc, dc) > 0.8 and cd < 0.3


def test_command(tmp_path, capsys):
    """The command prints a line a learner and writes picture and numbers; a game that is not there is one line."""
    study.main(["--out-dir", str(tmp_path)])
    shown = capsys.readouterr()
    assert shown.out.startswith("prisoners dilemma: 200 pairs, 200 steps\n") and len(shown.out.splitlines()) == 4
    assert (tmp_path / "prisoners_dilemma.png").read_bytes().startswith(b"\x89PNG")
    assert '"LOLA"' in (tmp_path / "prisoners_dilemma.json").read_text()
    with pytest.raises(SystemExit) as stop:
        study.main(["--game", "chess"])
    assert stop.value.code == 2
    assert "--game 'chess': choose one of" in capsys.readouterr().err
