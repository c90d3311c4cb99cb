"""Checks of configs: what annotations allow, multiples, and equal minibatches."""

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest

from purerl.config_checks import check_config, check_minibatches, check_multiples, config_or_default
from purerl.ranges import setting

Kind = Literal["red", "blue"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Every kind of annotation."""

    num_envs: int = 4
    num_steps: int = 6
    num_minibatches: int = 2
    burn_in: int = setting(0, low=0)
    kind: Kind = "red"
    hidden_sizes: tuple[int, ...] = (8,)
    noisy: bool = False
    scale: float = setting(-1.0, low=-1)
    rate: float | None = setting(None, above=0, high=1)
    path: str | None = None

    def __post_init__(self) -> None:
        check_config(self)


class Narrow(ToyConfig):
    """A record that inherits its annotations."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, r"ToyConfig.num_envs = 0: it must be at least 1\."),
        ({"burn_in": -1}, r"ToyConfig.burn_in = -1: it must be at least 0\."),
        ({"kind": "green"}, r"ToyConfig.kind = 'green': choose one of red, blue\."),
        ({"num_envs": 8.0}, r"ToyConfig.num_envs = 8\.0: it must be a whole number, an int\."),
        ({"num_envs": "8"}, r"ToyConfig.num_envs = '8': it must be a whole number, an int\."),
        ({"num_envs": True}, r"ToyConfig.num_envs = True: it must be a whole number, an int\."),
        ({"num_envs": None}, r"ToyConfig.num_envs = None: it must be a whole number, an int\."),
        ({"kind": 1}, r"ToyConfig.kind = 1: choose one of red, blue\."),
        ({"hidden_sizes": [8]}, r"ToyConfig.hidden_sizes = \[8\]: it must be a tuple"),
        ({"hidden_sizes": (8, 2.0)}, r"ToyConfig.hidden_sizes = \(8, 2\.0\): it must be a whole number, an int\."),
        ({"noisy": 1}, r"ToyConfig.noisy = 1: it must be True or False\."),
        ({"noisy": None}, r"ToyConfig.noisy = None: it must be True or False\."),
        ({"scale": "1"}, r"ToyConfig.scale = '1': it must be a number\."),
        ({"scale": float("nan")}, r"ToyConfig.scale = nan: it must be finite, at least -1\."),
        ({"scale": float("inf")}, r"ToyConfig.scale = inf: it must be finite, at least -1\."),
        ({"scale": -2}, r"ToyConfig.scale = -2: it must be at least -1\."),
        ({"rate": 1.5}, r"ToyConfig.rate = 1\.5: it must be in \(0, 1\]\."),
        ({"path": 3}, r"ToyConfig.path = 3: it must be a text\."),
        ({"hidden_sizes": (8, 0)}, r"ToyConfig.hidden_sizes = \(8, 0\): it must be at least 1\."),
    ],
    ids=str,
)
def test_values_that_an_annotation_excludes_are_refused(changes: dict[str, Any], message):
    """Each error names the field, its value, and what could be; so does that of a record that inherits."""
    with pytest.raises(ValueError, match=message):
        ToyConfig(**changes)
    with pytest.raises(ValueError, match=message.replace("ToyConfig", "Narrow")):
        Narrow(**changes)


def test_values_that_annotations_allow_are_accepted():
    """No size at all, the smallest ones, and anything where nothing is said."""
    ToyConfig(num_envs=1, burn_in=0, kind="blue", hidden_sizes=(), noisy=True, scale=0, path="x")
    ToyConfig(num_envs=np.int64(2), scale=np.float32(0.5), rate=1, path=None)


def test_a_config_of_another_class_is_refused():
    """None stands for the defaults; a record that inherits will do."""
    assert config_or_default(None, ToyConfig) == ToyConfig()
    assert config_or_default(Narrow(num_envs=3), ToyConfig).num_envs == 3
    with pytest.raises(ValueError, match=r"^config must be Narrow, but it is ToyConfig: ToyConfig"):
        config_or_default(ToyConfig(), Narrow)


def test_values_that_are_no_multiples_are_refused():
    """The message has the field, what divides, and the next number that would do."""
    for number, following in ((6, 8), (0, 4), (-3, 4)):
        config = dataclasses.replace(ToyConfig(), burn_in=max(number, 0))
        object.__setattr__(config, "burn_in", number)
        with pytest.raises(
            ValueError, match=rf"burn_in = {number} is not .* num_envs = 4\. The next that is: {following}\."
        ):
            check_multiples(config, "num_envs", 4, "burn_in")
    check_multiples(ToyConfig(num_steps=8), "num_envs", 4, "num_envs", "num_steps")


@pytest.mark.parametrize(("given", "nearest"), [(7, 6), (13, 12), (5, 4), (100, 24)], ids=str)
def test_unequal_minibatches_are_refused(given, nearest):
    """24 samples in so many parts: the message has the field, the product and the nearest number that divides it."""
    message = (
        rf"ToyConfig.num_minibatches = {given} does not divide num_envs \* num_steps = 4 \* 6 = 24\..* is {nearest}\."
    )
    with pytest.raises(ValueError, match=message):
        check_minibatches(ToyConfig(num_minibatches=given))
    check_minibatches(ToyConfig(num_minibatches=nearest))
