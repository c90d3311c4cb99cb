"""Tasks for language policies: prompts that are drawn, and completions that are judged by a rule.

Everything is a function of arrays, so that prompts and rewards are computed inside the program that learns. A rule that
is written in Python joins by :func:`python_reward`.
"""

from collections.abc import Callable

from purerl.language.tasks.arithmetic import ARITHMETIC, STOP, addition, two_plus_two
from purerl.language.tasks.task import Reward, Task, decode, encode
from purerl.language.tasks.verifiers import exact_match, python_reward

TASKS: dict[str, Callable[..., Task]] = {"addition": addition, "two_plus_two": two_plus_two}

__all__ = [
    "ARITHMETIC",
    "STOP",
    "TASKS",
    "Reward",
    "Task",
    "addition",
    "decode",
    "encode",
    "exact_match",
    "python_reward",
    "two_plus_two",
]
