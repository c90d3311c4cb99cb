"""The study of wrong answers: what its command writes, and what counts as growth."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.studies import wrong_answers as study
from purerl.nets.decoder import DecoderConfig


def test_growth_is_the_last_tenth_less_the_first():
    """Updates without a wrong answer are left out."""
    curve = np.tile(np.arange(20.0), (2, 1))
    curve[1, 18] = np.nan
    np.testing.assert_allclose(study.growth(curve), [18.5 - 0.5, 19 - 0.5])


def test_command(tmp_path, capsys, monkeypatch):
    """A picture, the numbers of each seed, and a table of both algorithms, from curves that are given."""
    rng = np.random.default_rng(0)
    curves = {name: {metric: rng.normal(size=(2, 10)) for metric in study.METRICS} for name in study.NAMES}
    monkeypatch.setattr(study, "run", lambda options: curves)
    study.main(["--num-seeds", "2", "--num-updates", "10", "--out-dir", str(tmp_path)])
    shown = capsys.readouterr()
    assert (tmp_path / "wrong_answers.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "wrong_answers.json").read_text())["growth_of_each_seed"]
    np.testing.assert_allclose(found["grpo"]["answer_length"], study.growth(curves["grpo"]["answer_length"]))
    assert [line.split("  ")[0].strip() for line in shown.out.splitlines()[1:]] == ["GRPO", "Dr. GRPO"]


@pytest.mark.deep
def test_both_are_trained_from_the_same_beginnings(monkeypatch):
    """With a decoder that costs nothing: their first answers are the same."""
    tiny = DecoderConfig(size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_size=4, feed_forward_size=8)
    changes = {"decoder": tiny, "num_prompts": 2, "group_size": 4, "warm_up_steps": 1, "warm_up_batch_size": 4}
    monkeypatch.setattr(study, "CONFIG", dataclasses.replace(study.CONFIG, **changes))
    found = study.run(study.Options(num_seeds=2, num_updates=10))
    grpo, dr_grpo = (found[name]["answer_length"] for name in study.NAMES)
    assert grpo.shape == (2, 10)
    np.testing.assert_array_equal(grpo[:, 0], dr_grpo[:, 0])


@pytest.mark.parametrize("arguments", [["--num-seeds", "1"], ["--num-updates", "1"]], ids=["seeds", "updates"])
def test_bad_options_are_refused(arguments, capsys):
    """In one line."""
    with pytest.raises(SystemExit):
        study.main(arguments)
    assert "it must be at least" in capsys.readouterr().err
