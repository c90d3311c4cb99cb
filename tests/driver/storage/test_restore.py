"""Runs made again from their folders: settings, agents of a checkpoint, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import envs, files
from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.driver import RunOptions, linear
from purerl.driver.hypers import sweep
from purerl.driver.storage import restore
from purerl.recipes import recorded
from tests.support.toy import KEY, ToyConfig, ToyHypers, assert_same, limit_for_one, quietly, toy, train
from tests.support.toy_runs import change, register, returning

# The least that a record has.
OLD = {"algorithm": "toy", "settings": {}, "hypers": {}, "key": [0, 0], "num_env_steps": 80, "num_seeds": 2}


@pytest.fixture
def known(monkeypatch):
    """The toy is an experiment."""
    register(monkeypatch)


def test_agents_are_those_at_the_end_of_the_run(known, tmp_path):
    """Hyperparameters and states of every seed, bit for bit, and which step it is."""
    result = train(num_seeds=3, out_dir=tmp_path / "run")
    agents = restore.load_agents(tmp_path / "run")
    assert_same(agents.states, result.states)
    assert_same(agents.hypers, result.hypers)
    assert (agents.step, agents.diverged, agents.columns.num_seeds) == (80, frozenset(), 3)
    assert_same(agents.trial(2)[1], jax.tree.map(lambda leaf: leaf[2], result.states))


def test_agents_act_and_carry(known, tmp_path):
    """A trial meets an episode with its carry and acts by its own state, for one observation; sampled if asked for."""
    train(num_seeds=3, out_dir=tmp_path / "run")
    agents = restore.load_agents(tmp_path / "run")
    agent = agents.agent(1)
    carry = agent.start()
    for step in range(3):
        carry, action = agent.act(carry, jnp.float32(10 * step), KEY)
        assert (carry, action) == (step + 1, 10 * step + 8)
    _, sampled = agents.agent(1, sample=True).act(carry, jnp.float32(0), jax.random.fold_in(KEY, 1))
    assert 8 < sampled < 9


def test_agents_of_a_sweep_with_a_schedule(known, tmp_path):
    """Trials are point-major, and hyperparameters stand where the schedule has brought them by that step."""
    swept = sweep.grid(ToyHypers(), rate=[1.0, 4.0])
    train(hypers=swept, num_seeds=2, schedules={"rate": linear(0.0)}, checkpoint_every=20, out_dir=tmp_path / "run")
    agents = restore.load_agents(tmp_path / "run", step=60)
    assert agents.step == 60
    np.testing.assert_array_equal(agents.hypers.rate, [0.25, 0.25, 1.0, 1.0])
    np.testing.assert_array_equal(agents.states.num_updates, [6] * 4)
    np.testing.assert_array_equal(agents.columns.swept["rate"], [1.0, 4.0])


def test_the_best_checkpoint_is_the_one_with_the_highest_evaluation(monkeypatch, tmp_path):
    """Of returns that fall with every update, the first that was evaluated and saved; the last is another one."""
    register(monkeypatch, falling := returning(lambda hypers, state: -state.num_updates))
    train(falling, eval_every=20, checkpoint_every=10, keep_checkpoints=2, out_dir=tmp_path / "run")
    assert restore.load_agents(tmp_path / "run", best=True).step == 20
    assert restore.load_agents(tmp_path / "run").step == 80
    with pytest.raises(FileNotFoundError, match=r"has no checkpoint of step 40; it has those of 20, 70, 80\.$"):
        restore.load_agents(tmp_path / "run", step=40)


def test_no_checkpoint_is_the_best_without_an_evaluation(known, tmp_path):
    """One line that names the steps that there are."""
    train(out_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"was evaluated at none of its checkpoints \(80\)"):
        restore.load_agents(tmp_path / "run", best=True)


def test_diverged_trials_are_known(known, tmp_path):
    """The seed that was frozen, by its number."""
    worst, limit = limit_for_one(3)
    quietly(train, hypers=ToyHypers(limit=limit), num_seeds=3, out_dir=tmp_path / "run")
    assert restore.load_agents(tmp_path / "run").diverged == {worst}


def test_records_of_older_versions_will_do(known):
    """Without the fields that came later the run is one of the default key, without sweep, schedule or population,
    compiled as JAX does by itself."""
    run = restore.from_record(OLD)
    assert_same(run.key, KEY)
    assert (run.env_name, run.hypers) == ("nowhere", ToyHypers())
    assert run.options == RunOptions(num_env_steps=80, num_seeds=2, schedules={}, optimization_level=3)


@recorded
def own_factory(config: ToyConfig | None = None):
    """A factory of a user's own."""
    return toy(config)


def test_a_run_of_python_is_made_again_by_its_recipe(tmp_path):
    """Factory, config and hyperparameters from its record alone, if their module is allowed; presets play no part."""
    result = train(own_factory(ToyConfig(sizes=(1, 3))), ToyHypers(rate=0.5), num_seeds=2, out_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"test_restore:own_factory is not purerl's own.* If you trust it, allow"):
        restore.load_agents(tmp_path / "run")
    agents = restore.load_agents(tmp_path / "run", allow=["tests"])
    assert_same(agents.states, result.states)
    assert (agents.run.config, agents.run.hypers) == (ToyConfig(sizes=(1, 3)), ToyHypers(rate=0.5))
    assert agents.run.experiment is None and agents.run.env_name == "nowhere"


def test_a_run_with_an_environment_of_ones_own(tmp_path):
    """It is given where its agents are loaded; without it, the message says so. Wrappers and arguments are recorded."""
    env = envs.make("bandit/gaussian", num_arms=2)
    own = env._replace(name="mine", reset=lambda key: env.reset(key))
    for name, arms in (("theirs", env), ("mine", own)):
        purerl.train(
            bandit(arms, ucb1, BanditConfig(num_steps=2)),
            UCB1Hypers(bonus=0.5),
            KEY,
            num_env_steps=4,
            eval_every=0,
            progress=False,
            out_dir=tmp_path / name,
        )
    theirs = restore.load_agents(tmp_path / "theirs").run
    assert (theirs.env.action_space.n, theirs.hypers) == (2, UCB1Hypers(bonus=0.5))
    with pytest.raises(ValueError, match="mine was made by code that the record cannot name: give it, as env"):
        restore.load_agents(tmp_path / "mine")
    assert restore.load_agents(tmp_path / "mine", given={"env": own}).run.env is own


def test_what_made_a_run_makes_the_same_today(tmp_path, monkeypatch):
    """A factory or a default that has changed since is noticed, and so is a record of what may not be called."""
    train(own_factory(), out_dir=tmp_path / "run")
    change(tmp_path / "run" / "config.json", settings={"env": "nowhere", "sizes": [1, 5]})
    with pytest.raises(ValueError, match=r"makes something else today: settings\.sizes: \[1, 5\] then, \[1, 2\] now"):
        restore.load_agents(tmp_path / "run", allow=["tests"])
    change(tmp_path / "run" / "config.json", made_by={"call": "os:getcwd", "arguments": {}})
    with pytest.raises(ValueError, match="os:getcwd is not purerl's own"):
        restore.load_agents(tmp_path / "run", allow=["tests"])


def test_a_folder_without_a_run_is_refused(known, tmp_path):
    """No settings; settings without checkpoints; those of an algorithm that is no experiment."""
    with pytest.raises(ValueError, match="No run in"):
        restore.load_agents(tmp_path)
    files.write_json(tmp_path / "config.json", OLD)
    with pytest.raises(FileNotFoundError, match="No checkpoints at"):
        restore.load_agents(tmp_path)
    files.write_json(tmp_path / "config.json", OLD | {"algorithm": "magic"})
    with pytest.raises(ValueError, match="There are no presets 'magic'"):
        restore.load_agents(tmp_path)
