"""Recipes: what was made is made again from plain values; nothing that is not allowed is imported or called."""

import json
import math
import sys
from typing import NamedTuple

import pytest

from purerl import envs, recipes
from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.ucb1 import ucb1
from purerl.algorithms.policy.ppo import PPOConfig, ppo
from purerl.algorithms.tabular.sarsa import sarsa
from purerl.envs.base import Environment
from tests.support.nim import nim


def again(made, allow=()):
    """Made again from the text of its recipe; the text is that of the copy, too."""
    text = recipes.plain(made)
    copy = recipes.make(json.loads(json.dumps(text, allow_nan=False)), allow)
    assert recipes.plain(copy) == text
    return copy


def test_environments_by_name_with_arguments_and_wrappers():
    """Innermost first; arguments by name, whether they were given by name or by position."""
    env = envs.sticky_actions(envs.time_limit(envs.make("CartPole-v1", gravity=5.0), 3), probability=0.25)
    outer = recipes.plain(env)
    assert outer["call"] == "purerl.envs.wrappers:sticky_actions" and outer["arguments"]["probability"] == 0.25
    assert outer["arguments"]["env"] == {
        "call": "purerl.envs.wrappers:time_limit",
        "arguments": {
            "env": {"call": "purerl.envs.registry:make", "arguments": {"name": "CartPole-v1", "gravity": 5.0}},
            "max_steps": 3,
        },
    }
    copy = again(env)
    assert copy.name == env.name and str(copy.observation_space) == str(env.observation_space)


@pytest.mark.parametrize("name", ["Taxi", "pgx/tic_tac_toe", "probe/memory", "bandit/gaussian"])
def test_every_kind_of_environment(name):
    """Textbook problems, games, probes and bandits."""
    assert again(envs.make(name)).name == name


def test_algorithms_with_configs_constants_and_further_arguments():
    """Tuples of a config, a bandit's agent by its name in its module, the length of SARSA's returns."""
    env = envs.make("CartPole-v1")
    copy = again(ppo(env, PPOConfig(hidden_sizes=(3, 4))))
    assert dict(copy.spec.recipe.arguments)["config"] == PPOConfig(hidden_sizes=(3, 4))
    arms = again(bandit(envs.make("bandit/gaussian"), ucb1, BanditConfig(num_steps=2)))
    assert dict(arms.spec.recipe.arguments)["agent"] is ucb1 and arms.spec.name == "ucb1"
    assert again(sarsa(envs.make("Gridworld4x4"), n=3)).spec.recipe.arguments[1] == ("n", 3)


def test_numbers_that_json_has_no_word_for():
    """Infinities and NaN come back; tuples and lists as tuples."""
    text = json.loads(json.dumps(recipes.plain((math.inf, -math.inf, math.nan, [1, True, None, "x"])), allow_nan=False))
    up, down, nan, rest = recipes.make(text)
    assert (up, down, rest) == (math.inf, -math.inf, (1, True, None, "x")) and math.isnan(nan)


def test_what_the_record_cannot_name_is_to_be_given():
    """An environment built by hand, a function inside another; given, the algorithm is made around it."""
    made = nim()
    assert recipes.plain(made) == {"given": "nim"}
    env = envs.map_reward(envs.make("CartPole-v1"), lambda reward: 2 * reward)
    text = recipes.plain(ppo(env))
    with pytest.raises(ValueError, match="function was made by code that the record cannot name: give it, as env"):
        recipes.make(text)
    with pytest.raises(ValueError, match="ppo:ppo takes no environment: give some of env, config"):
        recipes.make(text, given={"environment": env})
    copy = recipes.make(text, given={"env": env})
    assert dict(copy.spec.recipe.arguments)["env"] is env


def test_replaced_functions_are_noticed():
    """With another step, or another way to act, it is not what the factory makes; a name may change."""
    env = envs.make("CartPole-v1")
    assert recipes.recipe_of(env._replace(name="mine")) is not None
    assert recipes.recipe_of(env._replace(step=lambda key, state, action: env.step(key, state, 0))) is None
    assert recipes.recipe_of(ppo(env)._replace(act=None)) is None


def test_names_of_older_versions_are_read_as_those_of_today():
    """By a function of the arguments and the names that are known, at every call."""
    text = {"call": "purerl.algorithms.policy.ppo:PPOConfig", "arguments": {"number_of_envs": 3}}
    rename = lambda arguments, known: {"num_envs" if "num_envs" in known else "": arguments["number_of_envs"]}  # noqa: E731
    assert recipes.make(text, rename=rename) == PPOConfig(num_envs=3)


class Maze(NamedTuple):
    """An object of a user's own."""

    size: int


@recipes.recorded
def maze(size: int) -> Environment:
    """An environment of a user's own."""
    return envs.probes.truncation()._replace(name=f"maze {size}")


def test_other_code_must_be_allowed_by_name():
    """A module, or a package with all that is in it; not one whose name only begins alike."""
    text = recipes.plain(maze(3))
    assert text == {"call": "tests.test_recipes:maze", "arguments": {"size": 3}}
    for allow in ((), ("tests.test_recipe",), ("tests.test_recipes.maze",), ("test",)):
        with pytest.raises(ValueError, match=r"test_recipes:maze is not purerl's own.* allow tests\.test_recipes"):
            recipes.make(text, allow)
    assert recipes.make(text, ["tests.test_recipes"]).name == recipes.make(text, ["tests"]).name == "maze 3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"call": "os:system", "arguments": {"command": "true"}}, "os:system is not purerl's own"),
        ({"object": "os:system"}, "os:system is not purerl's own"),
        ({"call": "purerl.files:write_json", "arguments": {"path": "x", "data": 1}}, "makes no environment"),
        ({"call": "purerl.files:os", "arguments": {}}, "makes no environment"),
        ({"call": "purerl.envs.wrappers:Box", "arguments": {}}, "makes no environment"),
        ({"object": "purerl.files:write_json"}, "is no constant of purerl"),
        ({"object": "purerl.files:os"}, "is no constant of purerl"),
        ({"call": "purerl_evil:f", "arguments": {}}, "purerl_evil:f is not purerl's own"),
        ({"call": "purerl.files:os.system", "arguments": {}}, "not of the form module:name"),
        ({"call": "purerl.nowhere:f", "arguments": {}}, "is not there"),
        ({"call": "purerl.files:nothing", "arguments": {}}, "is not there"),
        ({"call": "purerl.envs.registry:make", "arguments": {"nam": 1}}, "cannot be called as it was recorded"),
        ({"call": "purerl.envs.registry:make"}, "is no recipe"),
        ({"anything": 1}, "is no recipe"),
    ],
)
def test_what_a_text_may_not_do(text, message):
    """Modules of others, functions that make nothing, what a module has imported, what is not there, other texts."""
    with pytest.raises(ValueError, match=message):
        recipes.make(text)


def test_no_module_is_imported_that_is_not_allowed(tmp_path, monkeypatch):
    """Not even to see whether it is there; allowed, it is."""
    (tmp_path / "unheard_of.py").write_text("def f():\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = {"call": "unheard_of:f", "arguments": {}}
    with pytest.raises(ValueError, match="allow unheard_of"):
        recipes.make(text)
    assert "unheard_of" not in sys.modules
    assert recipes.make(text, ["unheard_of"]) == 3
