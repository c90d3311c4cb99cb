"""The contract: what every algorithm of purerl is."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Spec(NamedTuple):
    """What the driver must know about an algorithm besides its functions. Static: nothing here is traced.

    Attributes:
        name: short name, for folders and titles.
        env_steps_per_update: environment steps that one ``update`` takes; what progress is counted in.
        evaluate: ``(hypers, state, key, num_episodes, sample=False) -> Episodes``, complete episodes in fresh
            environments, learning nothing: neither parameters nor running statistics change. ``num_episodes`` and
            ``sample`` are static. With ``sample`` actions are drawn from the policy that learns, instead of being those
            of ``act``; an algorithm whose agent is deployed in one way alone may leave the argument out. None where
            nothing acts.
        settings: everything fixed at construction, as plain values by name, for the record of a run.
        env_steps_of_init: environment steps that ``init`` takes, to fill a replay for example, from which a run's
            count goes on.
        facts: what is known before the run and belongs beside its results, as plain values by name, such as the return
            of the data that it learns from.
    """

    name: str
    env_steps_per_update: int
    evaluate: Callable | None = None
    settings: Mapping[str, Any] = MappingProxyType({})
    env_steps_of_init: int = 0
    facts: Mapping[str, Any] = MappingProxyType({})


class Algorithm(NamedTuple):
    """A learning algorithm as pure functions. Made by one factory: ``ppo(env, config) -> Algorithm``.

    Attributes:
        init: ``(hypers, key) -> state``.
        update: ``(hypers, state, key) -> (state, metrics)``, one iteration. It can be scanned, so the new
            state has the shapes and dtypes of the old one.
        act: ``(hypers, state, obs, key, sample=False) -> action`` for one observation, as the agent would be deployed
            (mode or greedy action), or with ``sample`` as ``spec.evaluate`` has it; None where nothing acts.
        spec: what the driver must know.
    """

    init: Callable
    update: Callable
    act: Callable | None
    spec: Spec
