"""The plan of a run: how many updates, and after which to log, evaluate, evolve and save."""

import bisect
import math
from typing import NamedTuple

from purerl.algorithm import Algorithm
from purerl.driver.hypers.population import PBT

_MOST_UPDATES = 2**31 - 1  # the compiled loop counts them in an int32


class Plan(NamedTuple):
    """Numbers of updates after which to log, to evaluate, to let a population evolve, and to save."""

    first_step: int  # environment steps of a trial's initialisation
    steps_per_update: int
    num_updates: int
    logs_at: frozenset[int]
    evals_at: frozenset[int]
    evolves_at: frozenset[int]
    saves_at: frozenset[int]  # always
    may_save_at: frozenset[int]  # if the last checkpoint is old enough
    marks: tuple[int, ...]  # all but the last of these, and the end, in order

    @property
    def num_env_steps(self) -> int:
        """Environment steps of each trial."""
        return self.step(self.num_updates)

    def step(self, update: int) -> int:
        """Environment steps after so many updates."""
        return self.first_step + update * self.steps_per_update

    def update(self, step: int) -> int | None:
        """After how many updates so many environment steps have been taken; None if they are not whole updates."""
        update, rest = divmod(step - self.first_step, self.steps_per_update)
        return update if update >= 0 and rest == 0 else None

    def next_mark(self, update: int) -> int:
        """The first number of updates above ``update`` at which there is something to do, or the end."""
        return self.marks[bisect.bisect_right(self.marks, update)]

    @classmethod
    def of(
        cls,
        algorithm: Algorithm,
        num_env_steps: int,
        eval_every: int | None = None,
        log_every: int | None = None,
        checkpoint_every: int | None = None,
        population: PBT | None = None,
    ) -> "Plan":
        """The plan of a run; every number is of environment steps and is rounded up to whole updates.

        Raises:
            ValueError: if there is no update, because initialisation takes all the steps, or more updates than an int32
                counts.
        """
        first_step, steps_per_update = algorithm.spec.env_steps_of_init, algorithm.spec.env_steps_per_update
        num_updates = math.ceil((num_env_steps - first_step) / steps_per_update)
        if num_updates < 1:
            raise ValueError(
                f"num_env_steps = {num_env_steps}, but {algorithm.spec.name} takes {first_step} steps before its first "
                f"update: at least {first_step + 1} are needed."
            )

        if num_updates > _MOST_UPDATES:
            raise ValueError(
                f"num_env_steps = {num_env_steps} are {num_updates} updates of {steps_per_update} steps each, but a "
                f"run has at most {_MOST_UPDATES}: make updates larger, by more environments or more steps of each."
            )

        def marks(every: int | None, default_count: int) -> frozenset[int]:
            """Every so many steps, and at the end."""
            interval = math.ceil(num_updates / default_count if every is None else every / steps_per_update)
            return frozenset({*range(interval, num_updates, interval), num_updates})

        logs_at = marks(log_every, 100)
        evaluates = algorithm.spec.evaluate is not None and eval_every != 0
        evals_at = marks(eval_every, 20) | {0} if evaluates else frozenset()
        evolves_at: frozenset[int] = frozenset()
        if population is not None:
            evolves_at = marks(population.every, 1) - {num_updates}
            # A selection needs a score of that moment.
            if evaluates:
                evals_at |= evolves_at
            else:
                logs_at |= evolves_at
        saves_at = frozenset() if checkpoint_every is None else marks(checkpoint_every, 1)
        may_save_at = (evals_at if evaluates else logs_at) if checkpoint_every is None else frozenset()
        kinds = (logs_at, evals_at, evolves_at, saves_at)
        all_marks = tuple(sorted({num_updates}.union(*kinds)))
        return cls(first_step, steps_per_update, num_updates, *kinds, may_save_at, all_marks)
