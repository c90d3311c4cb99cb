"""The study of best-of-N: what its command writes, and what is kept of N neighbours."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import best_of_n as study
from purerl.nets.decoder import DecoderConfig


def test_kept_is_what_is_liked_best_of_each_n_neighbours():
    """Over all disjoint groups of N."""
    right, liked = np.zeros(32), np.arange(32.0)
    right[[1, 3, 16]] = 1
    found = np.asarray(study.kept(jnp.asarray(right), jnp.asarray(liked)))
    np.testing.assert_allclose(found, [3 / 32, 2 / 16, 1 / 8, 0, 0], atol=1e-6)
    np.testing.assert_allclose(study.kept(jnp.asarray(right), jnp.asarray(right))[-1], 1)


@pytest.mark.covers("best-of-n")
def test_command(tmp_path, capsys, monkeypatch):
    """A picture, the numbers of each seed, and a line for each who chooses, with a decoder that costs nothing: who
    knows is never worse than any model, and one answer is one answer, whoever chooses it."""
    tiny = DecoderConfig(size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_size=4, feed_forward_size=8)
    changes = {"decoder": tiny, "batch_size": 2, "num_answers": 2, "num_gradient_steps": 1, "warm_up_batch_size": 8}
    monkeypatch.setattr(study, "CONFIG", study.dataclasses.replace(study.CONFIG, **changes))
    monkeypatch.setattr(study, "NAMES", {name: study.NAMES[name] for name in ("answer", "steps")})
    sizes = ["--num-seeds", "2", "--num-updates", "1", "--num-prompts", "8", "--num-warm-up-steps", "30"]
    study.main([*sizes, "--out-dir", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    assert (tmp_path / "best_of_n.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "best_of_n.json").read_text())
    shares = {name: np.asarray(x) for name, x in kept["right"].items()}
    assert {*shares} == {"answer", "steps", study.WHO_KNOWS} and kept["answers"] == {"answer": 4, "steps": 4}
    for share in shares.values():
        assert share.shape == (2, 5) and np.all(share <= shares[study.WHO_KNOWS] + 1e-6)
        np.testing.assert_allclose(share[:, 0], shares[study.WHO_KNOWS][:, 0], rtol=1e-6)
    assert len(shown) == 4 and shown[-1].startswith(study.WHO_KNOWS)


@pytest.mark.parametrize("arguments", [["--num-seeds", "1"], ["--num-terms", "1"]], ids=["seeds", "terms"])
def test_bad_options_are_refused(arguments, capsys):
    """In one line."""
    with pytest.raises(SystemExit):
        study.main(arguments)
    assert "it must be at least" in capsys.readouterr().err
