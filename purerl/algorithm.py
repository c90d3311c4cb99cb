"""The contract: what every algorithm of purerl is."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from purerl.agent import Agent, of_algorithm
from purerl.recipes import Recipe
from purerl.types import PyTree


class Spec(NamedTuple):
    """What the driver must know about an algorithm besides its functions. Static: nothing here is traced.

    Attributes:
        name: short name, for folders and titles.
        env_steps_per_update: environment steps that one ``update`` takes; what progress is counted in.
        evaluate: ``(hypers, state, key, num_episodes, sample=False) -> Episodes``, complete episodes in fresh
            environments, learning nothing: neither parameters nor running statistics change. ``num_episodes`` and
            ``sample`` are static. With ``sample`` actions are drawn from the policy that learns, instead of being those
            of ``act``; an algorithm whose agent is deployed in one way alone may leave the argument out, here and in
            ``act``. None where nothing is evaluated.
        settings: everything fixed at construction, as plain values by name, for the record of a run: ``env``, the
            config, and as ``given`` the fingerprints of what else the factory was given, such as parameters.
        env_steps_of_init: environment steps that ``init`` takes, to fill a replay for example, from which a run's
            count goes on.
        evaluated_in: what ``evaluate`` plays, in the plural, for the words beside a result: in a game it names the
            opponent.
        words: ``(shown [K, ...]) -> lines`` of a few evaluated episodes of one run, which are printed as training goes
            on, such as a language model's answers; None where there is nothing to read.
        learns: whether there is something to learn from; not where an agent was made again without its data, to act.
        facts: what is known before the run and belongs beside its results, as plain values by name, such as the return
            of the data that it learns from.
        hypers_class: the class of its hyperparameters, whose fields declare their ranges (:mod:`purerl.ranges`); None
            where any record will do.
        recipe: the call of the factory that it was made by, for the record of a run (:mod:`purerl.recipes`).
    """

    name: str
    env_steps_per_update: int
    evaluate: Callable | None = None
    settings: Mapping[str, Any] = MappingProxyType({})
    env_steps_of_init: int = 0
    facts: Mapping[str, Any] = MappingProxyType({})
    hypers_class: type | None = None
    recipe: Recipe | None = None
    evaluated_in: str = "evaluation episodes"
    words: Callable | None = None
    learns: bool = True


class Algorithm(NamedTuple):
    """A learning algorithm as pure functions. Made by one factory: ``ppo(env, config) -> Algorithm``.

    Attributes:
        init: ``(hypers, key) -> state``.
        update: ``(hypers, state, key) -> (state, metrics)``, one iteration. It can be scanned, so the new
            state has the shapes and dtypes of the old one.
        start: ``() -> carry``, what the agent meets a fresh episode with; :func:`purerl.agent.no_carry` for a reactive
            one.
        act: ``(hypers, state, carry, seen, key, sample=False) -> (carry, action)`` over a batch of environments, every
            leaf of ``carry``, ``seen`` (a :class:`~purerl.types.Seen`) and ``action`` ``[B, ...]``: as the agent would
            be deployed (mode or greedy action), or with ``sample`` as ``spec.evaluate`` has it. None where nothing
            acts.
        spec: what the driver must know.
    """

    init: Callable
    update: Callable
    start: Callable
    act: Callable | None
    spec: Spec

    def agent(self, hypers: PyTree, state: PyTree, sample: bool = False) -> Agent:
        """The agent of one state, to act with.

        Args:
            hypers: of the run that made it.
            state: of one run, without an axis of seeds.
            sample: draw actions from the policy that learns.

        Raises:
            ValueError: if nothing acts.
        """
        if self.act is None:
            raise ValueError(f"{self.spec.name} does not act: it has no agent.")
        return of_algorithm(self, hypers, state, sample)
