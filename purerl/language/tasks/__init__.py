"""Tasks for language policies: prompts that are drawn, and completions that are judged by a rule.

Everything is a function of arrays, so that prompts and rewards are computed inside the program that learns. A rule that
is written in Python joins by :func:`python_reward`.
"""

from collections.abc import Callable

from purerl.language.tasks.arithmetic import ARITHMETIC, STOP, addition, two_plus_two
from purerl.language.tasks.chains import long_addition, running_sums, wordy_addition
from purerl.language.tasks.copying import copy
from purerl.language.tasks.expressions import countdown
from purerl.language.tasks.preferences import overrated
from purerl.language.tasks.sorting import sort, sort_rubric
from purerl.language.tasks.task import Reward, Task, decode, encode
from purerl.language.tasks.verifiers import exact_match, python_reward

TASKS: dict[str, Callable[..., Task]] = {
    "addition": addition,
    "copy": copy,
    "countdown": countdown,
    "long_addition": long_addition,
    "overrated": overrated,
    "running_sums": running_sums,
    "sort": sort,
    "sort_rubric": sort_rubric,
    "two_plus_two": two_plus_two,
    "wordy_addition": wordy_addition,
}

__all__ = [
    "ARITHMETIC",
    "STOP",
    "TASKS",
    "Reward",
    "Task",
    "addition",
    "copy",
    "countdown",
    "decode",
    "encode",
    "exact_match",
    "long_addition",
    "overrated",
    "python_reward",
    "running_sums",
    "sort",
    "sort_rubric",
    "two_plus_two",
    "wordy_addition",
]
