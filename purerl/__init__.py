"""purerl: reinforcement learning in pure JAX.

Every algorithm is a record of pure functions (:mod:`purerl.algorithm`), so a training run is one ``scan``, a
sweep over seeds is one ``vmap``, and the driver (:func:`purerl.train`) is written once for all of them.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purerl import envs
    from purerl.agent import Agent, load_program
    from purerl.algorithm import Algorithm, Spec
    from purerl.driver import load, train
    from purerl.guide import choose
    from purerl.recipes import recorded

__all__ = ["Agent", "Algorithm", "Spec", "choose", "envs", "load", "load_program", "recorded", "train"]
__version__ = "0.1.0"

# Imported when they are first asked for, so that `purerl --help` does not wait for JAX.
_FROM = {
    "Agent": "purerl.agent",
    "Algorithm": "purerl.algorithm",
    "Spec": "purerl.algorithm",
    "choose": "purerl.guide",
    "load": "purerl.driver",
    "load_program": "purerl.agent",
    "recorded": "purerl.recipes",
    "train": "purerl.driver",
}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    module = f"{__name__}.{name}"
    if name.startswith("_") or importlib.util.find_spec(module) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(module)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
