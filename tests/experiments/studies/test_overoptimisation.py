"""The study of fallible judges: closed forms, what it prints and keeps, and that judges are exploited as it says."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import overoptimisation as study
from tests.support.toy_runs import refused

SEEDS, ANSWERS = 3, 8


def lives(*axes, seed=0):
    """Runs that came to random laws."""
    rng = np.random.default_rng(seed)
    laws = [np.asarray(jax.nn.log_softmax(rng.normal(size=(*axes, SEEDS, ANSWERS)))) for _ in range(2)]
    return study.Lives(*laws, rng.uniform(size=(*axes, SEEDS, 5)))


@pytest.mark.covers("kl-opt")
def test_closed_forms_and_distances():
    """Without a penalty all on the best answer, with one ref exp(R / beta) / Z; a law is at no distance from itself."""
    true, judged = study.rewards()
    np.testing.assert_allclose(judged - true[:, None], 1.25 * np.eye(ANSWERS, 3), atol=1e-6)
    reference = lives().reference
    greedy, soft = (np.exp(study.optimum(reference, judged[:, 0], beta)) for beta in (0.0, 0.5))
    np.testing.assert_allclose(greedy, np.eye(ANSWERS)[[0] * SEEDS], atol=1e-12)
    weight = np.exp(reference + judged[:, 0] / 0.5)
    np.testing.assert_allclose(soft, weight / weight.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(study.distance(lives(), lives().learnt), 0)


def test_command(monkeypatch, tmp_path, capsys):
    """A line for each setting, the picture, and the numbers of every seed."""
    found = study.Found(lives(len(study.SETTINGS)), lives(seed=1), 1.0)
    monkeypatch.setattr(study, "run", lambda options: found)
    study.main(["--num-seeds", str(SEEDS), "--out-dir", str(tmp_path)])
    title, head, *lines = capsys.readouterr().out.splitlines()
    assert title == "3 seeds" and head.split()[:2] == ["true", "reward"]
    assert len(lines) == len(study.SETTINGS) + 1
    kept = json.loads((tmp_path / "overoptimisation.json").read_text())
    assert len(kept["one judge, beta = 0.1"]["true_reward"]) == SEEDS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overoptimisation.json", "overoptimisation.png"]
    assert "--num-seeds 1: it must be at least 2" in refused(study.main, capsys, "--num-seeds", "1")


@pytest.mark.deep
@pytest.mark.covers("rlhf-ppo", "rm-ensemble", "kl-opt", "dpo")
def test_a_judge_is_exploited_unless_the_policy_is_held():
    """Two seeds: one judge without a penalty ends at the answer that it over-rates, which is worth nothing; with a
    penalty, or by the least of three judges or of reward models learnt from them, not. Penalised runs and DPO come to
    their closed forms."""
    found = study.rows(study.run(study.Options(num_seeds=2, num_updates=200, num_pair_updates=200)))
    assert max(found["one judge, beta = 0"]["true_reward"]) < 0.1
    assert min(found["one judge, beta = 0.3"]["true_reward"]) > 0.5
    assert min(found["min of three judges, beta = 0"]["true_reward"]) > 0.9
    assert min(found["min of three reward models, beta = 0"]["true_reward"]) > 0.7
    penalised = [row["total_variation"] for name, row in found.items() if "beta = 0." in name]
    assert len(penalised) == 6 and np.max(penalised) < 0.1
    assert jnp.isfinite(np.asarray([list(row.values()) for row in found.values()])).all()
