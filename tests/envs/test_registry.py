"""Environments by name."""

import pytest

from purerl import envs
from purerl.envs import registry


def test_every_registered_name_is_listed_once():
    """registered() holds gymnax ids and probes, sorted and without duplicates."""
    names = envs.registered()
    assert names == sorted(set(names))
    assert {"CartPole-v1", "Breakout-MinAtar", "probe/memory"} <= set(names)


@pytest.mark.covers("bandit")
def test_bandits_have_names_and_arguments():
    """The four games are made by name with the arguments of their functions."""
    names = [name for name in envs.registered() if name.startswith("bandit/")]
    games = [envs.make(name, num_arms=3) for name in names]
    assert [game.name for game in games] == [f"{name}(num_arms=3)" for name in names]
    assert [game.action_space.n for game in games] == [3] * 4


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cartpole", "CartPole-v1"), ("CartPole-v0", "CartPole-v1"), ("memory", "probe/memory")],
)
def test_an_unknown_name_is_answered_with_its_neighbours(wrong, near):
    """make() of a misspelt name raises, names the near match, and says how to see all names."""
    with pytest.raises(ValueError, match=rf"(?s){wrong}.*'{near}'.*registered\(\)"):
        envs.make(wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        (
            "FrozenLake",
            "slipery",
            r"cannot be made: it takes no slipery\. Near: 'slippery'.*\. It takes: .*, max_steps\.",
        ),
        ("FrozenLake", "max_step", r"Near: 'max_steps'"),
        ("bandit/gaussian", "num_arm", r"Near: 'num_arms'.*\. It takes: num_arms, means, mean, spread, noise\."),
    ],
)
def test_an_unknown_argument_is_answered_with_its_neighbours(name, wrong, message):
    """Of the textbook's functions and of others: what is near, and all that there is."""
    with pytest.raises(ValueError, match=message):
        envs.make(name, **{wrong: 1})


def test_register_adds_a_factory_and_refuses_a_taken_name(monkeypatch):
    """A registered factory gets make()'s keywords, also under an id of gymnax's; a second one is refused."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    for name in ("lab/chain", "CartPole-v1"):
        envs.register(name, envs.PROBES["termination"].env)
        assert envs.make(name, num_steps=7).observation_space.shape == (7,)
        assert envs.registered().count(name) == 1
        with pytest.raises(ValueError, match="registered already"):
            envs.register(name, envs.PROBES["memory"].env)
