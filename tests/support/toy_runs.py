"""Runs of the toy, which is made one of the presets, so that a command finds who made them."""

import json
import pathlib
import re
import sys
import types
from typing import Any

import jax.numpy as jnp
import pytest

from purerl.algorithm import Algorithm
from purerl.types import Episodes
from tests.support.toy import EXPERIMENT, toy


def register(monkeypatch, algorithm: Algorithm | None = None) -> None:
    """Let the experiment of the toy be found, of another algorithm if one is given."""
    module = types.ModuleType("purerl.presets.toy")
    changes = {} if algorithm is None else {"make_algorithm": lambda env, config: algorithm}
    module.EXPERIMENT = EXPERIMENT._replace(**changes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "purerl.presets.toy", module)


def returning(value) -> Algorithm:
    """The toy whose episodes return ``value(hypers, state)`` and are twice as long."""
    algorithm = toy()

    def evaluate(hypers, state, key, num_episodes) -> Episodes:
        returns = jnp.broadcast_to(jnp.asarray(value(hypers, state), jnp.float32), (num_episodes,))
        return Episodes(returns=returns, lengths=2 * returns)

    return algorithm._replace(spec=algorithm.spec._replace(evaluate=evaluate))


def change(path: pathlib.Path, **changes: Any) -> None:
    """Change fields of a JSON file; those that are to be None go."""
    document = json.loads(path.read_text()) | changes
    gone = {name for name, value in changes.items() if value is None}
    path.write_text(json.dumps({name: value for name, value in document.items() if name not in gone}))


def refused(main, capsys, *arguments) -> str:
    """What is printed by a command line that ends with status 2, in one line."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return re.sub(r"[\s│]+", " ", printed.err)
