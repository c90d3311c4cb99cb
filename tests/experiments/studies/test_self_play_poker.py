"""The study of self-play in poker: the command, and who forgets."""

import json

import pytest

from experiments.studies import self_play_poker as study


@pytest.mark.covers("self-play", "opponent-pool")
def test_command(tmp_path, capsys):
    """Kuhn's poker for a while: a line for each learner, in which regularised play and the double oracle come nearer to
    an equilibrium than play without it and answers to the last; picture and numbers; an unknown game is one line."""
    study.main(["--num-iterations", "1000", "--num-rounds", "14", "--out-dir", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pgx/kuhn_poker: 24 nodes" and len(lines) == 2 + 1 + len(study.MAGNETS) + len(study.POOLS)
    assert (tmp_path / "kuhn_poker.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "kuhn_poker.json").read_text())
    least = {name: row["nash_conv"] for name, row in found.items() if isinstance(row, dict)}
    assert least["CFR+, the average"] < 1e-3
    assert least["mirror descent, falling temperature"] < 0.04 < 0.2 < least["mirror descent, no temperature"]
    assert least["double oracle"] < 1e-5 < 0.4 < least["answers to the last"]
    assert found["answers to the last"]["worst_against_past"] < -0.2 < found["double oracle"]["worst_against_past"]
    with pytest.raises(SystemExit) as stop:
        study.main(["--game", "pgx/chess"])
    assert stop.value.code == 2
