"""The environment that a command line names: recorded as one text, made again from it, and code where it is trusted."""

import json

import jax
import pytest

from purerl import envs, files
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.driver import RunOptions
from purerl.driver.command_line.environments import check_trusted, env_text, make_env
from purerl.driver.running import job
from purerl.driver.storage.restore import from_record
from purerl.presets import ppo as presets

_OWN = """
import purerl

def short(steps=3, recorded=None):
    return purerl.envs.make("CartPole-v1", max_steps_in_episode=steps)

def nothing():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own in the working directory."""
    (tmp_path / "own_mazes.py").write_text(_OWN)
    monkeypatch.chdir(tmp_path)
    return "own_mazes:short"


def test_flags_become_one_text():
    """Arguments and wrappers in the order in which they are given."""
    assert env_text("Taxi", ["max_steps=9"], ["one_hot_observation", "frame_stack(4)"]) == (
        "Taxi(max_steps=9) + one_hot_observation + frame_stack(4)"
    )
    assert env_text("CartPole-v1/positions") == "CartPole-v1/positions"


def test_flags_of_a_command_line(call):
    """Each of them again and again: the record has one text, and the preset is that of the name."""
    result = call(
        *("--env", "CartPole-v1", "--env-arg", "max_steps_in_episode=7", "--wrap", "sticky_actions(0.25)"),
        *("--env-arg", "gravity=5.0", "--wrap", "frame_stack(k=2)"),
        of=presets.EXPERIMENT,
    )
    text = "CartPole-v1(max_steps_in_episode=7, gravity=5.0) + sticky_actions(probability=0.25) + frame_stack(k=2)"
    assert result.algorithm.spec.settings["env"] == text
    assert result.algorithm.spec.settings["num_envs"] == presets.PRESETS["CartPole-v1"].config.num_envs
    folder = result.options["out_dir"].name.partition("CartPole")[2]
    assert folder == "-v1-max_steps_in_episode-7-gravity-5.0-sticky_actions-0.25-frame_stack-k"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--env-arg", "max_steps_in_epsode=7"],
            "has no parameter 'max_steps_in_epsode'. Near: 'max_steps_in_episode'",
        ),
        (["--env-arg", "gravity"], "Argument 'gravity' is not of the form NAME=VALUE"),
        (["--wrap", "one_hot"], "No wrapper is named 'one_hot'. Near: 'one_hot_observation'"),
        (["--wrap", "frame_stack(n=4)"], r"frame_stack(n=4) around CartPole-v1: missing a required argument: 'k'"),
        (["--wrap", "one_hot_observation"], "one_hot_observation around CartPole-v1"),
        (["--env", "own_mazes:short"], "own_mazes:short is not there: No module named 'own_mazes'"),
        (["--env", "json:dump2"], "json:dump2 is not there"),
    ],
    ids=str,
)
def test_what_there_is_not_is_refused(refused, flags, message):
    """In one line, with near matches."""
    status, text = refused(*flags, of=presets.EXPERIMENT)
    assert status == 2 and message in text


def test_a_function_of_ones_own(own):
    """It is imported from the working directory, and its environment has the name by which it is found again."""
    env = make_env(presets.EXPERIMENT, f"{own}(steps=5) + time_limit(max_steps=2)")
    assert env.name == f"{own}(steps=5) + time_limit(max_steps=2)"
    with pytest.raises(ValueError, match="own_mazes:nothing is int, which is no environment: it has no name"):
        make_env(presets.EXPERIMENT, "own_mazes:nothing")
    with pytest.raises(
        ValueError, match=r"own_mazes:short\(size=3\) cannot be made: it takes no size\..* It takes: steps,"
    ):
        make_env(presets.EXPERIMENT, f"{own}(size=3)")


def _recorded(env):
    algorithm = ppo(env, PPOConfig(num_envs=2, num_steps=4, num_minibatches=1, hidden_sizes=(2,)))
    options = RunOptions(num_env_steps=80)
    made = job.Job.of(algorithm, PPOHypers(), jax.random.key(0), options)
    return json.loads(json.dumps(files.plain(job.settings(made, jax.random.key(0), options))))


def test_a_record_gives_the_environment_back():
    """What evaluates, draws and reproduces a run follows its record: the same name, arguments and wrappers."""
    env = envs.make("CartPole-v1", wrappers=["frame_stack(3)"], max_steps_in_episode=5)
    assert env.name == "CartPole-v1(max_steps_in_episode=5) + frame_stack(k=3)"
    run = from_record(_recorded(env))
    assert (run.env_name, run.env.name, run.env.observation_space.shape) == (env.name, env.name, (12,))
    assert from_record(_recorded(envs.make(env.name))).env.name == env.name
    assert _recorded(envs.make(env.name))["made_by"] == _recorded(env)["made_by"]  # however it was spelt


def test_code_of_a_record_runs_where_it_is_allowed(own):
    """By the module's name, or by naming the environment again where a run goes on; else it is refused, unread."""
    record = _recorded(make_env(presets.EXPERIMENT, f"{own}(steps=5)"))
    with pytest.raises(ValueError, match=r"own_mazes:short is not purerl's own.* If you trust it, allow own_mazes"):
        from_record(record)
    assert from_record(record, allow=["own_mazes"]).env.name == f"{own}(steps=5)"
    with pytest.raises(ValueError, match="No environment is named 'own_mazes:short'"):
        from_record(record | {"made_by": None})
    check_trusted(f"{own}(steps=5)", own, "runs/a")
    check_trusted("CartPole-v1", None, "runs/a")
    for given in (None, "CartPole-v1"):
        with pytest.raises(ValueError, match=r"runs/a is own_mazes:short.*: --env own_mazes:short$"):
            check_trusted(f"{own}(steps=5)", given, "runs/a")
