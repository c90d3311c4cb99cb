import inspect
import itertools
import pathlib
from typing import get_args

import pytest

import purerl
from purerl import guide

ROOT = pathlib.Path(__file__).parents[1]


def names(**problem):
    return [method.name for method in guide.choose(**problem)]


@pytest.mark.covers("choose")
@pytest.mark.parametrize(
    ("problem", "first"),
    [
        ({"model": True}, "MCTS"),
        ({"model": True, "small": True}, "value iteration"),
        ({"small": True}, "Q-learning"),
        ({"samples": "cheap"}, "PPO"),
        ({"samples": "costly"}, "DQN"),
        ({"actions": "continuous", "samples": "cheap"}, "PPO"),
        ({"actions": "continuous", "samples": "costly"}, "SAC"),
        ({"problem": "text", "feedback": "demonstrations"}, "SFT"),
        ({"problem": "text", "feedback": "preferences", "explore": False}, "DPO"),
        ({"problem": "text", "feedback": "preferences"}, "RLHF-PPO"),
        ({"problem": "text", "feedback": "reward"}, "GRPO"),
        ({"problem": "text", "feedback": "teacher"}, "distillation"),
        ({"problem": "bandit"}, "UCB1"),
        ({"problem": "game"}, "AlphaZero"),
        ({"problem": "game", "small": True}, "CFR"),
    ],
)
def test_every_leaf_of_the_tree(problem, first):
    """A model means planning, discrete actions Q-learning's family, few samples replay, pairs DPO, exploration GRPO."""
    assert names(**problem)[0] == first


@pytest.mark.covers("choose")
def test_answers_have_the_properties_that_were_asked_for():
    """Over all combinations of arguments: the problem, the kind of action, a model only where there is one, and data
    that can be used twice first where samples are costly."""
    answered = set()
    for problem, actions, samples, feedback, model, small in itertools.product(
        get_args(guide.Problem),
        guide._BOTH,
        get_args(guide.Samples),
        get_args(guide.Feedback),
        (False, True),
        (False, True),
    ):
        if actions == "continuous" and (problem != "control" or small):
            continue
        found = guide.choose(problem, actions=actions, samples=samples, feedback=feedback, model=model, small=small)
        answered |= set(found)
        for method in found:
            assert method.problem == problem and actions in method.actions
            assert problem == "game" or model or method.model != "known"
        if problem == "control" and samples == "costly" and not model:
            assert found[0].data == "off-policy"
    # What helps against hidden state is in the table, but the tree does not ask.
    assert {method.name for method in set(guide.METHODS) - answered} == {"R2D2"}


@pytest.mark.covers("choose")
def test_the_table_knows_what_is_in_the_library():
    """Every module that it names is there, and of what it says is not here no file of that name is; each name once."""
    files = {path.stem for path in (ROOT / "purerl" / "algorithms").rglob("*.py")}
    for method in guide.METHODS:
        if method.module:
            where = (
                ROOT / "purerl" / ("" if method.module == "search" else "algorithms") / method.module.replace(".", "/")
            )
            assert where.is_dir() or where.with_suffix(".py").is_file(), method
        else:
            assert method.name.lower().replace("-", "_") not in files, method
    assert len({method.name for method in guide.METHODS}) == len(guide.METHODS)


def test_page_is_the_table():
    """``docs/choosing.md`` ends with what ``python -m purerl.guide`` prints."""
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    assert page.endswith(guide.table() + "\n"), (
        "python -m purerl.guide prints the table that docs/choosing.md ends with"
    )


def test_it_is_at_the_top_of_the_package_and_its_example_is_right():
    """``purerl.choose`` is it, and answers as its module's docstring says."""
    assert purerl.choose is guide.choose
    example = [method.name for method in purerl.choose(actions="continuous", samples="costly")]
    assert repr(example) in inspect.getdoc(guide)


@pytest.mark.parametrize(
    "problem",
    [
        {"problem": "chess"},
        {"samples": "few"},
        {"actions": "mixed"},
        {"problem": "text", "feedback": "stars"},
        {"problem": "text", "actions": "continuous"},
        {"small": True, "actions": "continuous"},
    ],
)
def test_what_is_no_choice_is_refused(problem):
    """With the choices there are."""
    with pytest.raises(ValueError, match="choose: "):
        guide.choose(**problem)
