"""``purerl.load``: the agent of a run, or of a file."""

import os
import pathlib
from collections.abc import Collection
from typing import Any

from purerl import agent_file
from purerl.agent import Agent, of_algorithm
from purerl.driver.storage.restore import load_agents


def load(
    path: str | os.PathLike,
    *,
    seed: int | None = None,
    point: int | None = None,
    step: int | None = None,
    best: bool = False,
    sample: bool = False,
    allow: Collection[str] = (),
    **given: Any,
) -> Agent:
    """An agent to act with, to save and to export.

        agent = purerl.load("runs/ppo/TIME-ENV", best=True)
        carry, action = agent.act(agent.start(), obs)

    Args:
        path: folder of a run, finished or not, or a ``.safetensors`` file that ``agent.save`` wrote.
        seed: of a run; None: the first.
        point: of a run that was a sweep; None: the first.
        step: environment step of a run's checkpoint; None: of the last one.
        best: take a run's checkpoint with the highest evaluation, the mean over all seeds and points.
        sample: draw actions from the policy that learns, instead of taking its mode or its best action.
        allow: names of modules, or packages, that the run or file may name besides purerl; their code runs.
        **given: arguments of the algorithm's factory that the run or file could not name, such as ``env=`` for an
            environment of one's own.

    Raises:
        ValueError: if there is no run or agent that can be made again, it lacks such a seed, point or step, or the seed
            has diverged.
        FileNotFoundError: if there is no such folder, file or checkpoint.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no run and no file {path}.")
    if not path.is_dir():
        if best or any(choice is not None for choice in (seed, point, step)):
            raise ValueError(
                f"{path} is a file with one agent: seed, point, step and best choose among those of a run."
            )
        read = agent_file.read(path, allow, given)
        return of_algorithm(read.algorithm, read.hypers, read.state, sample, **read.about)
    agents = load_agents(path, step, best, allow, given)
    return agents.agent(_trial(agents.columns, agents.diverged, seed or 0, point or 0), sample)


def _trial(columns: Any, diverged: frozenset[int], seed: int, point: int) -> int:
    """The number of a trial.

    Raises:
        ValueError: if there is no such seed or point, or it has diverged.
    """
    for name, number, count in (("seed", seed, columns.num_seeds), ("point", point, columns.num_points)):
        if not 0 <= number < count:
            raise ValueError(f"{name} = {number}: the run has {count} {name}{'s' * (count > 1)}, counted from 0.")
    trial = point * columns.num_seeds + seed
    if trial in diverged:
        raise ValueError(f"{columns.describe(trial)} has diverged: choose another seed.")
    return trial
