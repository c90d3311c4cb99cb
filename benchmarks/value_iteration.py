"""Value iteration: dense and sparse processes against NumPy and SciPy, a sweep of all states at a time.

    python -m benchmarks.value_iteration

Every contestant sweeps the same process, each pair of which leads to a few states, and they must agree. NumPy runs its
dense sweep as one matrix-vector product and its sparse one by indexing; SciPy keeps the process in compressed rows.
On a busy machine give NumPy's product one thread (OPENBLAS_NUM_THREADS=1): with more it waits for the slowest.
"""

import functools
import os
from collections.abc import Callable

import jax
import numpy as np
import scipy.sparse
import tyro

from benchmarks import common
from purerl.algorithms.tabular import dynamic_programming as dp
from purerl.mdp import SparseMDP, expected_reward
from purerl.mdp.sparse import random_sparse_mdp, to_dense

SIZES = (10**3, 10**4, 10**5, 10**6)
NUM_ACTIONS, BRANCHING, GAMMA = 4, 4, 0.99
LARGEST_DENSE = 2 * 10**3  # states; beyond, the arrays of a dense process are larger than many machines' memory
NUM_SWEEPS = 20


def main(repeats: int = 5) -> None:
    """Measure sweeps of value iteration.

    Args:
        repeats: turns that each contestant gets; medians are reported.
    """
    common.set_flags()
    rows = [row for num_states in SIZES for row in measure(num_states, repeats)]
    setup = {
        "actions": NUM_ACTIONS,
        "successors": BRANCHING,
        "sweeps": NUM_SWEEPS,
        "repeats": repeats,
        "threads_of_numpy": os.environ.get("OPENBLAS_NUM_THREADS", "one per core"),
    }
    common.report("value_iteration", setup, ("jax", "jaxlib", "numpy", "scipy"), sweeps=rows)


def measure(num_states: int, repeats: int) -> list[common.Row]:
    """Milliseconds a sweep, and bytes of the process, of each contestant."""
    key = jax.random.key(0)
    sparse = random_sparse_mdp(key, num_states, NUM_ACTIONS, branching=BRANCHING, gamma=GAMMA)
    contestants = {"purerl, sparse": ours(sparse), "NumPy, sparse": numpy_sparse(sparse), "SciPy": compressed(sparse)}
    if num_states <= LARGEST_DENSE:
        dense = to_dense(sparse)
        contestants |= {"purerl, dense": ours(dense), "NumPy, dense": numpy_dense(dense)}
    runs = {name: run for name, (run, _) in contestants.items()}
    want = runs["SciPy"]()
    for name, run in runs.items():
        np.testing.assert_allclose(run(), want, rtol=1e-3, atol=1e-3, err_msg=name)
    seconds = common.side_by_side(runs, repeats)
    return [
        {
            "states": num_states,
            "contestant": name,
            "ms per sweep": 1e3 * seconds[name] / NUM_SWEEPS,
            "MB": size / 1e6,
            "speed / SciPy's": seconds["SciPy"] / seconds[name],
        }
        for name, (_, size) in contestants.items()
    ]


def ours(mdp) -> tuple[Callable, int]:
    """Value iteration as the library does it, stopping rule and all."""
    sweeps = functools.partial(dp.value_iteration, tolerance=0.0, max_sweeps=NUM_SWEEPS)
    function, _ = common.compiled(lambda mdp: sweeps(mdp).value, mdp)
    return functools.partial(function, mdp), sum(leaf.nbytes for leaf in jax.tree.leaves(mdp))


def numpy_sparse(mdp: SparseMDP) -> tuple[Callable, int]:
    reward, transition = np.asarray(expected_reward(mdp)), np.asarray(mdp.transition)
    successors = np.asarray(mdp.next_state)
    run = functools.partial(_sweeps, reward, lambda value: np.einsum("sak,sak->sa", transition, value[successors]))
    return run, reward.nbytes + transition.nbytes + successors.nbytes


def numpy_dense(mdp) -> tuple[Callable, int]:
    reward, transition = np.asarray(expected_reward(mdp)), np.asarray(mdp.transition)
    rows = transition.reshape(reward.size, -1)
    run = functools.partial(_sweeps, reward, lambda value: (rows @ value).reshape(reward.shape))
    return run, reward.nbytes + transition.nbytes


def compressed(mdp: SparseMDP) -> tuple[Callable, int]:
    reward, transition = np.asarray(expected_reward(mdp)), np.asarray(mdp.transition)
    num_states, _, num_successors = transition.shape
    starts = np.arange(0, transition.size + 1, num_successors, dtype=np.int32)
    entries = (transition.ravel(), np.asarray(mdp.next_state).ravel(), starts)
    matrix = scipy.sparse.csr_array(entries, shape=(reward.size, num_states))
    run = functools.partial(_sweeps, reward, lambda value: (matrix @ value).reshape(reward.shape))
    return run, reward.nbytes + sum(x.nbytes for x in (matrix.data, matrix.indices, matrix.indptr))


def _sweeps(reward: np.ndarray, next_value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``V <- max_a (R + gamma P V)`` in float32, from 0."""
    value, gamma = np.zeros(len(reward), np.float32), np.float32(GAMMA)
    for _ in range(NUM_SWEEPS):
        value = (reward + gamma * next_value(value)).max(-1)
    return value


if __name__ == "__main__":
    tyro.cli(main)
