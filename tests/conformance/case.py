"""A line of the conformance list: a small instance of an algorithm, and what is known about it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm
from purerl.envs.base import Environment
from purerl.language.tasks import Task
from purerl.types import PyTree

Kind = Literal["on-policy", "replay", "recurrent", "search", "tabular", "dataset", "bandit", "language"]
Refusal = tuple[Mapping[str, Any], str]  # fields of a config, and a pattern that the message of its error matches


class Case(NamedTuple):
    """A small instance of an algorithm, and two sets of hyperparameters.

    Attributes:
        factory: ``(env, config) -> Algorithm``.
        env: of small episodes, so that many of them end in a few updates.
        config: the smallest sizes that still show every part of the algorithm.
        hypers: the defaults.
        other_hypers: every number differs from ``hypers``, and nothing is neutral (no decay of 0, no weight of 0), so
            that each number can be seen to matter; decays last beyond the half of the updates, and not to 2^24 steps.
        kind: of state; the deep laws run in ``make test`` for one algorithm of each kind.
        sources: files under ``purerl/algorithms/``; when one of them was touched, ``.ci/run`` checks the deep laws.
        learned: ``state -> what is learned by bootstrapping``, which must tell a truncated episode from a terminated
            one; None where nothing is, and ``no_bootstrap`` says why.
        no_bootstrap: the reason for ``learned=None``.
        unused: hyperparameters that this config does not use, each with the reason.
        refused: configs that are errors at construction.
        begins_alike: why the runs of all seeds begin in the same state; empty where they do not.
        deterministic: why they also go on alike, nothing being drawn; empty where something is.
    """

    factory: Callable[[Environment, Any], Algorithm]
    env: Environment
    config: Any
    hypers: Any
    other_hypers: Any
    kind: Kind
    sources: tuple[str, ...]
    learned: Callable[[PyTree], PyTree] | None
    no_bootstrap: str = ""
    unused: Mapping[str, str] = MappingProxyType({})
    refused: tuple[Refusal, ...] = ()
    begins_alike: str = ""
    deterministic: str = ""

    def make(self) -> Algorithm:
        """The algorithm."""
        return self.factory(self.env, self.config)


# How episodes of an environment end: as they do, or always by termination, or always by truncation.
OWN, TERMINATED, TRUNCATED = 0, 1, 2


class Run(struct.PyTreeNode):
    """Hyperparameters, and how episodes end: a number beside them, so that one program serves all three ways."""

    hypers: PyTree
    ending: jax.Array  # [] int


def with_ending(case: Case) -> Algorithm:
    """The algorithm whose hyperparameters are a :class:`Run`: its episodes end in the same steps, but as that says.

    It is made anew inside ``init`` and ``update``, so that the environment can look at a traced number.
    """

    def made(ending: jax.Array) -> Algorithm:
        return case.factory(_ends_by(case.env, ending), case.config)

    def init(run: Run, key: jax.Array) -> PyTree:
        return made(run.ending).init(run.hypers, key)

    def update(run: Run, state: PyTree, key: jax.Array) -> tuple:
        return made(run.ending).update(run.hypers, state, key)

    # Traced once for all programs that they are part of.
    return case.make()._replace(init=jax.jit(init), update=jax.jit(update))


def _ends_by(env: Any, ending: jax.Array) -> Any:
    if isinstance(env, Task):  # whose episodes are one step, after which there is nothing
        return env

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        obs, state, reward, terminated, truncated, info = env.step(key, state, action)
        over = terminated | truncated
        terminated = jnp.where(ending == OWN, terminated, over & (ending == TERMINATED))
        truncated = jnp.where(ending == OWN, truncated, over & (ending == TRUNCATED))
        return obs, state, reward, terminated, truncated, info

    return env._replace(step=step)


# --- common entries of the tables -------------------------------------------------------------------------


def at_least_one(*names: str) -> tuple[Refusal, ...]:
    """Sizes of which 0 is refused."""
    return tuple(({name: 0}, rf"{name} = 0: it must be at least 1") for name in names)


def unknown_choice(*names: str) -> tuple[Refusal, ...]:
    """Choices by name, of which one that does not exist is refused."""
    return tuple(({name: "nothing"}, rf"{name} = 'nothing': choose one of ") for name in names)


def params(state: Any) -> PyTree:
    """What a learner with a network learns."""
    return state.params
