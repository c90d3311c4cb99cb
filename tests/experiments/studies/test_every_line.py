"""Every line of a game against an agent, as a command."""

import jax
import jax.numpy as jnp

from experiments.studies import every_line as experiment
from purerl.search import Decision
from tests.oracles import tic_tac_toe
from tests.support.positions import game_of


def test_command_counts_lines_by_side(tmp_path, monkeypatch, capsys):
    """An agent that always plays the first legal move: the lines that plain recursion counts, for either side; it has
    as many simulations as asked for."""
    game, asked = game_of("tic_tac_toe"), []

    def trained(game, folder, num_simulations):
        asked.append((folder, num_simulations))
        return lambda seen, key: Decision(jnp.argmax(jax.vmap(game.legal)(seen.env_state), axis=-1), None, None, None)

    monkeypatch.setattr(experiment, "trained", trained)
    monkeypatch.setattr(experiment, "from_pgx", lambda name: {"tic_tac_toe": game}[name])
    monkeypatch.setattr(experiment.folders, "read_config", lambda folder: {"settings": {"env": "pgx/tic_tac_toe"}})
    experiment.main([str(tmp_path), "--num-simulations", "7"])
    sides = zip(("first", "second"), (1, -1), strict=True)
    expected = [(side, *tic_tac_toe.lines_of_first_legal(mine)) for side, mine in sides]
    lines = [f"{side:>6} player  {won} won, {drawn} drawn, {lost} lost" for side, won, drawn, lost in expected]
    assert capsys.readouterr().out.splitlines() == lines and asked == [(tmp_path, 7)]
