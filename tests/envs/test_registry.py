"""Environments by name."""

import pytest

from purerl import envs
from purerl.envs import registry


def test_every_registered_name_is_listed_once():
    """registered() holds gymnax ids and probes, sorted and without duplicates."""
    names = envs.registered()
    assert names == sorted(set(names))
    assert {"CartPole-v1", "Breakout-MinAtar", "probe/memory"} <= set(names)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cartpole", "CartPole-v1"), ("CartPole-v0", "CartPole-v1"), ("memory", "probe/memory")],
)
def test_an_unknown_name_is_answered_with_its_neighbours(wrong, near):
    """make() of a misspelt name raises, names the near match, and says how to see all names."""
    with pytest.raises(ValueError, match=rf"(?s){wrong}.*'{near}'.*registered\(\)"):
        envs.make(wrong)


def test_register_adds_a_factory_and_refuses_a_taken_name(monkeypatch):
    """A registered factory gets make()'s keywords, also under an id of gymnax's; a second one is refused."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    for name in ("lab/chain", "CartPole-v1"):
        envs.register(name, envs.PROBES["termination"].env)
        assert envs.make(name, num_steps=7).observation_space.shape == (7,)
        assert envs.registered().count(name) == 1
        with pytest.raises(ValueError, match="registered already"):
            envs.register(name, envs.PROBES["memory"].env)
