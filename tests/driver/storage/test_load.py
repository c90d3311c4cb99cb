"""``purerl.load``: the agent of a run by seed, point and step, or of a file; what is not there is named."""

import jax
import jax.numpy as jnp
import pytest

import purerl
from purerl.driver.hypers import sweep
from tests.support.toy import KEY, ToyHypers, assert_same, limit_for_one, quietly, train
from tests.support.toy_runs import register, returning


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The toy has presets."""
    register(monkeypatch)


def test_an_agent_of_a_run(tmp_path):
    """The first seed and point unless others are asked for, by the last checkpoint or that of a step; its action is the
    number of its updates, with samples and a draw."""
    swept = sweep.grid(ToyHypers(), rate=[1.0, 4.0])
    result = train(hypers=swept, num_seeds=2, checkpoint_every=20, out_dir=tmp_path / "run")
    agent = purerl.load(tmp_path / "run")
    carry, action = agent.act(agent.start(), jnp.float32(0))
    assert (int(carry), float(action), float(agent.source.hypers.rate)) == (1, 8.0, 1.0)
    other = purerl.load(tmp_path / "run", seed=1, point=1, step=60)
    assert float(other.act(carry, jnp.float32(0))[1]) == 6.0
    assert (float(other.source.hypers.rate), other.source.about) == (4.0, {"step": 60, "seed": 1, "point": 1})
    assert_same(purerl.load(tmp_path / "run", seed=1).source.state.x, result.states.x[0, 1])
    sampling = purerl.load(tmp_path / "run", sample=True)
    assert 8 < float(sampling.act(carry, jnp.float32(0), jax.random.fold_in(KEY, 1))[1]) < 9


def test_the_best_checkpoint(monkeypatch, tmp_path):
    """Of returns that fall, the first that was evaluated."""
    register(monkeypatch, falling := returning(lambda hypers, state: -state.num_updates))
    train(falling, eval_every=20, checkpoint_every=10, out_dir=tmp_path / "run")
    assert purerl.load(tmp_path / "run", best=True).source.about["step"] == 20


def test_what_is_not_there_is_named(tmp_path):
    """Folders, files, seeds, points, steps, a seed that has diverged, choices that a file does not have."""
    worst, limit = limit_for_one(3)
    quietly(train, hypers=ToyHypers(limit=limit), num_seeds=3, out_dir=tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="There is no run and no file"):
        purerl.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="No run in"):
        purerl.load(tmp_path)
    with pytest.raises(ValueError, match="seed = 3: the run has 3 seeds, counted from 0"):
        purerl.load(tmp_path / "run", seed=3)
    with pytest.raises(ValueError, match="point = 1: the run has 1 point, counted from 0"):
        purerl.load(tmp_path / "run", point=1)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 7"):
        purerl.load(tmp_path / "run", step=7)
    with pytest.raises(ValueError, match=f"[Ss]eed {worst} has diverged: choose another seed"):
        purerl.load(tmp_path / "run", seed=worst)
    with pytest.raises(ValueError, match="is a file with one agent"):
        purerl.load(tmp_path / "run" / "config.json", seed=1)
    with pytest.raises(ValueError, match="no agent saved by purerl"):
        purerl.load(tmp_path / "run" / "config.json")
