"""Q-learning on Cliff Walking as a plain loop, by NumPy and compiled by Numba; prints one line of JSON.

Runs in an environment of its own.
"""

import json
import sys
import time

import numba
import numpy as np

setup = json.loads(sys.argv[1])


def cliff_walking() -> tuple[np.ndarray, np.ndarray]:
    """Where each move leads and what it earns, ``[48, 4]``."""
    after, reward = np.zeros((48, 4), np.int64), np.full((48, 4), -1.0)
    for state in range(48):
        for action, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
            row, column = min(max(state // 12 + down, 0), 3), min(max(state % 12 + right, 0), 11)
            falls = row == 3 and 0 < column < 11
            after[state, action] = 36 if falls else 12 * row + column
            reward[state, action] = -100.0 if falls else -1.0
    return after, reward


def q_learning(after, reward, num_steps: int, step_size: float, epsilon: float, seed: int):
    """The textbook's loop; ends lead back to the start."""
    np.random.seed(seed)  # noqa: NPY002 (the generator that Numba compiles)
    q = np.zeros((48, 4))
    state = 36
    for _ in range(num_steps):
        action = np.random.randint(4) if np.random.random() < epsilon else np.argmax(q[state])  # noqa: NPY002
        following = after[state, action]
        value = 0.0 if following == 47 else np.max(q[following])
        q[state, action] += step_size * (reward[state, action] + value - q[state, action])
        state = 36 if following == 47 else following
    return q


def seconds_per_step(function, num_steps: int) -> float:
    """Of one run."""
    start = time.perf_counter()
    function(*cliff_walking(), num_steps, 0.5, 0.1, 0)
    return (time.perf_counter() - start) / num_steps


compiled = numba.njit(q_learning)
start = time.perf_counter()
compiled(*cliff_walking(), 1, 0.5, 0.1, 0)
compile_s = time.perf_counter() - start
times = {"compile_s": compile_s, "numba_s": seconds_per_step(compiled, setup["num_steps"] * 100)}
print(json.dumps(times | {"numpy_s": seconds_per_step(q_learning, setup["num_steps"])}))
